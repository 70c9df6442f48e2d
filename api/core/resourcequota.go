package core

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
)

// ResourceQuota is the kind of resource quotas.
var ResourceQuota = kind.Kind[*corev1.ResourceQuota]{
	Version: "v1", Kind: "ResourceQuota", Plural: "resourcequotas", ShortNames: []string{"quota"}, Namespaced: true,
	New:            func() *corev1.ResourceQuota { return &corev1.ResourceQuota{} },
	NewList:        func() runtime.Object { return &corev1.ResourceQuotaList{} },
	ValidName:      apivalidation.NameIsDNSSubdomain,
	PrepareCreate:  func(q *corev1.ResourceQuota) { q.Status = corev1.ResourceQuotaStatus{} },
	PrepareUpdate:  func(new, old *corev1.ResourceQuota) { new.Status = old.Status },
	Validate:       validateQuota,
	ValidateUpdate: validateQuotaUpdate,

	DeleteReturnsObject: true,
	Columns: []kind.Column[*corev1.ResourceQuota]{
		kind.NameColumn[*corev1.ResourceQuota](),
		{Name: "Request", Type: "string", Description: "Request represents a minimum amount of cpu/memory that a container may consume.",
			Cell: func(q *corev1.ResourceQuota, _ time.Time) any { return quotaCell(q, false) }},
		{Name: "Limit", Type: "string",
			Description: "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node.",
			Cell:        func(q *corev1.ResourceQuota, _ time.Time) any { return quotaCell(q, true) }},
		kind.AgeColumn[*corev1.ResourceQuota](),
	},
	Status: &kind.Part[*corev1.ResourceQuota]{
		Prepare: func(new, old *corev1.ResourceQuota) { new.Spec = old.Spec },
		ValidateUpdate: func(new, _ *corev1.ResourceQuota) field.ErrorList {
			path := field.NewPath("status")
			return append(validateQuotaList(new.Status.Hard, path.Child("hard")), validateQuotaList(new.Status.Used, path.Child("used"))...)
		},
	},
}

func quotaCell(q *corev1.ResourceQuota, limits bool) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(q.Status.Hard)) {
		if strings.HasPrefix(string(name), "limits") != limits {
			continue
		}
		used, hard := q.Status.Used[name], q.Status.Hard[name]
		out = append(out, fmt.Sprintf("%s: %s/%s", name, used.String(), hard.String()))
	}
	return strings.Join(out, ", ")
}

var quotaScopes = []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating,
	corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort, corev1.ResourceQuotaScopePriorityClass,
	corev1.ResourceQuotaScopeCrossNamespacePodAffinity, corev1.ResourceQuotaScopeVolumeAttributesClass}

// quotaConflicts are the scopes that exclude each other.
var quotaConflicts = [][2]corev1.ResourceQuotaScope{
	{corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating},
	{corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort},
}

// Resources that quota scopes may narrow.
var (
	podCompute   = sets.New[corev1.ResourceName]("cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory")
	claimCounted = sets.New[corev1.ResourceName]("persistentvolumeclaims", "requests.storage")
)

func scopeFits(scope corev1.ResourceQuotaScope, name corev1.ResourceName) bool {
	switch scope {
	case corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeNotBestEffort,
		corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return name == corev1.ResourcePods || podCompute.Has(name)
	case corev1.ResourceQuotaScopeBestEffort:
		return name == corev1.ResourcePods
	case corev1.ResourceQuotaScopeVolumeAttributesClass:
		return claimCounted.Has(name)
	}
	return true
}

func isStandardQuota(name corev1.ResourceName) bool {
	return name != corev1.ResourceStorage && podspec.StandardResources.Has(string(name)) || isQuotaHugePages(name)
}

func isQuotaHugePages(name corev1.ResourceName) bool {
	return strings.HasPrefix(strings.TrimPrefix(string(name), corev1.DefaultResourceRequestsPrefix), corev1.ResourceHugePagesPrefix)
}

func validateQuota(q *corev1.ResourceQuota) field.ErrorList {
	path := field.NewPath("spec")
	errs := validateQuotaList(q.Spec.Hard, path.Child("hard"))
	errs = append(errs, validateScopes(q.Spec.Scopes, q.Spec.Hard, path.Child("scopes"), path.Child("scopes"))...)
	if q.Spec.ScopeSelector == nil {
		return errs
	}
	at := path.Child("scopeSelector", "matchExpressions")
	var scopes []corev1.ResourceQuotaScope
	for _, r := range q.Spec.ScopeSelector.MatchExpressions {
		scopes = append(scopes, r.ScopeName)
		errs = append(errs, validateScopeRequirement(r, at)...)
	}
	return append(errs, validateScopes(scopes, q.Spec.Hard, at, at.Child("scopeName"))...)
}

func validateQuotaList(list corev1.ResourceList, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, name := range slices.Sorted(maps.Keys(list)) {
		at := path.Key(string(name))
		if !isQuotaHugePages(name) {
			errs = append(errs, podspec.ValidateResourceName(name, at)...)
		}
		if !podspec.HasDomain(string(name)) && !isStandardQuota(name) {
			errs = append(errs, field.Invalid(at, name, "must be a standard resource for quota"))
		}
		errs = append(errs, podspec.ValidateQuantity(name, list[name], at)...)
	}
	return errs
}

func validateScopes(scopes []corev1.ResourceQuotaScope, hard corev1.ResourceList, path, unknown *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, scope := range scopes {
		if !slices.Contains(quotaScopes, scope) {
			errs = append(errs, field.Invalid(unknown, scope, "unsupported scope"))
		}
		for name := range hard {
			if isStandardQuota(name) && !scopeFits(scope, name) {
				errs = append(errs, field.Invalid(path, scopes, "unsupported scope applied to resource"))
			}
		}
	}
	for _, pair := range quotaConflicts {
		if slices.Contains(scopes, pair[0]) && slices.Contains(scopes, pair[1]) {
			errs = append(errs, field.Invalid(path, scopes, "conflicting scopes"))
		}
	}
	return errs
}

func validateScopeRequirement(r corev1.ScopedResourceSelectorRequirement, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch r.ScopeName {
	case corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeVolumeAttributesClass, "":
	default:
		if slices.Contains(quotaScopes, r.ScopeName) && r.Operator != corev1.ScopeSelectorOpExists {
			errs = append(errs, field.Invalid(path.Child("operator"), r.Operator, "must be 'Exists' for this scope"))
		}
	}
	switch r.Operator {
	case corev1.ScopeSelectorOpIn, corev1.ScopeSelectorOpNotIn:
		if len(r.Values) == 0 {
			errs = append(errs, field.Required(path.Child("values"), "needed for operators In and NotIn"))
		}
	case corev1.ScopeSelectorOpExists, corev1.ScopeSelectorOpDoesNotExist:
		if len(r.Values) > 0 {
			errs = append(errs, field.Invalid(path.Child("values"), r.Values, "must be empty for operators Exists and DoesNotExist"))
		}
	default:
		errs = append(errs, field.Invalid(path.Child("operator"), r.Operator, "not a valid selector operator"))
	}
	return errs
}

func validateQuotaUpdate(new, old *corev1.ResourceQuota) field.ErrorList {
	errs := validateQuota(new)
	if !sets.New(new.Spec.Scopes...).Equal(sets.New(old.Spec.Scopes...)) {
		errs = append(errs, field.Invalid(field.NewPath("spec", "scopes"), new.Spec.Scopes, apivalidation.FieldImmutableErrorMsg))
	}
	return errs
}
