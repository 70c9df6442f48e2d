// Package policy defines the kinds of the policy group.
package policy

import (
	"slices"

	policyv1 "k8s.io/api/policy/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// PodDisruptionBudget is the kind of pod disruption budgets.
var PodDisruptionBudget = kind.Define(kind.Resource{
	GroupVersion: policyv1.SchemeGroupVersion, Plural: "poddisruptionbudgets", ShortNames: []string{"pdb"}, Namespaced: true,
	List: kind.ListOf[policyv1.PodDisruptionBudgetList], HasGeneration: true, RequireRevision: true, FreeFinalizers: true, ValidName: path.ValidatePathSegmentName,
}, kind.Rules[policyv1.PodDisruptionBudget]{
	Halves: kind.SpecAndStatus(func(b *policyv1.PodDisruptionBudget) (*policyv1.PodDisruptionBudgetSpec, *policyv1.PodDisruptionBudgetStatus) {
		return &b.Spec, &b.Status
	}),
	Validate: validateBudget,
	Columns: kind.Columns([]kind.Column[policyv1.PodDisruptionBudget]{
		kind.Text("Min Available", "The minimum number of pods that must be available.", func(b *policyv1.PodDisruptionBudget) string { return amountCell(b.Spec.MinAvailable) }),
		kind.Text("Max Unavailable", "The maximum number of pods that may be unavailable.", func(b *policyv1.PodDisruptionBudget) string { return amountCell(b.Spec.MaxUnavailable) }),
		kind.Int("Allowed Disruptions", "Calculated number of pods that may be disrupted at this time.", func(b *policyv1.PodDisruptionBudget) int32 { return b.Status.DisruptionsAllowed }),
	}),
	Status: &kind.Part[policyv1.PodDisruptionBudget]{
		ValidateUpdate: func(new, _ *policyv1.PodDisruptionBudget) field.ErrorList { return validateBudgetStatus(&new.Status) },
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
	var errs field.ErrorList
	at := field.NewPath("spec")
	if b.Spec.MinAvailable != nil && b.Spec.MaxUnavailable != nil {
		errs = append(errs, field.Invalid(at, b.Spec, "minAvailable and maxUnavailable may not both be given"))
	}
	errs = append(errs, validateAmount(b.Spec.MinAvailable, at.Child("minAvailable"))...)
	errs = append(errs, validateAmount(b.Spec.MaxUnavailable, at.Child("maxUnavailable"))...)
	options := metav1validation.LabelSelectorValidationOptions{
		AllowInvalidLabelValueInSelector: old != nil && metav1validation.LabelSelectorHasInvalidLabelValue(old.Spec.Selector),
	}
	errs = append(errs, metav1validation.ValidateLabelSelector(b.Spec.Selector, options, at.Child("selector"))...)
	if p := b.Spec.UnhealthyPodEvictionPolicy; p != nil && !slices.Contains(evictionPolicies, *p) {
		errs = append(errs, field.NotSupported(at.Child("unhealthyPodEvictionPolicy"), *p, evictionPolicies))
	}
	return errs
}

func validateAmount(v *intstr.IntOrString, at *field.Path) field.ErrorList {
	switch {
	case v == nil:
		return nil
	case v.Type == intstr.Int:
		return apivalidation.ValidateNonnegativeField(int64(v.IntVal), at)
	}
	var errs field.ErrorList
	for _, msg := range validation.IsValidPercent(v.StrVal) {
		errs = append(errs, field.Invalid(at, v.StrVal, msg))
	}
	if n, err := intstr.GetScaledValueFromIntOrPercent(v, 100, false); len(errs) == 0 && err == nil && n > 100 {
		errs = append(errs, field.Invalid(at, v.StrVal, "must not be greater than 100%"))
	}
	return errs
}

func validateBudgetStatus(s *policyv1.PodDisruptionBudgetStatus) field.ErrorList {
	at := field.NewPath("status")
	errs := metav1validation.ValidateConditions(s.Conditions, at.Child("conditions"))
	errs = append(errs, apivalidation.ValidateNonnegativeField(int64(s.DisruptionsAllowed), at.Child("disruptionsAllowed"))...)
	errs = append(errs, apivalidation.ValidateNonnegativeField(int64(s.CurrentHealthy), at.Child("currentHealthy"))...)
	errs = append(errs, apivalidation.ValidateNonnegativeField(int64(s.DesiredHealthy), at.Child("desiredHealthy"))...)
	return append(errs, apivalidation.ValidateNonnegativeField(int64(s.ExpectedPods), at.Child("expectedPods"))...)
}
