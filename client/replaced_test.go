package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// shelf is a server that lists one config map, and knows nothing else. It says that it serves no such kind while it is away.
type shelf struct {
	away    atomic.Bool
	watches atomic.Int32
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	answer := func(code int, body any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(body)
	}
	refuse := func(code int32, reason metav1.StatusReason) {
		answer(int(code), &metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Code: code, Reason: reason})
	}
	switch {
	case s.away.Load() || !strings.HasSuffix(r.URL.Path, "/configmaps"):
		refuse(http.StatusNotFound, metav1.StatusReasonNotFound)
	case q.Get("sendInitialEvents") == "true":
		refuse(http.StatusUnprocessableEntity, metav1.StatusReasonInvalid)
	case q.Get("watch") == "true":
		s.watches.Add(1)
		defer s.watches.Add(-1)
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	default:
		answer(http.StatusOK, &corev1.ConfigMapList{
			TypeMeta: metav1.TypeMeta{Kind: "ConfigMapList", APIVersion: "v1"}, ListMeta: metav1.ListMeta{ResourceVersion: "7"},
			Items: []corev1.ConfigMap{{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a", UID: "u", ResourceVersion: "5"}}},
		})
	}
}

func dial(t *testing.T, s http.Handler) *remote {
	t.Helper()
	server := httptest.NewServer(s)
	transport, err := HTTP(t.Context(), &rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	return transport.(*remote)
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not in time: " + what)
		}
	}
}

// TestReplacedKindsLeaveNothing: however often a kind is defined anew, one client, one view and one watch of it stay. Who has a former
// definition sees nothing, is told that this proves nothing, and begins nothing anew.
func TestReplacedKindsLeaveNothing(t *testing.T) {
	s := &shelf{}
	transport := dial(t, s)
	maps := *api.Of[*corev1.ConfigMap]()
	last := &maps
	for range 50 {
		next := *last
		before, view := last, transport.View(last)
		<-view.Synced()
		next.Form = kind.Tree // each of these has a client of its own
		_, _ = transport.Do(t.Context(), Request{Verb: kind.Get, Kind: &next, Namespace: "ns", Name: "a"})
		again := next
		again.Form = before.Form
		last = &again
		<-transport.View(last).Synced()
		for _, v := range []View{view, transport.View(before)} {
			if _, shown := v.Get("ns", "a"); shown || v.Len() != 0 || !errors.Is(v.Whole(""), ErrNotServed) || !errors.Is(v.Legible("ns", "a"), ErrNotServed) {
				t.Fatalf("the view of a former definition: %v, %v", shown, v.Whole(""))
			}
		}
		if err := transport.Fresh(t.Context(), before); !errors.Is(err, ErrNotServed) {
			t.Fatalf("fresh: %v", err)
		}
		_, _ = transport.Do(t.Context(), Request{Verb: kind.Get, Kind: &next, Namespace: "ns", Name: "a"})
		if view := transport.View(last); view.Len() != 1 || view.Whole("") != nil {
			t.Fatalf("the view of the latest definition: %d, %v", view.Len(), view.Whole(""))
		}
	}
	if len(transport.mirrors) != 1 || len(transport.clients) != 1 || len(transport.current) != 1 {
		t.Errorf("%d views, %d clients, %d definitions are left", len(transport.mirrors), len(transport.clients), len(transport.current))
	}
	eventually(t, "one watch", func() bool { return s.watches.Load() == 1 })
	runtime.GC()
	runtime.GC()
	another := *last
	transport.View(&another)
	if n := len(transport.former); n > 60 {
		t.Errorf("%d former definitions are remembered", n)
	}
	if err := transport.WaitFor(t.Context(), 7); err != nil {
		t.Error(err)
	}
}

// TestFreshOfAKindThatHasGone: the server does not serve a kind any more, or not yet: that is an error of its own, at once, and nothing can
// be concluded from the view, before it is served again.
func TestFreshOfAKindThatHasGone(t *testing.T) {
	s := &shelf{}
	transport := dial(t, s)
	maps := api.Of[*corev1.ConfigMap]()
	view := transport.View(maps)
	if err := transport.Fresh(t.Context(), maps); err != nil {
		t.Fatal(err)
	}
	s.away.Store(true)
	for range 3 {
		limited, cancel := context.WithTimeout(t.Context(), time.Minute)
		if err := transport.Fresh(limited, maps); !errors.Is(err, ErrNotServed) {
			t.Errorf("fresh: %v", err)
		}
		cancel()
		eventually(t, "the view is not whole", func() bool { return errors.Is(view.Whole(""), ErrNotServed) })
	}
	s.away.Store(false)
	eventually(t, "fresh again", func() bool { return transport.Fresh(t.Context(), maps) == nil })
	if o, shown := view.Get("ns", "a"); !shown || o.GetUID() != "u" || view.Whole("") != nil {
		t.Errorf("when it is back: %v, %v", shown, view.Whole(""))
	}
}

// TestFreshWaiterOfAReplacedKind: who waits for the view of a kind that is defined anew meanwhile is told so.
func TestFreshWaiterOfAReplacedKind(t *testing.T) {
	m := newMirror(api.Of[*corev1.ConfigMap]())
	m.await(9)
	told := make(chan error, 2)
	go func() { told <- m.refresh(t.Context()) }()
	go func() { told <- m.waitForWrites(t.Context(), 9) }()
	m.end()
	var not, waited int
	for range 2 {
		if err := <-told; errors.Is(err, ErrNotServed) {
			not++
		} else if err == nil {
			waited++
		}
	}
	m.apply(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "late", ResourceVersion: "8"}}, false)
	m.replace(objects{{"", "late"}: &corev1.ConfigMap{}}, 9)
	m.fail(nil)
	if not != 1 || waited != 1 || m.Len() != 0 || !errors.Is(m.Whole(""), ErrNotServed) {
		t.Errorf("%d and %d were told; then %d objects, %v", not, waited, m.Len(), m.Whole(""))
	}
}
