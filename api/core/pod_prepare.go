package core

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
)

// preparePod makes a pod as a user sent it into a pod that nothing has happened to yet.
func preparePod(p, old *corev1.Pod) {
	podspec.DropDisabled(&p.Spec)
	if old != nil {
		return
	}
	p.Status.Phase, p.Status.QOSClass = corev1.PodPending, QOS(p)
	// Said here, since schedulers leave a pod alone that waits for its gates.
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
	podspec.AppArmorFromAnnotations(p)
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

func validatePodCreate(p, _ *corev1.Pod) field.ErrorList {
	var ps problems
	ps.Add(podspec.ValidatePod(p, podspec.Allowances{}))
	if len(p.Spec.EphemeralContainers) > 0 {
		ps.Forbidden(specPath, "ephemeralContainers", "may not be set on creation")
	}
	if p.Spec.NodeName != "" && len(p.Spec.SchedulingGates) > 0 {
		ps.Forbidden(specPath, "nodeName", "may not be set while there are schedulingGates")
	}
	ps.Add(podspec.ValidateProfileAnnotations(p.Annotations, &p.Spec, specPath))
	return ps.List
}

// podWarnings are given on creation. Updates of pods come from programs, which read no warnings.
func podWarnings(next, old *corev1.Pod) []string {
	if old != nil {
		return nil
	}
	return podspec.PodWarnings(next)
}
