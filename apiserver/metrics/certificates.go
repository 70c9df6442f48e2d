package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// certificates are the numbers of the certificates that a master keeps.
type certificates struct {
	// expirations are the ends of validity, by name; nil for a server without certificates of its own.
	expirations func() map[string]time.Time
	failures    prometheus.Counter
}

var certificateExpiration = prometheus.NewDesc("wheelhouse_certificate_expiration_timestamp_seconds",
	"When a certificate of this master ends, in seconds since 1970.", []string{"name"}, nil)

func newCertificates(expirations func() map[string]time.Time) *certificates {
	return &certificates{expirations: expirations, failures: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "wheelhouse_certificate_renewal_failures_total", Help: "Attempts to renew certificates of this master that failed.",
	})}
}

// Describe implements prometheus.Collector.
func (c *certificates) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- certificateExpiration
	c.failures.Describe(descriptions)
}

// Collect implements prometheus.Collector.
func (c *certificates) Collect(values chan<- prometheus.Metric) {
	c.failures.Collect(values)
	if c.expirations == nil {
		return
	}
	for name, at := range c.expirations() {
		values <- prometheus.MustNewConstMetric(certificateExpiration, prometheus.GaugeValue, float64(at.Unix()), name)
	}
}

// RenewalFailed counts an attempt to renew certificates that failed.
func (m *Metrics) RenewalFailed() { m.certificates.failures.Inc() }
