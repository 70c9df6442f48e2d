// Package policy defines the kinds of the policy group.
package policy

import (
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// PodDisruptionBudget is the kind of pod disruption budgets.
var PodDisruptionBudget = kind.Define(kind.Resource{
	GroupVersion: policyv1.SchemeGroupVersion, Plural: "poddisruptionbudgets", ShortNames: []string{"pdb"}, Namespaced: true,
	List: kind.ListOf[policyv1.PodDisruptionBudgetList], HasGeneration: true, RequireRevision: true, FreeFinalizers: true, ValidName: path.ValidatePathSegmentName,
}, kind.Rules[policyv1.PodDisruptionBudget]{
	Halves:   kind.SpecAndStatus[policyv1.PodDisruptionBudget](),
	Validate: validateBudget,
	Columns: kind.Columns([]kind.Column[policyv1.PodDisruptionBudget]{
		kind.Text("Min Available", "The minimum number of pods that must be available.", func(b *policyv1.PodDisruptionBudget) string { return amountCell(b.Spec.MinAvailable) }),
		kind.Text("Max Unavailable", "The maximum number of pods that may be unavailable.", func(b *policyv1.PodDisruptionBudget) string { return amountCell(b.Spec.MaxUnavailable) }),
		kind.Int("Allowed Disruptions", "Calculated number of pods that may be disrupted at this time.", func(b *policyv1.PodDisruptionBudget) int32 { return b.Status.DisruptionsAllowed }),
	}),
	Status: &kind.Part[policyv1.PodDisruptionBudget]{
		ValidateUpdate: func(b, _ *policyv1.PodDisruptionBudget) field.ErrorList { return validateBudgetStatus(&b.Status) },
	},
})

func amountCell(v *intstr.IntOrString) string {
	if v == nil {
		return "N/A"
	}
	return v.String()
}

var evictionPolicies = []policyv1.UnhealthyPodEvictionPolicyType{policyv1.AlwaysAllow, policyv1.IfHealthyBudget}

func validateBudget(b, old *policyv1.PodDisruptionBudget) field.ErrorList {
	var ps kind.Problems
	at := field.NewPath("spec")
	if b.Spec.MinAvailable != nil && b.Spec.MaxUnavailable != nil {
		ps.Invalid(at, "", b.Spec, "minAvailable and maxUnavailable may not both be given")
	}
	ps.IntOrPercent(at, "minAvailable", b.Spec.MinAvailable)
	ps.AtMostAll(at, "minAvailable", b.Spec.MinAvailable)
	ps.IntOrPercent(at, "maxUnavailable", b.Spec.MaxUnavailable)
	ps.AtMostAll(at, "maxUnavailable", b.Spec.MaxUnavailable)
	options := metav1validation.LabelSelectorValidationOptions{
		AllowInvalidLabelValueInSelector: old != nil && metav1validation.LabelSelectorHasInvalidLabelValue(old.Spec.Selector),
	}
	ps.Add(metav1validation.ValidateLabelSelector(b.Spec.Selector, options, at.Child("selector")))
	if p := b.Spec.UnhealthyPodEvictionPolicy; p != nil {
		kind.OneOf(&ps, at, "unhealthyPodEvictionPolicy", *p, evictionPolicies...)
	}
	return ps.List
}

func validateBudgetStatus(s *policyv1.PodDisruptionBudgetStatus) field.ErrorList {
	at := field.NewPath("status")
	var ps kind.Problems
	ps.Add(metav1validation.ValidateConditions(s.Conditions, at.Child("conditions")))
	ps.NotNegative(at, "disruptionsAllowed", int64(s.DisruptionsAllowed))
	ps.NotNegative(at, "currentHealthy", int64(s.CurrentHealthy))
	ps.NotNegative(at, "desiredHealthy", int64(s.DesiredHealthy))
	ps.NotNegative(at, "expectedPods", int64(s.ExpectedPods))
	return ps.List
}
