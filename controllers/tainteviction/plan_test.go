package tainteviction

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestJudge(t *testing.T) {
	start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	taint := func(key string, after time.Duration) corev1.Taint {
		return corev1.Taint{Key: key, Effect: corev1.TaintEffectNoExecute, TimeAdded: &metav1.Time{Time: start.Add(after)}}
	}
	tolerate := func(key string, seconds *int64) corev1.Toleration {
		return corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, TolerationSeconds: seconds}
	}
	for _, c := range []struct {
		name        string
		taints      []corev1.Taint
		tolerations []corev1.Toleration
		scheduled   time.Duration
		evict       bool
		at          time.Duration // -1: at once
	}{
		{name: "no taints"},
		{name: "only keeps new pods off", taints: []corev1.Taint{{Key: "a", Effect: corev1.TaintEffectNoSchedule}}},
		{name: "not tolerated", taints: []corev1.Taint{taint("a", 0)}, evict: true, at: -1},
		{name: "tolerated for ever", taints: []corev1.Taint{taint("a", 0)}, tolerations: []corev1.Toleration{tolerate("a", nil)}},
		{name: "tolerated for a while", taints: []corev1.Taint{taint("a", time.Minute)}, tolerations: []corev1.Toleration{tolerate("a", ptr.To(int64(30)))}, evict: true, at: 90 * time.Second},
		{name: "came after the taint", taints: []corev1.Taint{taint("a", 0)}, tolerations: []corev1.Toleration{tolerate("a", ptr.To(int64(30)))}, scheduled: time.Hour, evict: true, at: time.Hour + 30*time.Second},
		{name: "does not say when it was added", taints: []corev1.Taint{{Key: "a", Effect: corev1.TaintEffectNoExecute}}, tolerations: []corev1.Toleration{tolerate("a", ptr.To(int64(30)))}, evict: true, at: 90 * time.Second},
		{name: "the shortest counts", taints: []corev1.Taint{taint("a", 0), taint("b", 0)}, tolerations: []corev1.Toleration{tolerate("a", ptr.To(int64(30))), tolerate("b", ptr.To(int64(10)))}, evict: true, at: 10 * time.Second},
		{name: "one is not tolerated", taints: []corev1.Taint{taint("a", 0), taint("b", 0)}, tolerations: []corev1.Toleration{tolerate("a", nil)}, evict: true, at: -1},
		{name: "negative is at once", taints: []corev1.Taint{taint("a", 0)}, tolerations: []corev1.Toleration{tolerate("a", ptr.To(int64(-5)))}, evict: true, at: 0},
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(start.Add(-time.Hour))}}
		pod.Spec.Tolerations = c.tolerations
		if c.scheduled > 0 {
			pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(start.Add(c.scheduled))}}
		}
		v := judge(pod, c.taints, tolerates, func(*corev1.Taint) time.Time { return start.Add(time.Minute) })
		want := start.Add(c.at)
		if c.at < 0 {
			want = time.Time{}
		}
		if v.evict != c.evict || c.evict && !v.at.Equal(want) {
			t.Errorf("%s: %+v", c.name, v)
		}
	}
}
