package metrics

import "github.com/prometheus/client_golang/prometheus"

// foreign counts masters of other stores that were met lately.
type foreign struct {
	count func() (split, superseded int)
}

var foreignMasters = prometheus.NewDesc("wheelhouse_foreign_masters",
	"Masters of the same authority that were met lately and belong to another store: split, or superseded by this one.", []string{"relation"}, nil)

// Describe implements prometheus.Collector.
func (f foreign) Describe(c chan<- *prometheus.Desc) { c <- foreignMasters }

// Collect implements prometheus.Collector.
func (f foreign) Collect(c chan<- prometheus.Metric) {
	if f.count == nil {
		return
	}
	split, superseded := f.count()
	c <- prometheus.MustNewConstMetric(foreignMasters, prometheus.GaugeValue, float64(split), "split")
	c <- prometheus.MustNewConstMetric(foreignMasters, prometheus.GaugeValue, float64(superseded), "superseded")
}
