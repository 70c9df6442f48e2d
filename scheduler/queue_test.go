package scheduler

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/scheduler/placement"
)

var cluster = placement.NewCluster()

func pending(name string, priority int32, cpu string) *placement.PendingPod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}, Spec: corev1.PodSpec{Priority: &priority, NodeSelector: map[string]string{"cpu": cpu}}}
	return cluster.Pending(pod)
}

// drain pops all that may be tried now.
func drain(q *queue, now time.Time) (names string, popped []*queuedPod) {
	var list []string
	for queued := q.pop(now); queued != nil; queued = q.pop(now) {
		list = append(list, queued.pod().Name)
		popped = append(popped, queued)
	}
	return strings.Join(list, " "), popped
}

func TestQueueOrder(t *testing.T) {
	q, now := newQueue(nil), time.Unix(100, 0)
	q.add(pending("a", 0, ""), now)
	q.add(pending("b", 10, ""), now)
	q.add(pending("c", 10, ""), now)
	q.add(pending("d", 5, ""), now.Add(-time.Second))
	if got, _ := drain(q, now); got != "b c d a" {
		t.Error(got)
	}
}

func TestQueueBackoff(t *testing.T) {
	q, now := newQueue(nil), time.Unix(100, 0)
	queued := q.add(pending("a", 0, ""), now)
	for _, seconds := range []int{1, 2, 4, 8, 10, 10} {
		if got, _ := drain(q, now); got != "a" {
			t.Fatalf("before %d s: %q", seconds, got)
		}
		q.retry(queued, now)
		if got, _ := drain(q, now.Add(time.Duration(seconds)*time.Second-time.Millisecond)); got != "" {
			t.Fatalf("tried before %d s", seconds)
		}
		now = now.Add(time.Duration(seconds) * time.Second)
		if next, ok := q.nextReady(); !ok || !next.Equal(now) {
			t.Fatalf("next is %v, want %v", next, now)
		}
	}
}

// Parked pods stay until they are released, and then do not wait for their backoff if nothing else is to do.
func TestQueueParking(t *testing.T) {
	q, now := newQueue(nil), time.Unix(100, 0)
	for _, name := range []string{"a", "b", "c"} {
		q.add(pending(name, 0, map[bool]string{true: "large"}[name != "c"]), now)
	}
	_, popped := drain(q, now)
	for _, queued := range popped {
		q.park(queued, 0, now)
	}
	if got, _ := drain(q, now.Add(time.Hour)); got != "" || q.parked() != 3 || len(q.classes) != 2 {
		t.Fatalf("%q, %d parked in %d classes", got, q.parked(), len(q.classes))
	}
	q.release(q.classes[popped[0].pending.Key()].pods.first(), now)
	q.add(pending("d", 0, ""), now)
	if got, _ := drain(q, now); got != "d a" {
		t.Errorf("after a release: %q", got)
	}
	if released := q.releaseAll(now, func(queued *queuedPod) bool { return now.Sub(queued.at) < parkedMax }); released != 2 || len(q.classes) != 0 {
		t.Errorf("released %d, %d classes are left", released, len(q.classes))
	}
	q.drop(popped[1])
	if got, _ := drain(q, now); got != "c" {
		t.Errorf("after a drop: %q", got)
	}
}

func TestQueueGates(t *testing.T) {
	q, now := newQueue(nil), time.Unix(100, 0)
	w := pending("a", 0, "")
	w.Pod().Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "x.io/y"}}
	queued := q.add(w, now)
	if got, _ := drain(q, now); got != "" || q.gated != 1 {
		t.Fatalf("%q, %d gated", got, q.gated)
	}
	queued.pending = pending("a", 0, "")
	q.leave(queued)
	q.enter(queued)
	if got, _ := drain(q, now); got != "a" || q.gated != 0 {
		t.Errorf("%q, %d gated", got, q.gated)
	}
}

func TestStatusPatch(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u"}}
	got := string(statusPatch(pod, &corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "m", ObservedGeneration: 2}))
	if got != `{"metadata":{"uid":"u"},"status":{"conditions":[{"type":"PodScheduled","observedGeneration":2,"status":"False","lastProbeTime":null,"lastTransitionTime":null,"reason":"Unschedulable","message":"m"}]}}` {
		t.Error(got)
	}
}
