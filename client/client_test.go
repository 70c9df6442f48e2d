package client_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/wheelhouse-k8s/wheelhouse"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/master"
)

const patience = 60 * time.Second

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// door is the client's side of the connection: it counts what is asked, can refuse streaming lists as old servers do,
// and can break all watches.
type door struct {
	next     http.RoundTripper
	noStream bool
	lists    atomic.Int64
	streams  atomic.Int64

	mu      sync.Mutex
	watches []context.CancelFunc // guarded by mu
}

func (d *door) RoundTrip(r *http.Request) (*http.Response, error) {
	q := r.URL.Query()
	switch {
	case q.Get("watch") == "true" && q.Get("sendInitialEvents") == "true":
		if d.noStream {
			body := `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422,"message":"sendInitialEvents is forbidden"}`
			return &http.Response{StatusCode: 422, Header: http.Header{"Content-Type": {"application/json"}}, Body: closer{strings.NewReader(body)}, Request: r}, nil
		}
		d.streams.Add(1)
		fallthrough
	case q.Get("watch") == "true":
		ctx, cancel := context.WithCancel(r.Context())
		d.mu.Lock()
		d.watches = append(d.watches, cancel)
		d.mu.Unlock()
		r = r.WithContext(ctx)
	case r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/configmaps"):
		d.lists.Add(1)
	}
	return d.next.RoundTrip(r)
}

type closer struct{ *strings.Reader }

func (closer) Close() error { return nil }

func (d *door) breakWatches() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, cancel := range d.watches {
		cancel()
	}
	d.watches = nil
}

func start(t *testing.T) *wheelhouse.Master {
	t.Helper()
	m, err := wheelhouse.Start(t.Context(), wheelhouse.Options{Components: []master.Component{master.APIServer}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Stop() })
	return m
}

func connect(t *testing.T, m *wheelhouse.Master, d *door) client.Transport {
	t.Helper()
	cfg := rest.CopyConfig(m.RESTConfig())
	cfg.Wrap(func(rt http.RoundTripper) http.RoundTripper { d.next = rt; return d })
	transport, err := client.HTTP(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return transport
}

// follower rebuilds a view's content from its deltas alone.
type follower struct {
	mu    sync.Mutex
	seen  map[string]string // guarded by mu
	fault string            // guarded by mu
}

func (f *follower) follow(ctx context.Context, view client.Live[*corev1.ConfigMap]) {
	f.seen = map[string]string{}
	go view.Subscribe(ctx, func(changes []client.Change[*corev1.ConfigMap]) {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, c := range changes {
			switch {
			case c.New == nil:
				delete(f.seen, c.Old.Name)
				continue
			case c.Old == nil && f.seen[c.New.Name] != "", c.Old != nil && f.seen[c.New.Name] != c.Old.ResourceVersion:
				f.fault = fmt.Sprintf("%s: %s follows %s", c.New.Name, c.New.ResourceVersion, f.seen[c.New.Name])
			}
			f.seen[c.New.Name] = c.New.ResourceVersion
		}
	})
}

func (f *follower) is(t *testing.T, view client.Live[*corev1.ConfigMap]) bool {
	t.Helper()
	want := map[string]string{}
	for o := range view.All("") {
		want[o.Name] = o.ResourceVersion
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fault != "" {
		t.Fatal(f.fault)
	}
	return maps.Equal(f.seen, want)
}

func TestHTTPViews(t *testing.T) {
	m := start(t)
	for _, noStream := range []bool{false, true} {
		t.Run(fmt.Sprintf("refuses streaming lists %v", noStream), func(t *testing.T) {
			d := &door{noStream: noStream}
			transport := connect(t, m, d)
			c := client.For[*corev1.ConfigMap](transport)
			namespace := metav1.NamespaceDefault
			prefix := fmt.Sprintf("v-%v-", noStream)
			create := func(name string, owner types.UID) *corev1.ConfigMap {
				o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: prefix + name}}
				if owner != "" {
					o.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "owner", UID: owner}}
				}
				stored, err := c.Create(t.Context(), o)
				if err != nil {
					t.Fatal(err)
				}
				return stored
			}
			create("before", "")
			view := c.Live()
			<-view.Synced()
			if _, ok := view.Get(namespace, prefix+"before"); !ok {
				t.Fatal("a synced view lacks an object")
			}
			var f follower
			f.follow(t.Context(), view)
			stored := create("owned", "u1")
			if err := transport.WaitFor(t.Context(), client.Revision(stored)); err != nil {
				t.Fatal(err)
			}
			if o, ok := view.Get(namespace, prefix+"owned"); !ok || o.ResourceVersion != stored.ResourceVersion || o.Kind != "" {
				t.Fatalf("after WaitFor the view has %v", o)
			}
			owned := slices.Collect(view.OwnedBy("u1"))
			if len(owned) != 1 || owned[0].Name != prefix+"owned" {
				t.Errorf("owned by u1: %v", owned)
			}
			lists, streams := d.lists.Load(), d.streams.Load()
			for i := range 3 {
				d.breakWatches()
				create(fmt.Sprint("while-broken-", i), "")
				if err := c.Delete(t.Context(), namespace, prefix+"before", metav1.DeleteOptions{}); i == 0 && err != nil {
					t.Fatal(err)
				}
			}
			until(t, "the view caught up", func() bool {
				_, gone := view.Get(namespace, prefix+"before")
				_, there := view.Get(namespace, prefix+"while-broken-2")
				return !gone && there && f.is(t, view)
			})
			if l, s := d.lists.Load(), d.streams.Load(); l != lists || s != streams {
				t.Errorf("broken watches made it list again: %d lists, %d streaming lists more", l-lists, s-streams)
			}
			if err := c.DeleteCollection(t.Context(), namespace, metav1.DeleteOptions{}, "", "metadata.name="+prefix+"owned"); err != nil {
				t.Fatal(err)
			}
			until(t, "the deleted one gone", func() bool {
				return len(slices.Collect(view.OwnedBy("u1"))) == 0 && f.is(t, view)
			})
		})
	}
}

