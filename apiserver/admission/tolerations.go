package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/admission"
)

// defaultFailureSeconds is how long pods stay on a node that fails, if nothing else is said.
const defaultFailureSeconds = 300

// defaultTolerations lets pods stay for a while on a node that is not ready or cannot be reached.
type defaultTolerations struct {
	operations
	notReady, unreachable int64
}

func newDefaultTolerations(o *Options) admission.Interface {
	p := &defaultTolerations{operations: onCreate | onUpdate, notReady: o.NotReadySeconds, unreachable: o.UnreachableSeconds}
	if p.notReady == 0 {
		p.notReady = defaultFailureSeconds
	}
	if p.unreachable == 0 {
		p.unreachable = defaultFailureSeconds
	}
	return p
}

func (p *defaultTolerations) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetSubresource() != "" {
		return nil
	}
	pod, ok := podOf(a)
	if !ok {
		return nil
	}
	tolerates := func(taint string) bool {
		for n := range pod.Spec.Tolerations {
			t := &pod.Spec.Tolerations[n]
			if (t.Key == taint || t.Key == "") && (t.Effect == corev1.TaintEffectNoExecute || t.Effect == "") {
				return true
			}
		}
		return false
	}
	notReady, unreachable := tolerates(corev1.TaintNodeNotReady), tolerates(corev1.TaintNodeUnreachable)
	add := func(taint string, seconds int64) {
		pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{
			Key: taint, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds,
		})
	}
	if !notReady {
		add(corev1.TaintNodeNotReady, p.notReady)
	}
	if !unreachable {
		add(corev1.TaintNodeUnreachable, p.unreachable)
	}
	return nil
}

// taintNodes keeps pods off a new node until it is known to be ready.
type taintNodes struct{ operations }

func newTaintNodes(*Options) admission.Interface { return &taintNodes{onCreate} }

func (*taintNodes) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetSubresource() != "" || !is(a, "", "nodes") {
		return nil
	}
	node, ok := a.GetObject().(*corev1.Node)
	if !ok {
		return nil
	}
	for _, t := range node.Spec.Taints {
		if t.Key == corev1.TaintNodeNotReady && t.Effect == corev1.TaintEffectNoSchedule {
			return nil
		}
	}
	node.Spec.Taints = append(node.Spec.Taints, corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule})
	return nil
}
