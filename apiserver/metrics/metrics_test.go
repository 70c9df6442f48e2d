package metrics

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/util/workqueue"
	queues "k8s.io/component-base/metrics/prometheus/workqueue"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

var pods = kind.Define(kind.Resource{GroupVersion: corev1.SchemeGroupVersion, Plural: "pods", Namespaced: true, List: kind.ListOf[corev1.PodList]},
	kind.Rules[corev1.Pod]{Status: &kind.Part[corev1.Pod]{}})

func used() *Metrics {
	m := New(Options{
		Catalog: kind.NewCatalog([]*kind.Kind{pods}), Version: version.Info{GitVersion: "v1.37.0"},
		InFlight:  func() (int64, int64) { return 2, 1 },
		Objects:   func() []Objects { return []Objects{{Group: "apps", Resource: "deployments", Count: 3, Bytes: 900}} },
		StoreSize: func() int64 { return 4096 }, StoreID: "a",
		Certificates: func() map[string]time.Time { return map[string]time.Time{"ca": time.Unix(1, 0)} },
	})
	m.Request(Request{Verb: "get", Version: "v1", Resource: "pods", Scope: "resource", Code: 200, Bytes: 100, Duration: time.Millisecond})
	m.Request(Request{Verb: "create", Version: "v1", Resource: "pods", Scope: "resource", Code: 201, DryRun: true})
	m.LongRunning(Request{Verb: "watch", Version: "v1", Resource: "pods", Scope: "cluster"})
	m.Watch(pods).Sent(2000)
	m.Store("create", "", "pods").Done(time.Millisecond, errors.New("lost"))
	m.Healthcheck("ping", "livez", true)
	m.Healthcheck("etcd", "readyz", false)
	m.Leading("kube-scheduler", true)
	m.SlowRenewal("kube-scheduler")
	m.TermEnded("kube-scheduler", "lost")
	m.Backups.Succeeded(time.Now(), 1, 1)
	m.TLSHandshakeFailed()
	m.Rejected("global-default", "global-default")
	s := m.Scheduler("default-scheduler")
	s.Attempt("scheduled", time.Millisecond)
	s.Algorithm(time.Millisecond)
	s.Scheduled(100, time.Second)
	s.Incoming("PodAdd", "active", 2)
	s.Pending(1, 2, 3, 4)
	s.Cache(5, 6, 7)
	return m
}

func scrape(t *testing.T, h http.Handler) string {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("code %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// TestNames compares names, types and labels with upstream's.
func TestNames(t *testing.T) {
	m := used()
	q := workqueue.NewTypedRateLimitingQueueWithConfig(workqueue.DefaultTypedControllerRateLimiter[string](),
		workqueue.TypedRateLimitingQueueConfig[string]{Name: queues.WorkQueueSubsystem})
	defer q.ShutDown()
	q.AddRateLimited("x")
	text := scrape(t, m.Handler())
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	own := map[string]*dto.MetricFamily{}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "wheelhouse_") {
			own[f.GetName()] = f
		}
	}
	data, err := os.ReadFile("testdata/names.tsv")
	if err != nil {
		t.Fatal(err)
	}
	expected := 0
	for _, line := range strings.Split(strings.TrimRight(string(data), "\n"), "\n") {
		columns := strings.Split(line, "\t")
		name, kind, labels := columns[0], columns[1], columns[2]
		if !strings.Contains(text, "# TYPE "+name+" ") {
			t.Errorf("%s is missing", name)
		}
		f := own[name]
		if f == nil {
			continue // a library's
		}
		expected++
		if got := f.GetType().String(); !strings.EqualFold(got, kind) && kind != "Custom" {
			t.Errorf("%s is a %s, want %s", name, got, kind)
		}
		if got := labelsOf(f.GetMetric()[0]); got != labels {
			t.Errorf("%s has labels %s, want %s", name, got, labels)
		}
	}
	if expected != len(own) {
		t.Errorf("%d of %d own metrics are upstream's", expected, len(own))
	}
	for _, name := range []string{"process_start_time_seconds", "go_goroutines"} {
		if strings.Count(text, "# TYPE "+name+" ") != 1 {
			t.Errorf("%s is not there once", name)
		}
	}
}

func labelsOf(m *dto.Metric) string {
	var names []string
	for _, l := range m.GetLabel() {
		names = append(names, l.GetName())
	}
	slices.Sort(names)
	return strings.Join(names, ",")
}

func TestValues(t *testing.T) {
	text := scrape(t, used().Handler())
	for _, want := range []string{
		`apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="pods",scope="resource",subresource="",verb="GET",version="v1"} 1`,
		`apiserver_request_total{code="201",component="apiserver",dry_run="All",group="",resource="pods",scope="resource",subresource="",verb="POST",version="v1"} 1`,
		`apiserver_longrunning_requests{component="apiserver",group="",resource="pods",scope="cluster",subresource="",verb="WATCH",version="v1"} 1`,
		`apiserver_storage_objects{resource="deployments.apps"} 3`,
		`apiserver_storage_size_bytes{storage_cluster_id="a"} 4096`,
		`apiserver_current_inflight_requests{request_kind="mutating"} 1`,
		`kubernetes_healthcheck{name="etcd",type="readyz"} 0`,
		`scheduler_pod_scheduling_sli_duration_seconds_count{attempts="15+"} 1`,
		`scheduler_pending_pods{queue="gated"} 4`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("missing %s", want)
		}
	}
	if strings.Contains(text, `apiserver_response_sizes_count{component="apiserver",group="",resource="pods",scope="resource",subresource="",verb="POST"`) {
		t.Error("sizes of answers to writes are counted")
	}
	if slis := scrape(t, used().SLIHandler()); !strings.Contains(slis, `kubernetes_healthchecks_total{name="ping",status="success",type="livez"} 1`) {
		t.Errorf("health checks: %s", slis)
	}
}

// TestLabelsAreBounded sends what nobody has heard of.
func TestLabelsAreBounded(t *testing.T) {
	m := New(Options{Catalog: kind.NewCatalog([]*kind.Kind{pods})})
	for n := range 100 {
		odd := strings.Repeat("x", n)
		m.Request(Request{Verb: "get" + odd, Path: "/" + odd, Code: 1000 + n})
		m.Request(Request{Verb: "get", Group: odd, Version: odd, Resource: "r" + odd, Scope: odd, Code: 404})
		m.Request(Request{Verb: "get", Version: "v1", Resource: "pods", Subresource: "s" + odd, Scope: "resource", Code: 404})
		m.Request(Request{Verb: "get", Version: "v1", Resource: "pods", Subresource: "status", Scope: odd, Code: 200})
		m.Request(Request{Verb: "get", Path: "/livez/" + odd, Code: 404})
	}
	if got := len(m.requests.series); got > 6 {
		t.Errorf("%d combinations of labels", got)
	}
}

func TestRequestAllocatesNothing(t *testing.T) {
	m := New(Options{Catalog: kind.NewCatalog([]*kind.Kind{pods})})
	q := Request{Verb: "get", Version: "v1", Resource: "pods", Scope: "resource", Code: 200, Duration: time.Millisecond}
	m.Request(q)
	if n := testing.AllocsPerRun(100, func() { m.Request(q) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRequest(b *testing.B) {
	m := New(Options{Catalog: kind.NewCatalog([]*kind.Kind{pods})})
	q := Request{Verb: "get", Version: "v1", Resource: "pods", Scope: "resource", Code: 200, Duration: time.Millisecond}
	for b.Loop() {
		m.Request(q)
	}
}
