package master

import (
	"context"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/election"
	"github.com/wheelhouse-k8s/wheelhouse/registry/notes"
	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

// lasting is a store that outlives the masters that share it.
type lasting struct{ store.Store }

func (lasting) Close() error { return nil }

// startMaster runs a master on a store that others share; stop ends it and waits.
func startMaster(t *testing.T, s store.Store, configure func(*Config)) (m *Master, stop func()) {
	t.Helper()
	c := Default()
	c.DataDir, c.store, c.BindAddress, c.SecurePort = "", lasting{s}, "127.0.0.1", 0
	if configure != nil {
		configure(&c)
	}
	m, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the master ended: %v", err)
		}
	}
	t.Cleanup(stop)
	select {
	case <-m.Ready():
	case err := <-done:
		t.Fatal(err)
	}
	return m, stop
}

func awaitPeers(t *testing.T, m *Master, n int) {
	t.Helper()
	late := time.After(30 * time.Second)
	for {
		changed := m.roster.Changed()
		if len(m.roster.Masters()) == n {
			return
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("masters %+v, want %d", m.roster.Masters(), n)
		}
	}
}

func newEvent(name string) *corev1.Event {
	return &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, InvolvedObject: corev1.ObjectReference{Namespace: "default"},
	}
}

// TestTermIsFenced: when another term has begun, nothing of a former one is written any more, and it ends.
func TestTermIsFenced(t *testing.T) {
	s := memory.New()
	t.Cleanup(func() { s.Close() })
	m, _ := startMaster(t, s, func(c *Config) { c.Components = []Component{APIServer} })
	f := fence{store: m.opened.store, key: notes.Terms + "test"}
	revision, err := f.Read(t.Context())
	if err != nil || revision != 0 {
		t.Fatal(revision, err)
	}
	if revision, err = f.Take(t.Context(), revision, "a"); err != nil {
		t.Fatal(err)
	}
	err = m.leader().during(t.Context(), "test", revision, func(ctx context.Context, term *term) error {
		events := client.For[*corev1.Event](term.as(controllerManagerUser))
		if _, err := events.Create(ctx, newEvent("first")); err != nil {
			t.Errorf("a write of the term: %v", err)
		}
		if _, err := f.Take(context.Background(), revision, "b"); err != nil {
			t.Errorf("the next term: %v", err)
		}
		// A context that does not come from the term's makes no difference.
		for i, ctx := range []context.Context{ctx, context.Background()} {
			name := []string{"second", "third"}[i]
			_, err := events.Create(ctx, newEvent(name))
			if !errors.Is(err, store.ErrFenced) || !apierrors.IsServiceUnavailable(err) {
				t.Errorf("a write after the term: %v", err)
			}
			if _, _, err := s.Get(context.Background(), "/registry/events/default/"+name, 0); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("event %s: %v", name, err)
			}
		}
		return context.Cause(ctx)
	})
	if !errors.Is(err, election.ErrDeposed) {
		t.Errorf("the term ended with %v", err)
	}
}

// TestHandover: of two masters on one store one leads; when it stops the other does at once.
func TestHandover(t *testing.T) {
	s := memory.New()
	t.Cleanup(func() { s.Close() })
	leading := make(chan string, 10)
	of := func(name string) func(*Config) {
		return func(c *Config) {
			c.Components = []Component{APIServer, Scheduler}
			c.Log = func(format string, args ...any) {
				if format == "leading as %s" {
					leading <- name
				}
			}
		}
	}
	a, stopA := startMaster(t, s, of("a"))
	if got := <-leading; got != "a" {
		t.Fatal(got)
	}
	b, _ := startMaster(t, s, of("b"))
	awaitPeers(t, a, 2)
	awaitPeers(t, b, 2)
	begun := time.Now()
	stopA()
	if got := <-leading; got != "b" {
		t.Errorf("%s leads", got)
	}
	if took := time.Since(begun); took > 3*time.Second { // the lease lasts 15 s
		t.Errorf("handing over took %v", took)
	}
	awaitPeers(t, b, 1)
	if peers := b.roster.Masters(); peers[0].Name != b.enrolment.Name {
		t.Errorf("masters %+v", peers)
	}
}
