package kind

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
)

func podOn(node, phase string) *corev1.Pod {
	return &corev1.Pod{Spec: corev1.PodSpec{NodeName: node}, Status: corev1.PodStatus{Phase: corev1.PodPhase(phase)}}
}

func TestHalves(t *testing.T) {
	k := Define(Resource{HasGeneration: true}, Rules[corev1.Pod]{Halves: SpecAndStatus[corev1.Pod]()})
	old, pod := podOn("a", "Running"), podOn("b", "Failed")
	if !k.SpecChanged(pod, old) || k.SpecChanged(pod, podOn("b", "Running")) {
		t.Error("the generation does not grow with the spec")
	}
	k.PrepareUpdate(pod, old)
	if pod.Spec.NodeName != "b" || pod.Status.Phase != "Running" {
		t.Errorf("an update makes %s, %s", pod.Spec.NodeName, pod.Status.Phase)
	}
	pod = podOn("b", "Failed")
	status, ok := k.Part("status")
	if !ok {
		t.Fatal("there is no status")
	}
	status.Prepare(pod, old)
	if pod.Spec.NodeName != "a" || pod.Status.Phase != "Failed" {
		t.Errorf("an update of the status makes %s, %s", pod.Spec.NodeName, pod.Status.Phase)
	}
	k.PrepareCreate(pod)
	if pod.Spec.NodeName != "a" || pod.Status.Phase != "" {
		t.Errorf("a creation makes %s, %s", pod.Spec.NodeName, pod.Status.Phase)
	}
	if n := testing.AllocsPerRun(100, func() { k.PrepareUpdate(pod, old); status.Prepare(pod, old) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestGenerationGrowsWithTheSpecAlone(t *testing.T) {
	policy := Define(Resource{HasGeneration: true}, Rules[networkingv1.NetworkPolicy]{})
	old, changed := &networkingv1.NetworkPolicy{}, &networkingv1.NetworkPolicy{}
	changed.Labels = map[string]string{"a": "b"}
	changed.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{}
	if policy.SpecChanged(changed, old) {
		t.Error("a spec that means the same is a change")
	}
	changed.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{{}}
	if !policy.SpecChanged(changed, old) {
		t.Error("a change of the spec is none")
	}
	class := Define(Resource{HasGeneration: true}, Rules[schedulingv1.PriorityClass]{})
	if class.SpecChanged(&schedulingv1.PriorityClass{Value: 1}, &schedulingv1.PriorityClass{}) {
		t.Error("a kind without a spec has a change of it")
	}
	defer func() {
		if recover() == nil {
			t.Error("a type without a status has the half")
		}
	}()
	SpecAndStatus[networkingv1.NetworkPolicy]()
}