func TestHTTPRequests(t *testing.T) {
	transport := connect(t, start(t), &door{})
	pods := client.For[*corev1.Pod](transport)
	spec := corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}, ServiceAccountName: "default", AutomountServiceAccountToken: new(bool)}
	accounts := client.For[*corev1.ServiceAccount](transport)
	if _, err := accounts.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}}); err != nil {
		t.Fatal(err)
	}
	p, err := pods.Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", GenerateName: "p-"}, Spec: spec})
	if err != nil || !strings.HasPrefix(p.Name, "p-") || p.Kind != "" {
		t.Fatalf("created %+v, %v", p, err)
	}
	if _, err := client.For[*corev1.Node](transport).Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := pods.Act(t.Context(), "default", p.Name, "binding", &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: p.Name}, Target: corev1.ObjectReference{Kind: "Node", Name: "n"}}); err != nil {
		t.Fatal(err)
	}
	until(t, "the pod found by its node", func() bool {
		return len(slices.Collect(pods.Live().ByField("spec.nodeName", "n"))) == 1
	})
	now, err := pods.PatchStatus(t.Context(), "default", p.Name, types.MergePatchType, []byte(`{"status":{"phase":"Running"}}`))
	if err != nil || now.Status.Phase != corev1.PodRunning {
		t.Fatalf("patched %+v, %v", now, err)
	}
	if _, err := pods.UpdateStatus(t.Context(), p.DeepCopy()); !apierrors.IsConflict(err) {
		t.Errorf("an update of an old version: %v", err)
	}
	wrong := types.UID("another")
	if err := pods.Delete(t.Context(), "default", p.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &wrong}}); !apierrors.IsConflict(err) {
		t.Errorf("a deletion of another UID: %v", err)
	}
	zero := int64(0)
	if err := pods.Delete(t.Context(), "default", p.Name, metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
		t.Error(err)
	}
	if _, err := pods.Get(t.Context(), "default", p.Name); !apierrors.IsNotFound(err) {
		t.Errorf("a deleted pod: %v", err)
	}
}

// TestRecorder floods the recorder with similar events: few are written, and they count the others.
func TestRecorder(t *testing.T) {
	transport := connect(t, start(t), &door{})
	r := client.NewRecorder(transport, "tester")
	go r.Run(t.Context())
	about := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "o", UID: "u"}}
	for range 5 {
		r.Event(about, corev1.EventTypeNormal, "Same", "the same again")
	}
	for i := range 5000 {
		r.Eventf(about, corev1.EventTypeWarning, "Flood", "number %d", i)
	}
	events := client.For[*corev1.Event](transport).Live()
	until(t, "the repeated event counted", func() bool {
		for e := range events.All("default") {
			if e.Reason == "Same" && e.Count == 5 && e.InvolvedObject.Kind == "ConfigMap" && e.Source.Component == "tester" && e.ReportingController == "tester" {
				return true
			}
		}
		return false
	})
	until(t, "the flood combined", func() bool {
		single, combined := 0, int32(0)
		for e := range events.All("default") {
			if e.Reason != "Flood" {
				continue
			}
			if strings.HasPrefix(e.Message, "(combined from similar events)") {
				combined = e.Count
			} else {
				single++
			}
		}
		return single == 9 && combined == 16
	})
}
