package scheduler

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/client/clienttest"
)

// stage is a scheduler on a server that the test plays, in a time of its own.
type stage struct {
	*clienttest.Server
	mu sync.Mutex
	// written: "pod to node" for a binding, "pod refused" for a condition.
	written []string
	// bind answers a binding.
	bind func(pod, node string) error
	// plugins and metrics of the scheduler; nil and zero for the usual ones.
	plugins []plugin
	metrics Metrics
	// stepsMax is the option of that name.
	stepsMax int
}

var pods, nodes = api.Of[*corev1.Pod](), api.Of[*corev1.Node]()

// schedule runs a scheduler until the test ends, or calls what it returns.
func schedule(t *testing.T, s *stage) (end func()) {
	scheduler := newScheduler(s)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- scheduler.Run(ctx) }()
	end = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(end)
	return end
}

// newScheduler makes a scheduler on a stage.
func newScheduler(s *stage) *Scheduler {
	s.Answer = func(_ context.Context, r client.Request) (runtime.Object, error) {
		b, binds := r.Object.(*corev1.Binding)
		s.mu.Lock()
		if binds {
			s.written = append(s.written, b.Name+" to "+b.Target.Name)
		} else if r.Verb == kind.Patch && r.Kind == pods {
			s.written = append(s.written, r.Name+" refused")
		}
		s.mu.Unlock()
		if binds && s.bind != nil {
			return nil, s.bind(b.Name, b.Target.Name)
		}
		if r.Verb == kind.Patch {
			return &corev1.Pod{}, nil
		}
		return r.Object, nil
	}
	scheduler := New(s, Options{Metrics: s.metrics, StepsMax: s.stepsMax})
	if s.plugins != nil {
		scheduler.plugins = s.plugins
	}
	return scheduler
}

// quiet waits until nothing moves and lists what was written.
func (s *stage) quiet() []string {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.written)
}

func makeNode(name, cpu string) kind.Object {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}}
	n.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourcePods: resource.MustParse("110")}
	return n
}

func makePod(name, cpu, node string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(name)}}
	p.Spec.SchedulerName, p.Spec.NodeName = DefaultName, node
	p.Spec.Containers = []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}}}}
	return p
}

// No decision is made before all pods and all nodes have arrived, however long that takes: room would be given away twice, or to
// the worse of two nodes.
func TestDecidesOnWholeClusters(t *testing.T) {
	for _, late := range []*kind.Kind{pods, nodes, api.Of[*corev1.Namespace]()} {
		t.Run(late.Plural, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &stage{Server: &clienttest.Server{}}
				s.Hold(late)
				s.Put(nodes, makeNode("full", "8"), makeNode("free", "4"))
				s.Put(pods, makePod("there", "7", "full"), makePod("new", "2", ""))
				schedule(t, s)
				time.Sleep(time.Hour)
				if got := s.quiet(); got != nil {
					t.Errorf("decided without all %s: %v", late.Plural, got)
				}
				s.Release(late)
				if got := s.quiet(); !slices.Equal(got, []string{"new to free"}) {
					t.Errorf("wrote: %v", got)
				}
			})
		})
	}
}

// A binding that nobody knows the outcome of keeps its room until the views show what has become of it.
func TestBindingsOfUnknownOutcome(t *testing.T) {
	for _, happened := range []bool{true, false} {
		t.Run(map[bool]string{true: "made", false: "not made"}[happened], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &stage{Server: &clienttest.Server{}}
				answers := make(chan error) // of the store, to the question what it holds
				s.Catch = func(ctx context.Context) error {
					select {
					case err := <-answers:
						return err
					case <-ctx.Done():
						return ctx.Err()
					}
				}
				answer := func(err error) {
					select {
					case answers <- err:
					case <-time.After(time.Hour):
						t.Error("nobody asks what has become of the binding")
					}
				}
				first := true
				s.bind = func(pod, _ string) error {
					if pod == "a" && first {
						first = false
						return apierrors.NewTimeoutError("the store did not answer in time", 1)
					}
					return nil
				}
				s.Put(nodes, makeNode("n", "1"))
				s.Put(pods, makePod("a", "1", ""))
				schedule(t, s)
				synctest.Wait()
				s.Put(pods, makePod("b", "1", ""))
				time.Sleep(10 * time.Minute) // and many questions that are not answered
				answer(apierrors.NewTimeoutError("the store did not tell its revision", 1))
				if got := s.bindings(); !slices.Equal(got, []string{"a to n"}) {
					t.Fatalf("bound while the first binding may still be made: %v", got)
				}
				time.Sleep(freshRetry)
				want := []string{"a to n", "a to n"}
				if happened {
					s.Hold(pods) // the view knows before the loop does
					s.Put(pods, makePod("a", "1", "n"))
					want = want[:1]
				}
				answer(nil)
				time.Sleep(time.Minute)
				s.Release(pods)
				if got := s.bindings(); !slices.Equal(got, want) && !slices.Equal(got, []string{"a to n", "b to n"}) || happened && len(got) > 1 {
					t.Errorf("bound: %v, want %v", got, want)
				}
			})
		})
	}
}

// bindings waits until nothing moves and lists the bindings alone.
func (s *stage) bindings() []string {
	return slices.DeleteFunc(s.quiet(), func(w string) bool { return strings.HasSuffix(w, " refused") })
}
