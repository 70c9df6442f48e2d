// Package policy defines the kinds of the policy group.
package policy

import (
	"slices"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// PodDisruptionBudget is the kind of pod disruption budgets.
var PodDisruptionBudget = kind.Kind[*policyv1.PodDisruptionBudget]{
	Group: "policy", Version: "v1", Kind: "PodDisruptionBudget", Plural: "poddisruptionbudgets", ShortNames: []string{"pdb"}, Namespaced: true,
	New:            func() *policyv1.PodDisruptionBudget { return &policyv1.PodDisruptionBudget{} },
	NewList:        func() runtime.Object { return &policyv1.PodDisruptionBudgetList{} },
	ValidName:      path.ValidatePathSegmentName,
	PrepareCreate:  func(b *policyv1.PodDisruptionBudget) { b.Status = policyv1.PodDisruptionBudgetStatus{} },
	PrepareUpdate:  func(new, old *policyv1.PodDisruptionBudget) { new.Status = old.Status },
	Validate:       func(b *policyv1.PodDisruptionBudget) field.ErrorList { return validateBudget(b, nil) },
	ValidateUpdate: validateBudget,
	HasGeneration:  true,
	SpecChanged: func(new, old *policyv1.PodDisruptionBudget) bool {
		return !apiequality.Semantic.DeepEqual(&new.Spec, &old.Spec)
	},
	RequireRevision: true,
	FreeFinalizers:  true,
	Columns: []kind.Column[*policyv1.PodDisruptionBudget]{
		kind.NameColumn[*policyv1.PodDisruptionBudget](),
		{Name: "Min Available", Type: "string", Description: "The minimum number of pods that must be available.",
			Cell: func(b *policyv1.PodDisruptionBudget, _ time.Time) any { return amountCell(b.Spec.MinAvailable) }},
		{Name: "Max Unavailable", Type: "string", Description: "The maximum number of pods that may be unavailable.",
			Cell: func(b *policyv1.PodDisruptionBudget, _ time.Time) any { return amountCell(b.Spec.MaxUnavailable) }},
		{Name: "Allowed Disruptions", Type: "integer", Description: "Calculated number of pods that may be disrupted at this time.",
			Cell: func(b *policyv1.PodDisruptionBudget, _ time.Time) any { return int64(b.Status.DisruptionsAllowed) }},
		kind.AgeColumn[*policyv1.PodDisruptionBudget](),
	},
	Status: &kind.Part[*policyv1.PodDisruptionBudget]{
		Prepare:        func(new, old *policyv1.PodDisruptionBudget) { new.Spec = old.Spec },
		ValidateUpdate: func(new, _ *policyv1.PodDisruptionBudget) field.ErrorList { return validateBudgetStatus(&new.Status) },
	},
}

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
