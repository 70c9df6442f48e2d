package scheduler

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/client/clienttest"
	"github.com/wheelhouse-k8s/wheelhouse/crew"
)

// newGroups is a stage with a plugin that makes those pods a group that have the same label.
func newGroups() *stage {
	return &stage{Server: &clienttest.Server{}, plugins: []plugin{{name: "Groups", group: func(pod *corev1.Pod) string { return pod.Labels["group"] }}}}
}

func inGroup(name, group string) *corev1.Pod {
	p := makePod(name, "1", "")
	p.Labels = map[string]string{"group": group}
	return p
}

// A group whose second pod is refused waits for what may help the first to another node, too: here the second pod needs the node that
// the first has taken, since the other node is too small for it.
func TestGroupsAreHelpedByTheEventsOfAll(t *testing.T) {
	for _, helped := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s := newGroups()
			first, second := inGroup("first", "g"), inGroup("second", "g")
			for _, p := range []*corev1.Pod{first, second} {
				p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: 80}}
			}
			second.Spec.NodeSelector = map[string]string{"disk": "ssd"}
			ssd, small := makeNode("ssd", "8"), makeNode("other", "500m")
			ssd.SetLabels(map[string]string{"disk": "ssd"})
			s.Put(nodes, ssd, small)
			s.Put(pods, first, second)
			schedule(t, s)
			time.Sleep(time.Minute)
			if got := s.bindings(); len(got) != 0 {
				t.Fatalf("bound: %v", got)
			}
			if !helped {
				return
			}
			large := small.(*corev1.Node).DeepCopy()
			large.Status.Allocatable[corev1.ResourceCPU] = resource.MustParse("100")
			s.Put(nodes, large)
			time.Sleep(backoffMax)
			got := s.bindings()
			if slices.Sort(got); !slices.Equal(got, []string{"first to other", "second to ssd"}) {
				t.Errorf("bound: %v", got)
			}
		})
	}
}

// A group that loses a pod is another group, which may find room where the whole did not. Others that wait are left alone.
func TestGroupsThatLoseAPod(t *testing.T) {
	for what, lose := range map[string]func(s *stage){
		"deleted": func(s *stage) { s.Remove(pods, "ns", "b") },
		"moved":   func(s *stage) { s.Put(pods, inGroup("b", "h")) },
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newGroups()
				s.Put(nodes, makeNode("n", "1500m"))
				s.Put(pods, inGroup("a", "g"), inGroup("b", "g"), inGroup("c", "h"), inGroup("d", "h"))
				schedule(t, s)
				time.Sleep(time.Minute)
				if got := s.bindings(); len(got) != 0 {
					t.Fatalf("bound: %v", got)
				}
				lose(s)
				time.Sleep(backoffMax)
				if got := s.bindings(); !slices.Equal(got, []string{"a to n"}) {
					t.Errorf("bound: %v", got)
				}
			})
		})
	}
}

// A pod that was let go from its class and then asks for something else lets the next of the class go: it will not find out any more
// whether a node fits.
func TestChangedPodLetsTheNextGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{Server: &clienttest.Server{}}
		r := byHand(t, s)
		first, second := makePod("first", "1", ""), makePod("second", "1", "")
		r.tell(client.Delta{New: makeNode("n", "1")}, client.Delta{New: makePod("there", "1", "n")}, client.Delta{New: first}, client.Delta{New: second})
		r.release(r.now())
		r.schedule(r.ctx)
		if r.queue.parked() != 2 {
			t.Fatalf("%d pods are parked", r.queue.parked())
		}
		r.tell(client.Delta{Old: makePod("there", "1", "n")})
		r.release(r.now())
		if queued := r.queue.byUID["first"]; queued.where != waiting || r.queue.parked() != 1 {
			t.Fatalf("the first was not let go: %v", queued.where)
		}
		changed := first.DeepCopy()
		changed.Generation++
		changed.Spec.Tolerations = []corev1.Toleration{{Key: "x", Operator: corev1.TolerationOpExists}}
		r.tell(client.Delta{Old: first, New: changed})
		if queued := r.queue.byUID["second"]; queued.where == parked {
			t.Error("the next of its class was not let go")
		}
	})
}

// A pod that has to wait for others to end their steps lets the next of its class go, which may have no steps.
func TestPodsInTheirStepsHoldUpNoClass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{Server: &clienttest.Server{}, stepsMax: 1, plugins: []plugin{{
			name:     "Slow",
			concerns: func(pod *corev1.Pod) bool { return strings.HasPrefix(pod.Name, "slow") },
			permit:   func(ctx context.Context, _ *corev1.Pod, _ string) error { <-ctx.Done(); return ctx.Err() },
		}}}
		s.Put(nodes, makeNode("n", "3"))
		slow := makePod("slow-second", "2", "")
		slow.Spec.Priority = new(int32(1))
		s.Put(pods, makePod("there", "2", "n"), slow)
		schedule(t, s)
		time.Sleep(time.Minute)
		s.Put(pods, makePod("slow-first", "1", ""), makePod("plain", "2", ""))
		time.Sleep(time.Minute)
		s.Remove(pods, "ns", "there")
		time.Sleep(time.Minute)
		if got := s.bindings(); !slices.Equal(got, []string{"plain to n"}) {
			t.Errorf("bound: %v", got)
		}
	})
}

// hand is a scheduler that a test works step by step.
type hand struct {
	*run
	ctx context.Context
}

// byHand makes a scheduler that does nothing by itself. It ends with the test.
func byHand(t *testing.T, s *stage) *hand {
	scheduler := newScheduler(s)
	h := &hand{run: newRun(scheduler)}
	h.crew, h.ctx = crew.New(t.Context())
	h.crew.Go(func() error { h.recorder.Run(h.ctx); return nil })
	t.Cleanup(func() {
		h.crew.Dismiss()
		if err := h.crew.Wait(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// tell reports what has changed.
func (h *hand) tell(deltas ...client.Delta) {
	for _, d := range deltas {
		h.receive(h.ctx, &report{delta: d})
	}
}
