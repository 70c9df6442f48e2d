package metrics

import (
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// Request is a finished request.
type Request struct {
	// Verb as authorization knows it.
	Verb, Group, Version, Resource, Subresource string
	// Scope is cluster, namespace or resource; empty for what is no resource.
	Scope    string
	Path     string
	Code     int
	Bytes    int64
	DryRun   bool
	Duration time.Duration
	// LongRunning requests are counted while they run, see Metrics.LongRunning.
	LongRunning bool
}

// requests are the numbers of requests.
type requests struct {
	total       *prometheus.CounterVec
	duration    *prometheus.HistogramVec
	sli         *prometheus.HistogramVec
	sizes       *prometheus.HistogramVec
	longRunning *prometheus.GaugeVec
	abandoned   *prometheus.CounterVec
	known       *kind.Derived[map[schema.GroupVersionResource]map[string]bool]

	// mu guards series, which grows to the number of label combinations and is then only read.
	mu     sync.RWMutex
	series map[seriesKey]*series
}

type seriesKey struct {
	verb, group, version, resource, subresource, scope string
	dryRun                                             bool
}

// series are the numbers of requests with the same labels but the code.
type series struct {
	key                  seriesKey
	duration, sli, sizes prometheus.Observer

	// mu guards codes.
	mu    sync.RWMutex
	codes map[int]prometheus.Counter
}

var (
	durationBuckets = storeBuckets
	sliBuckets      = []float64{0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60}
)

func (r *requests) init(catalog *kind.Catalog) {
	labels := []string{"verb", "group", "version", "resource", "subresource", "scope", "component"}
	withDryRun := append([]string{"dry_run"}, labels...)
	r.total = counters("apiserver_request_total",
		"[STABLE] Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code.",
		append([]string{"code"}, withDryRun...)...)
	r.duration = histograms("apiserver_request_duration_seconds",
		"[STABLE] Response latency distribution in seconds for each verb, dry run value, group, version, resource, subresource, scope and component.",
		durationBuckets, withDryRun...)
	r.sli = histograms("apiserver_request_sli_duration_seconds",
		"[ALPHA] Response latency distribution (not counting webhook duration and priority & fairness queue wait times) in seconds for each verb, group, version, resource, subresource, scope and component.",
		sliBuckets, labels...)
	r.sizes = histograms("apiserver_response_sizes",
		"[STABLE] Response size distribution in bytes for each group, version, verb, resource, subresource, scope and component.",
		prometheus.ExponentialBuckets(1000, 10, 7), labels...)
	r.abandoned = counters("apiserver_request_post_timeout_total",
		"[ALPHA] Tracks the activity of the request handlers after the associated requests have been timed out by the apiserver", "source", "status")
	r.longRunning = gauges("apiserver_longrunning_requests",
		"[STABLE] Gauge of all active long-running apiserver requests broken out by verb, group, version, resource, scope and component. Not all requests are tracked this way.",
		labels...)
	r.series = map[seriesKey]*series{}
	r.known = kind.Derive(catalog, subresources)
}

// subresources are those of each resource, itself under the empty name.
func subresources(now *kind.Kinds, _ map[schema.GroupVersionResource]map[string]bool) map[schema.GroupVersionResource]map[string]bool {
	known := map[schema.GroupVersionResource]map[string]bool{}
	for _, k := range now.All() {
		parts := map[string]bool{"": true}
		for _, p := range k.Parts {
			parts[p.Name] = true
		}
		for _, a := range k.Actions {
			parts[a.Name] = true
		}
		if k.Scale != nil {
			parts["scale"] = true
		}
		known[k.GVR()] = parts
	}
	return known
}

func (r *requests) collectors() []prometheus.Collector {
	return []prometheus.Collector{r.total, r.duration, r.sli, r.sizes, r.longRunning, r.abandoned}
}

// verbs are the labels of verbs.
var verbs = map[string]string{
	"get": "GET", "list": "LIST", "watch": "WATCH", "create": "POST", "update": "PUT", "patch": "PATCH", "apply": "APPLY",
	"delete": "DELETE", "deletecollection": "DELETECOLLECTION", "connect": "CONNECT", "post": "POST", "put": "PUT",
}

// otherPaths are what is no resource and is counted, by the beginning of the path.
var otherPaths = []string{"/healthz", "/livez", "/readyz", "/metrics", "/version", "/openapi/v2", "/openapi/v3", "/openid", "/.well-known", "/apis", "/api"}

// key takes only what is known of a request.
func (r *requests) key(q *Request) seriesKey {
	verb, ok := verbs[q.Verb]
	if !ok {
		verb = "other"
	}
	if q.Resource != "" {
		parts, ok := r.known.Get()[schema.GroupVersionResource{Group: q.Group, Version: q.Version, Resource: q.Resource}]
		if !ok || !parts[q.Subresource] {
			return seriesKey{verb: verb}
		}
		scope := ""
		switch q.Scope {
		case "cluster", "namespace", "resource":
			scope = q.Scope
		}
		return seriesKey{verb, q.Group, q.Version, q.Resource, q.Subresource, scope, q.DryRun}
	}
	for _, p := range otherPaths {
		if rest, ok := strings.CutPrefix(q.Path, p); ok && (rest == "" || rest[0] == '/') {
			return seriesKey{verb: verb, subresource: p}
		}
	}
	return seriesKey{verb: verb}
}

func (k seriesKey) component() string {
	if k.resource == "" {
		return ""
	}
	return "apiserver"
}

func (k seriesKey) labels() []string {
	return []string{k.verb, k.group, k.version, k.resource, k.subresource, k.scope, k.component()}
}

func (k seriesKey) labelsWithDryRun() []string {
	dryRun := ""
	if k.dryRun {
		dryRun = "All"
	}
	return append([]string{dryRun}, k.labels()...)
}

func (r *requests) of(key seriesKey) *series {
	r.mu.RLock()
	s := r.series[key]
	r.mu.RUnlock()
	if s != nil {
		return s
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.series[key]; s != nil {
		return s
	}
	s = &series{key: key, codes: map[int]prometheus.Counter{},
		duration: r.duration.WithLabelValues(key.labelsWithDryRun()...), sli: r.sli.WithLabelValues(key.labels()...)}
	if key.verb == "GET" || key.verb == "LIST" {
		s.sizes = r.sizes.WithLabelValues(key.labels()...)
	}
	r.series[key] = s
	return s
}

// counter is the counter of an HTTP status; what is none counts as 500.
func (s *series) counter(code int, total *prometheus.CounterVec) prometheus.Counter {
	if code < 100 || code > 599 {
		code = 500
	}
	s.mu.RLock()
	c := s.codes[code]
	s.mu.RUnlock()
	if c != nil {
		return c
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c = s.codes[code]; c == nil {
		c = total.WithLabelValues(append([]string{strconv.Itoa(code)}, s.key.labelsWithDryRun()...)...)
		s.codes[code] = c
	}
	return c
}

// Request counts a finished request.
func (m *Metrics) Request(q Request) {
	s := m.requests.of(m.requests.key(&q))
	s.counter(q.Code, m.requests.total).Inc()
	s.duration.Observe(q.Duration.Seconds())
	s.sli.Observe(q.Duration.Seconds())
	if s.sizes != nil {
		s.sizes.Observe(float64(q.Bytes))
	}
}

// Abandoned counts a request that has left work behind ("pending"), or the end of such work.
func (m *Metrics) Abandoned(status string) {
	m.requests.abandoned.WithLabelValues("rest-handler", status).Inc()
}

// LongRunning counts a request that goes on for long until done is called.
func (m *Metrics) LongRunning(q Request) (done func()) {
	g := m.requests.longRunning.WithLabelValues(m.requests.key(&q).labels()...)
	g.Inc()
	return g.Dec
}
