// Package metrics counts what the server does, under the names, labels and buckets of upstream Kubernetes, and
// serves it to Prometheus.
//
// One Metrics belongs to one server, so that several may live in a process. Labels come from fixed sets only: what a
// request says of itself (its path, its verb, an unknown resource) never becomes a label, or anybody could fill the memory.
package metrics

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// Options of Metrics. All may be left out.
type Options struct {
	// Catalog holds the resources that have labels of their own.
	Catalog *kind.Catalog
	Version version.Info
	// InFlight is how many requests are at work, by whether they only read.
	InFlight func() (readOnly, mutating int64)
	// Objects are the stored resources' counts.
	Objects func() []Objects
	// StoreSize is the size of the store's file in bytes, and StoreID the cluster store's name.
	StoreSize func() int64
	StoreID   string
	// Certificates are the ends of validity of the master's certificates, by name.
	Certificates func() map[string]time.Time
	// Foreign counts the masters of other stores that were met lately, and among them apart those whose store was given up.
	Foreign func() (split, superseded int)
}

// Objects counts one stored resource.
type Objects struct {
	Group, Resource string
	Count           int
	// Bytes of the stored values.
	Bytes int64
	// Unreadable values there are now; ReadFailures counts those that there have been since the start.
	Unreadable   int
	ReadFailures int64
}

// Metrics are one server's numbers. Its methods are safe for concurrent use.
type Metrics struct {
	registry, slis *prometheus.Registry
	requests       requests
	watchEvents    *prometheus.CounterVec
	watchSizes     *prometheus.HistogramVec
	storeDuration  *prometheus.HistogramVec
	storeRequests  *prometheus.CounterVec
	storeErrors    *prometheus.CounterVec
	health         *prometheus.GaugeVec
	healthTotal    *prometheus.CounterVec
	leader         *prometheus.GaugeVec
	slowRenewals   *prometheus.CounterVec
	terms          *prometheus.CounterVec
	tlsErrors      prometheus.Counter
	rejected       *prometheus.CounterVec
	schedulers     schedulers
	certificates   *certificates
	// Backups are told of scheduled backups.
	Backups *Backups
}

// New makes Metrics.
func New(o Options) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(), slis: prometheus.NewRegistry(),
		watchEvents: counters("apiserver_watch_events_total", "[BETA] Number of events sent in watch clients", "group", "version", "resource"),
		watchSizes: histograms("apiserver_watch_events_sizes", "[BETA] Watch event size distribution in bytes",
			prometheus.ExponentialBuckets(1024, 2, 8), "group", "version", "resource"),
		storeDuration: histograms("etcd_request_duration_seconds", "[ALPHA] Etcd request latency in seconds for each operation and object type.",
			storeBuckets, "operation", "group", "resource"),
		storeRequests: counters("etcd_requests_total", "[ALPHA] Etcd request counts for each operation and object type.", "operation", "group", "resource"),
		storeErrors:   counters("etcd_request_errors_total", "[ALPHA] Etcd failed request counts for each operation and object type.", "operation", "group", "resource"),
		health:        gauges("kubernetes_healthcheck", "[STABLE] This metric records the result of a single healthcheck.", "name", "type"),
		healthTotal:   counters("kubernetes_healthchecks_total", "[STABLE] This metric records the results of all healthcheck.", "name", "type", "status"),
		leader: gauges("leader_election_master_status",
			"[ALPHA] Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 indicates master. 'name' is the string used to identify the lease.", "name"),
		slowRenewals: counters("leader_election_slowpath_total",
			"[ALPHA] Total number of slow path exercised in renewing leader leases. 'name' is the string used to identify the lease. Please make sure to group by name.", "name"),
		terms: counters("wheelhouse_leader_terms_total",
			"Terms of leadership that have ended, by the lease's name and the reason: stopped, lost, failed or yielded.", "name", "reason"),
		tlsErrors: prometheus.NewCounter(prometheus.CounterOpts{Name: "apiserver_tls_handshake_errors_total",
			Help: "[ALPHA] Number of requests dropped with 'TLS handshake error from' error"}),
	}
	m.rejected = counters("apiserver_flowcontrol_rejected_requests_total",
		"[BETA] Number of requests rejected by API Priority and Fairness subsystem", "flow_schema", "priority_level", "reason")
	m.requests.init(o.Catalog)
	m.schedulers.init()
	m.certificates = newCertificates(o.Certificates)
	m.Backups = newBackups()
	collectors := append(m.requests.collectors(), m.schedulers.collectors()...)
	collectors = append(collectors, m.watchEvents, m.watchSizes, m.storeDuration, m.storeRequests, m.storeErrors,
		m.health, m.healthTotal, m.leader, m.slowRenewals, m.terms, m.tlsErrors, m.rejected, m.certificates, buildInfo(o.Version), &pulled{o}, m.Backups, foreign{o.Foreign})
	m.registry.MustRegister(collectors...)
	m.slis.MustRegister(m.health, m.healthTotal)
	return m
}

