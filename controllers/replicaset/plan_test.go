package replicaset

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

var now = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// pod makes one from words: "n1" its node, "running", "ready=10m" since when, "cost=5", "restarts=2", "age=1h", "gone".
func pod(name, words string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(now.Add(-time.Hour))}}
	p.Status.Phase = corev1.PodPending
	for _, word := range strings.Fields(words) {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "running", "failed", "succeeded":
			p.Status.Phase = corev1.PodPhase(strings.ToUpper(key[:1]) + key[1:])
		case "ready":
			ago, err := time.ParseDuration(value)
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-ago))}}
			if err != nil {
				p.Status.Conditions[0].LastTransitionTime = metav1.Time{}
			}
		case "phase":
			p.Status.Phase = corev1.PodPhase(value)
		case "sidecar":
			var n int32
			fmt.Sscan(value, &n)
			always := corev1.ContainerRestartPolicyAlways
			p.Spec.InitContainers = []corev1.Container{{Name: "once"}, {Name: "sidecar", RestartPolicy: &always}}
			p.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "once", RestartCount: 99}, {Name: "sidecar", RestartCount: n}}
		case "cost":
			p.Annotations = map[string]string{corev1.PodDeletionCost: value}
		case "restarts":
			var n int32
			fmt.Sscan(value, &n)
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: n}}
		case "age":
			ago, _ := time.ParseDuration(value)
			p.CreationTimestamp = metav1.NewTime(now.Add(-ago))
		case "gone":
			p.DeletionTimestamp = &metav1.Time{Time: now}
		case "label":
			p.Labels = map[string]string{"app": value}
		default:
			p.Spec.NodeName = key
		}
	}
	return p
}

func TestLeastWanted(t *testing.T) {
	for _, c := range []struct{ name, first, second string }{
		{"without a node first", "running", "n1 running"},
		{"pending first", "n1", "n1 running"},
		{"not ready first", "n1 running", "n1 running ready=1h"},
		{"cheap first", "n1 running ready=1h cost=-1", "n1 running ready=1s"},
		{"what stands for no cost is none", "n1 running ready=1s cost=x", "n1 running ready=1h cost=1"},
		{"ready for a short time first", "n1 running ready=10s", "n1 running ready=3h"},
		{"often restarted first", "n1 running ready=1h restarts=3", "n1 running ready=1h restarts=1"},
		{"young first", "n1 running ready=1m age=2m", "n1 running ready=1m age=9h"},
		{"no phase is as good as pending", "n1 phase=", "n1 running"},
		{"unknown after pending", "n1", "n1 phase=Unknown"},
		{"a number with a plus is none", "n1 running ready=1h cost=-1", "n1 running ready=1h cost=+5"},
		{"a number with leading zeros is none", "n1 running ready=1h cost=012", "n1 running ready=1h cost=1"},
		{"the cost counts before the time", "n1 running ready=1h cost=-5", "n1 running ready=1s cost=-4"},
		{"about the same time: chance, not restarts", "first n1 running ready=40s", "n1 running ready=41s restarts=9"},
		{"the same time: restarts", "n1 running ready=40s restarts=9", "first n1 running ready=40s"},
		{"restarts of containers before those of sidecars", "n1 running ready=40s restarts=2", "n1 running ready=40s restarts=1 sidecar=7"},
		{"restarts of sidecars", "n1 running ready=40s restarts=2 sidecar=3", "n1 running ready=40s restarts=2 sidecar=1"},
		{"never ready for certain", "n1 running ready=never", "n1 running ready=1s"},
		{"about the same age: chance", "first n1 running ready=1m age=70m", "n1 running ready=1m age=75m"},
		{"clocks that are ahead", "n1 running ready=-10s", "n1 running ready=1s"},
	} {
		a, b := pod("zz", c.first), pod("aa", c.second)
		if rest, first := strings.CutPrefix(c.first, "first "); first {
			a, b = pod("aa", rest), pod("zz", c.second)
		} else if rest, first := strings.CutPrefix(c.second, "first "); first {
			a, b = pod("zz", c.first), pod("aa", rest)
		}
		for _, list := range [][]*corev1.Pod{{a, b}, {b, a}} {
			if got := leastWanted(list, list, now); got[0] != a {
				t.Errorf("%s: it is not", c.name)
			}
		}
	}
	crowd := []*corev1.Pod{pod("a", "n1 running ready=1h"), pod("b", "n2 running ready=1h"), pod("c", "n2 running ready=1h"), pod("d", "n2 running gone")}
	if got := leastWanted(crowd[:3], crowd, now); got[2].Name != "a" {
		t.Errorf("the pod that is alone on its node is not kept to the last: %s", got[2].Name)
	}
}

func TestPlanReplicas(t *testing.T) {
	for _, c := range []struct {
		want, have     int
		deleting       bool
		create, remove int
		more           bool
	}{
		{want: 3, have: 1, create: 2},
		{want: 3, have: 3},
		{want: 1, have: 4, remove: 3},
		{want: 0, have: 2, remove: 2},
		{want: burst + 1, have: 0, create: burst, more: true},
		{want: 0, have: burst + 1, remove: burst, more: true},
		{want: 3, have: 1, deleting: true},
	} {
		rs := &appsv1.ReplicaSet{Spec: appsv1.ReplicaSetSpec{Replicas: ptr.To(int32(c.want))}}
		if c.deleting {
			rs.DeletionTimestamp = &metav1.Time{Time: now}
		}
		var pods []*corev1.Pod
		for i := range c.have {
			pods = append(pods, pod(fmt.Sprint(i), "n1 running"))
		}
		p := planReplicas(rs, pods, func() []*corev1.Pod { return pods }, now)
		if p.Create != c.create || len(p.Delete) != c.remove || p.More != c.more {
			t.Errorf("want %d have %d: create %d delete %d more %v", c.want, c.have, p.Create, len(p.Delete), p.More)
		}
	}
}

func TestPlanStatus(t *testing.T) {
	rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Generation: 7}, Spec: appsv1.ReplicaSetSpec{MinReadySeconds: 60, Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "x"}}}}}
	active := []*corev1.Pod{pod("a", "n1 running ready=2m label=x"), pod("b", "n1 running ready=20s label=x"), pod("c", "n1 running label=y"), pod("d", "n1 running ready=50s")}
	s, next := planStatus(rs, active, []*corev1.Pod{pod("e", "n1 gone")}, errors.New("forbidden"), true, now)
	got := fmt.Sprintf("%d %d %d %d %d %d %s %v", s.Replicas, s.FullyLabeledReplicas, s.ReadyReplicas, s.AvailableReplicas, *s.TerminatingReplicas, s.ObservedGeneration, s.Conditions[0].Reason, next)
	if want := "4 2 3 1 1 7 FailedCreate 10s"; got != want {
		t.Errorf("status %s, want %s", got, want)
	}
	rs.Status = s
	if again, _ := planStatus(rs, active, nil, nil, false, now); again.Conditions != nil {
		t.Errorf("the failure is over, but the condition stays: %v", again.Conditions)
	}
}

func TestWhatConcernsAReplicaSet(t *testing.T) {
	base := pod("a", "n1 running ready=1m label=x")
	for words, want := range map[string]bool{
		"n1 running ready=1m label=x": false, "n2 running ready=1m label=x": false, "n1 failed ready=1m label=x": true,
		"n1 running label=x": true, "n1 running ready=2m label=x": true, "n1 running ready=1m label=y": true, "n1 running ready=1m label=x gone": true,
	} {
		if got := concerns(base, pod("a", words)); got != want {
			t.Errorf("a change to %q: %v", words, got)
		}
	}
}
