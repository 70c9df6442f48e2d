package podgc

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestPlan(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	nodes := map[string]*corev1.Node{
		"there": {Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}}},
		"out":   {Spec: corev1.NodeSpec{Taints: []corev1.Taint{{Key: corev1.TaintNodeOutOfService, Effect: corev1.TaintEffectNoExecute}}}},
	}
	pod := func(name, node string, phase corev1.PodPhase, deleting bool, age time.Duration, reason string) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(now.Add(-age))}, Spec: corev1.PodSpec{NodeName: node}, Status: corev1.PodStatus{Phase: phase, Reason: reason}}
		if deleting {
			p.DeletionTimestamp = &metav1.Time{Time: now}
		}
		return p
	}
	pods := []*corev1.Pod{
		pod("runs", "there", corev1.PodRunning, false, time.Hour, ""),
		pod("stops", "there", corev1.PodRunning, true, time.Hour, ""),
		pod("waits", "", corev1.PodPending, false, time.Hour, ""),
		pod("unplaced", "", corev1.PodPending, true, time.Hour, ""),
		pod("lost", "gone", corev1.PodRunning, false, time.Hour, ""),
		pod("missed", "just-gone", corev1.PodRunning, false, time.Hour, ""),
		pod("shut", "out", corev1.PodRunning, true, time.Hour, ""),
		pod("done-old", "there", corev1.PodSucceeded, false, 3*time.Hour, ""),
		pod("done-new", "there", corev1.PodFailed, false, time.Hour, ""),
		pod("done-evicted", "there", corev1.PodFailed, false, time.Minute, "Evicted"),
	}
	find := func(name string) *corev1.Node { return nodes[name] }
	missing := stillMissing(map[string]time.Time{"gone": now.Add(-quarantine)}, pods, find, now)
	for threshold, want := range map[int]string{
		0: "lost:PodGC: node no longer exists shut:PodGC: node is out of service unplaced:",
		1: "done-evicted: done-old: lost:PodGC: node no longer exists shut:PodGC: node is out of service unplaced:",
		3: "lost:PodGC: node no longer exists shut:PodGC: node is out of service unplaced:",
	} {
		var got []string
		for p, message := range plan(pods, find, missing, threshold, now) {
			got = append(got, p.Name+":"+message)
		}
		slices.Sort(got)
		if text := strings.Join(got, " "); text != want {
			t.Errorf("threshold %d:\n%s, want\n%s", threshold, text, want)
		}
	}
}
