package tainteviction

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// verdict is what happens to a pod because of its node's taints.
type verdict struct {
	// evict the pod, at the time; the zero time is now. If not, it stays for good.
	evict bool
	at    time.Time
}

// judge decides about a pod on a node with the taints. Each NoExecute taint must be tolerated; a toleration with
// seconds lets the pod stay for that long from when the taint was added, or the pod came. seen tells when a taint was first seen
// that does not say when it was added.
func judge(pod *corev1.Pod, taints []corev1.Taint, tolerates func(corev1.Toleration, *corev1.Taint) bool, seen func(*corev1.Taint) time.Time) verdict {
	var v verdict
	for i := range taints {
		taint := &taints[i]
		if taint.Effect != corev1.TaintEffectNoExecute {
			continue
		}
		toleration := tolerationOf(pod, taint, tolerates)
		if toleration == nil {
			return verdict{evict: true}
		}
		if toleration.TolerationSeconds == nil {
			continue
		}
		at := since(pod, taint, seen).Add(time.Duration(max(0, *toleration.TolerationSeconds)) * time.Second)
		if !v.evict || at.Before(v.at) {
			v = verdict{evict: true, at: at}
		}
	}
	return v
}

// tolerationOf is the first toleration of the pod that fits the taint.
func tolerationOf(pod *corev1.Pod, taint *corev1.Taint, tolerates func(corev1.Toleration, *corev1.Taint) bool) *corev1.Toleration {
	for i := range pod.Spec.Tolerations {
		if tolerates(pod.Spec.Tolerations[i], taint) {
			return &pod.Spec.Tolerations[i]
		}
	}
	return nil
}

// since is when the pod began to be under the taint.
func since(pod *corev1.Pod, taint *corev1.Taint, seen func(*corev1.Taint) time.Time) time.Time {
	start := pod.CreationTimestamp.Time
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.LastTransitionTime.After(start) {
			start = c.LastTransitionTime.Time
		}
	}
	var added time.Time
	if taint.TimeAdded != nil {
		added = taint.TimeAdded.Time
	} else {
		added = seen(taint)
	}
	if added.After(start) {
		return added
	}
	return start
}
