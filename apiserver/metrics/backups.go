package metrics

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Backups are the numbers of scheduled backups. Only the master that makes them shows when the last one was: those of
// others would be of the past.
type Backups struct {
	last     atomic.Pointer[lastBackup]
	failures prometheus.Counter
}

type lastBackup struct{ time, size, seconds float64 }

var (
	backupTime     = prometheus.NewDesc("wheelhouse_backup_last_success_timestamp_seconds", "When the last backup was made and verified, in seconds since 1970.", nil, nil)
	backupSize     = prometheus.NewDesc("wheelhouse_backup_size_bytes", "Size of the last backup.", nil, nil)
	backupDuration = prometheus.NewDesc("wheelhouse_backup_duration_seconds", "How long the last backup took, with its verification.", nil, nil)
)

func newBackups() *Backups {
	return &Backups{failures: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "wheelhouse_backup_failures_total", Help: "Scheduled backups of this master that failed.",
	})}
}

// Succeeded records a backup.
func (b *Backups) Succeeded(at time.Time, bytes int64, seconds float64) {
	b.last.Store(&lastBackup{float64(at.Unix()), float64(bytes), seconds})
}

// Failed counts a failure.
func (b *Backups) Failed() { b.failures.Inc() }

// Hide is for a master that no longer makes backups.
func (b *Backups) Hide() { b.last.Store(nil) }

// Describe implements prometheus.Collector.
func (b *Backups) Describe(c chan<- *prometheus.Desc) {
	c <- backupTime
	c <- backupSize
	c <- backupDuration
	b.failures.Describe(c)
}

// Collect implements prometheus.Collector.
func (b *Backups) Collect(c chan<- prometheus.Metric) {
	b.failures.Collect(c)
	last := b.last.Load()
	if last == nil {
		return
	}
	c <- prometheus.MustNewConstMetric(backupTime, prometheus.GaugeValue, last.time)
	c <- prometheus.MustNewConstMetric(backupSize, prometheus.GaugeValue, last.size)
	c <- prometheus.MustNewConstMetric(backupDuration, prometheus.GaugeValue, last.seconds)
}
