package core

import (
	"bytes"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// preparePodCreate makes a pod as a user sent it into a pod that nothing has happened to yet.
func preparePodCreate(p *corev1.Pod) {
	p.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: ComputePodQOS(p)}
	dropDisabledPodFields(&p.Spec)
	if len(p.Spec.SchedulingGates) > 0 {
		p.Status.Conditions = []corev1.PodCondition{{
			Type:               corev1.PodScheduled,
			Status:             corev1.ConditionFalse,
			LastTransitionTime: metav1.Now(),
			Reason:             corev1.PodReasonSchedulingGated,
			Message:            "Scheduling is blocked due to non-empty scheduling gates",
		}}
	}
	mergeLabelKeys(p)
	appArmorFromAnnotations(p)
}

func preparePodUpdate(new, old *corev1.Pod) {
	new.Status = old.Status
	dropDisabledPodFields(&new.Spec)
}

// podSpecChanged compares encodings first: they are equal in nearly all updates, and reflection is slow.
func podSpecChanged(new, old *corev1.Pod) bool { return !SamePodSpec(&new.Spec, &old.Spec) }

// SamePodSpec tells whether two pod specs mean the same.
func SamePodSpec(a, b *corev1.PodSpec) bool {
	return Same(a, b)
}

// SamePodTemplate tells whether two pod templates mean the same.
func SamePodTemplate(a, b *corev1.PodTemplateSpec) bool {
	return Same(a, b)
}

// Encodable is a generated type with a protobuf encoding, which is the same for equal values.
type Encodable interface {
	comparable
	Size() int
	MarshalToSizedBuffer([]byte) (int, error)
}

// Same tells whether two values mean the same. It compares encodings first: values that have not changed are found
// equal without reflection.
func Same[T Encodable](a, b T) bool {
	var none T
	if a == b {
		return true
	}
	if a == none || b == none {
		return false
	}
	return sameEncoding(a, b) || equality.Semantic.DeepEqual(a, b)
}

func sameEncoding[T Encodable](a, b T) bool {
	size := a.Size()
	if size != b.Size() {
		return false
	}
	buffer := make([]byte, 2*size)
	left, right := buffer[:size], buffer[size:]
	if _, err := a.MarshalToSizedBuffer(left); err != nil {
		return false
	}
	_, err := b.MarshalToSizedBuffer(right)
	return err == nil && bytes.Equal(left, right)
}

// mergeLabelKeys writes the values that the pod's labels have now into the selectors of the constraints that ask
// for them by matchLabelKeys and mismatchLabelKeys, so that schedulers need not know these fields.
func mergeLabelKeys(p *corev1.Pod) {
	if a := p.Spec.Affinity; a != nil {
		if a.PodAffinity != nil {
			mergeTerms(a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution, a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution, p.Labels)
		}
		if a.PodAntiAffinity != nil {
			mergeTerms(a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution, a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution, p.Labels)
		}
	}
	for i := range p.Spec.TopologySpreadConstraints {
		c := &p.Spec.TopologySpreadConstraints[i]
		mergeKeys(c.LabelSelector, c.MatchLabelKeys, metav1.LabelSelectorOpIn, p.Labels)
	}
}

func mergeTerms(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm, labels map[string]string) {
	merge := func(t *corev1.PodAffinityTerm) {
		mergeKeys(t.LabelSelector, t.MatchLabelKeys, metav1.LabelSelectorOpIn, labels)
		mergeKeys(t.LabelSelector, t.MismatchLabelKeys, metav1.LabelSelectorOpNotIn, labels)
	}
	for i := range required {
		merge(&required[i])
	}
	for i := range preferred {
		merge(&preferred[i].PodAffinityTerm)
	}
}

// mergeKeys leaves a nil selector alone: it selects nothing, with or without further conditions.
func mergeKeys(s *metav1.LabelSelector, keys []string, op metav1.LabelSelectorOperator, labels map[string]string) {
	if s == nil {
		return
	}
	for _, key := range keys {
		if value, ok := labels[key]; ok {
			s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{Key: key, Operator: op, Values: []string{value}})
		}
	}
}
