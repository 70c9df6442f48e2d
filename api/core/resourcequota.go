package core

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
)

// ResourceQuota is the kind of resource quotas.
var ResourceQuota = kind.Define(kind.Resource{
	GroupVersion: corev1.SchemeGroupVersion, Plural: "resourcequotas", ShortNames: []string{"quota"}, Namespaced: true,
	List: kind.ListOf[corev1.ResourceQuotaList], DeleteReturnsObject: true,
}, kind.Rules[corev1.ResourceQuota]{
	Halves:   kind.SpecAndStatus[corev1.ResourceQuota](),
	Validate: validateQuota,
	Columns: kind.Columns([]kind.Column[corev1.ResourceQuota]{
		kind.Text("Request", "Request represents a minimum amount of cpu/memory that a container may consume.", func(q *corev1.ResourceQuota) string { return quotaCell(q, false) }),
		kind.Text("Limit", "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node.", func(q *corev1.ResourceQuota) string { return quotaCell(q, true) }),
	}),
	Status: &kind.Part[corev1.ResourceQuota]{
		ValidateUpdate: func(next, _ *corev1.ResourceQuota) field.ErrorList {
			path := field.NewPath("status")
			return append(validateQuotaList(next.Status.Hard, path.Child("hard")), validateQuotaList(next.Status.Used, path.Child("used"))...)
		},
	},
})

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

func validateQuota(q, old *corev1.ResourceQuota) field.ErrorList {
	path := field.NewPath("spec")
	var ps kind.Problems
	ps.Add(validateQuotaList(q.Spec.Hard, path.Child("hard")))
	ps.Add(validateScopes(q.Spec.Scopes, q.Spec.Hard, path.Child("scopes"), path.Child("scopes")))
	if q.Spec.ScopeSelector != nil {
		at := path.Child("scopeSelector", "matchExpressions")
		var scopes []corev1.ResourceQuotaScope
		for _, r := range q.Spec.ScopeSelector.MatchExpressions {
			scopes = append(scopes, r.ScopeName)
			ps.Add(validateScopeRequirement(r, at))
		}
		ps.Add(validateScopes(scopes, q.Spec.Hard, at, at.Child("scopeName")))
	}
	if old != nil && !sets.New(q.Spec.Scopes...).Equal(sets.New(old.Spec.Scopes...)) {
		ps.Invalid(path, "scopes", q.Spec.Scopes, apivalidation.FieldImmutableErrorMsg)
	}
	return ps.List
}

func validateQuotaList(list corev1.ResourceList, path *field.Path) field.ErrorList {
	var ps kind.Problems
	for _, name := range slices.Sorted(maps.Keys(list)) {
		at := path.Key(string(name))
		if !isQuotaHugePages(name) {
			ps.Add(podspec.ValidateResourceName(name, at))
		}
		if !podspec.HasDomain(string(name)) && !isStandardQuota(name) {
			ps.Invalid(at, "", name, "must be a standard resource for quota")
		}
		ps.Add(podspec.ValidateQuantity(name, list[name], at))
	}
	return ps.List
}

func validateScopes(scopes []corev1.ResourceQuotaScope, hard corev1.ResourceList, path, unknown *field.Path) field.ErrorList {
	var ps kind.Problems
	for _, scope := range scopes {
		if !slices.Contains(quotaScopes, scope) {
			ps.Invalid(unknown, "", scope, "unsupported scope")
		}
		for name := range hard {
			if isStandardQuota(name) && !scopeFits(scope, name) {
				ps.Invalid(path, "", scopes, "unsupported scope applied to resource")
			}
		}
	}
	for _, pair := range quotaConflicts {
		if slices.Contains(scopes, pair[0]) && slices.Contains(scopes, pair[1]) {
			ps.Invalid(path, "", scopes, "conflicting scopes")
		}
	}
	return ps.List
}

func validateScopeRequirement(r corev1.ScopedResourceSelectorRequirement, path *field.Path) field.ErrorList {
	var ps kind.Problems
	switch r.ScopeName {
	case corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeVolumeAttributesClass, "":
	default:
		if slices.Contains(quotaScopes, r.ScopeName) && r.Operator != corev1.ScopeSelectorOpExists {
			ps.Invalid(path, "operator", r.Operator, "must be 'Exists' for this scope")
		}
	}
	switch r.Operator {
	case corev1.ScopeSelectorOpIn, corev1.ScopeSelectorOpNotIn:
		if len(r.Values) == 0 {
			ps.Required(path, "values", "needed for operators In and NotIn")
		}
	case corev1.ScopeSelectorOpExists, corev1.ScopeSelectorOpDoesNotExist:
		if len(r.Values) > 0 {
			ps.Invalid(path, "values", r.Values, "must be empty for operators Exists and DoesNotExist")
		}
	default:
		ps.Invalid(path, "operator", r.Operator, "not a valid selector operator")
	}
	return ps.List
}
