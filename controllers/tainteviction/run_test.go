package tainteviction

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/client/clienttest"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
)

var nodes, pods = api.Of[*corev1.Node](), api.Of[*corev1.Pod]()

// stage runs the controller in a time of its own, on a server that the test plays.
type stage struct {
	*testing.T
	*clienttest.Server
	begin time.Time
	get   func(r client.Request) (runtime.Object, error)

	mu   sync.Mutex
	told []string // guarded by mu: "40s deleted p", "5s Cancelling deletion of Pod ns/p"
}

func start(t *testing.T) *stage {
	s := &stage{T: t, Server: &clienttest.Server{}, begin: time.Now()}
	s.Answer = func(_ context.Context, r client.Request) (runtime.Object, error) {
		switch e, isEvent := r.Object.(*corev1.Event); {
		case r.Verb == kind.Get:
			return s.get(r)
		case r.Verb == kind.Delete:
			s.tell("deleted " + r.Name)
			s.Remove(pods, r.Namespace, r.Name)
			return nil, nil
		case isEvent && strings.HasPrefix(e.Message, "Cancelling"):
			s.tell(e.Message)
		}
		if r.Verb == kind.Patch {
			return &corev1.Pod{}, nil
		}
		return r.Object, nil
	}
	return s
}

func (s *stage) run() {
	ctx, cancel := context.WithCancel(s.Context())
	done := make(chan error)
	b := reconcile.NewBuilder("taint-eviction-controller", s)
	b.Events = client.NewRecorder(s, "test")
	go b.Events.Run(ctx)
	c, err := b.Make(New)
	if err != nil {
		s.Fatal(err)
	}
	go func() { done <- c.Run(ctx) }()
	s.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			s.Error(err)
		}
	})
}

func (s *stage) tell(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = append(s.told, fmt.Sprintf("%v %s", time.Since(s.begin).Round(time.Second), what))
}

// expect lets time pass and tells what must have happened since the start.
func (s *stage) expect(d time.Duration, want ...string) {
	s.Helper()
	time.Sleep(d)
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.told, want) {
		s.Errorf("after %v: %q, want %q", time.Since(s.begin), s.told, want)
	}
}

func tainted(keys ...string) kind.Object {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "n"}}
	for _, key := range keys {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Effect: corev1.TaintEffectNoExecute})
	}
	return n
}

// tolerating is an old pod that tolerates taint "a" for so many seconds.
func tolerating(seconds int64) kind.Object {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "p", CreationTimestamp: metav1.NewTime(time.Now().Add(-time.Hour))}}
	p.Spec.NodeName = "n"
	p.Spec.Tolerations = []corev1.Toleration{{Key: "a", Operator: corev1.TolerationOpExists, TolerationSeconds: &seconds}}
	return p
}

func TestEvictions(t *testing.T) {
	const cancelled = "Cancelling deletion of Pod ns/p"
	for name, play := range map[string]func(s *stage){
		"a taint that does not say when it was added, and an old pod": func(s *stage) {
			s.Put(nodes, tainted("a"))
			s.run()
			s.expect(39 * time.Second)
			s.Put(nodes, tainted("a", "b-of-no-concern")) // what it was, it stays
			s.expect(2*time.Second, "39s deleted p")
		},
		"another taint does not start the clock anew": func(s *stage) {
			s.Put(nodes, tainted("a"))
			s.run()
			s.expect(30 * time.Second)
			relabelled := tainted("a").(*corev1.Node)
			relabelled.Spec.Taints = append(relabelled.Spec.Taints, corev1.Taint{Key: "b", Effect: corev1.TaintEffectNoSchedule})
			s.Put(nodes, relabelled)
			s.expect(20*time.Second, "40s deleted p")
		},
		"another in the place of a taint that is tolerated": func(s *stage) {
			s.Put(nodes, tainted("a"))
			s.run()
			s.expect(10 * time.Second)
			s.Put(nodes, tainted("b"))
			s.expect(time.Second, "10s deleted p")
		},
		"seconds that are changed": func(s *stage) {
			s.Put(nodes, tainted("a"))
			s.run()
			s.expect(10 * time.Second)
			s.Put(pods, tolerating(15))
			s.expect(10*time.Second, "15s deleted p")
		},
		"the taint goes": func(s *stage) {
			s.Put(nodes, tainted("a"))
			s.run()
			s.expect(5 * time.Second)
			s.Put(nodes, tainted())
			s.expect(time.Minute, "5s "+cancelled)
		},
		"the pod goes": func(s *stage) {
			s.get = func(r client.Request) (runtime.Object, error) { return nil, apierrors.NewNotFound(r.Kind.GR(), r.Name) }
			s.Put(nodes, tainted("a"))
			s.run()
			s.expect(5 * time.Second)
			s.Remove(pods, "ns", "p")
			s.expect(time.Minute, "5s "+cancelled)
		},
		"the node goes": func(s *stage) {
			s.get = func(r client.Request) (runtime.Object, error) { return nil, apierrors.NewNotFound(r.Kind.GR(), r.Name) }
			s.Put(nodes, tainted("a"))
			s.run()
			s.expect(5 * time.Second)
			s.Remove(nodes, "", "n")
			s.expect(time.Minute, "5s "+cancelled)
		},
		"the node cannot be read for a while": func(s *stage) {
			s.get = func(client.Request) (runtime.Object, error) {
				return nil, apierrors.NewInternalError(fmt.Errorf("unreadable"))
			}
			s.Put(nodes, tainted("a"))
			s.run()
			s.expect(5 * time.Second)
			s.Remove(nodes, "", "n")
			s.expect(30 * time.Second)
			s.Put(nodes, tainted("a"))
			s.expect(time.Hour, "1m15s deleted p")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := start(t)
				s.Put(pods, tolerating(40))
				play(s)
			})
		})
	}
}