var storeBuckets = []float64{0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60}

func buildInfo(v version.Info) prometheus.Collector {
	g := gauges("kubernetes_build_info",
		"[BETA] A metric with a constant '1' value labeled by major, minor, git version, git commit, git tree state, build date, Go version, and compiler from which Kubernetes was built, and platform on which it is running.",
		"major", "minor", "git_version", "git_commit", "git_tree_state", "build_date", "go_version", "compiler", "platform")
	g.WithLabelValues(v.Major, v.Minor, v.GitVersion, v.GitCommit, v.GitTreeState, v.BuildDate, v.GoVersion, v.Compiler, v.Platform).Set(1)
	return g
}

// Handler answers /metrics: this server's numbers, and those that the libraries of this process keep (etcd's, the work
// queues', the Go runtime's).
func (m *Metrics) Handler() http.Handler {
	all := merged{m.registry, legacyregistry.DefaultGatherer, prometheus.DefaultGatherer}
	return promhttp.HandlerFor(all, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

// SLIHandler answers /metrics/slis: the results of health checks.
func (m *Metrics) SLIHandler() http.Handler {
	return promhttp.HandlerFor(m.slis, promhttp.HandlerOpts{})
}

// Healthcheck records the result of a check of an endpoint: healthz, livez or readyz.
func (m *Metrics) Healthcheck(name, endpoint string, ok bool) {
	value, status := 1.0, "success"
	if !ok {
		value, status = 0, "error"
	}
	m.health.WithLabelValues(name, endpoint).Set(value)
	m.healthTotal.WithLabelValues(name, endpoint, status).Inc()
}

// Leading records whether this process holds a lease.
func (m *Metrics) Leading(lease string, leading bool) {
	value := 0.0
	if leading {
		value = 1
	}
	m.leader.WithLabelValues(lease).Set(value)
}

// SlowRenewal counts a renewal of a lease that met another's write.
func (m *Metrics) SlowRenewal(lease string) { m.slowRenewals.WithLabelValues(lease).Inc() }

// TermEnded counts a term of leadership that has ended.
func (m *Metrics) TermEnded(lease, reason string) { m.terms.WithLabelValues(lease, reason).Inc() }

// Rejected counts a request that found no seat.
func (m *Metrics) Rejected(schema, level string) {
	m.rejected.WithLabelValues(schema, level, "concurrency-limit").Inc()
}

// TLSHandshakeFailed counts a connection that ended before its first request.
func (m *Metrics) TLSHandshakeFailed() { m.tlsErrors.Inc() }

// Watch counts the events that a watch sends.
type Watch struct {
	events prometheus.Counter
	sizes  prometheus.Observer
}

// Watch is the counter of a kind's watches: ask once a watch.
func (m *Metrics) Watch(k *kind.Kind) Watch {
	return Watch{
		events: m.watchEvents.WithLabelValues(k.GVK.Group, k.GVK.Version, k.Plural),
		sizes:  m.watchSizes.WithLabelValues(k.GVK.Group, k.GVK.Version, k.Plural),
	}
}

// Sent counts an event of that many bytes.
func (w Watch) Sent(bytes int) {
	w.events.Inc()
	w.sizes.Observe(float64(bytes))
}

// Store counts the store's requests for one operation on one resource.
type Store struct {
	total, errors prometheus.Counter
	duration      prometheus.Observer
}

// Store is the counter of an operation (get, list, create, update, delete, watch) on a resource: ask once and keep it.
func (m *Metrics) Store(operation, group, resource string) Store {
	return Store{
		total:    m.storeRequests.WithLabelValues(operation, group, resource),
		errors:   m.storeErrors.WithLabelValues(operation, group, resource),
		duration: m.storeDuration.WithLabelValues(operation, group, resource),
	}
}

// Done counts a request of the store.
func (s Store) Done(took time.Duration, err error) {
	s.total.Inc()
	s.duration.Observe(took.Seconds())
	if err != nil {
		s.errors.Inc()
	}
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
}

func histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
}
