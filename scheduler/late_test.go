package scheduler

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
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
}

var pods, nodes = api.Of[*corev1.Pod](), api.Of[*corev1.Node]()

// schedule runs a scheduler until the test ends.
func schedule(t *testing.T, s *stage) {
	s.Answer = func(_ context.Context, r client.Request) (runtime.Object, error) {
		b, binds := r.Object.(*corev1.Binding)
		s.mu.Lock()
		if binds {
			s.written = append(s.written, b.Name+" to "+b.Target.Name)
		} else if r.Verb == client.Patch && r.Kind == pods {
			s.written = append(s.written, r.Name+" refused")
		}
		s.mu.Unlock()
		if binds && s.bind != nil {
			return nil, s.bind(b.Name, b.Target.Name)
		}
		if r.Verb == client.Patch {
			return &corev1.Pod{}, nil
		}
		return r.Object, nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- New(s, Options{}).Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
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
	for _, late := range []*kind.Info{pods, nodes, api.Of[*corev1.Namespace]()} {
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
