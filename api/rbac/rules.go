// Package rbac defines the kinds of rbac.authorization.k8s.io. Whether a subject may grant what it writes here is
// judged by the API server, which knows who asks.
package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

const (
	group   = "rbac.authorization.k8s.io"
	version = "v1"
)

// validateRules judges policy rules; only cluster-wide roles may speak of URLs that are not resources.
func validateRules(rules []rbacv1.PolicyRule, namespaced bool) field.ErrorList {
	var ps kind.Problems
	for n := range rules {
		ps.Add(validateRule(&rules[n], namespaced, field.NewPath("rules").Index(n)))
	}
	return ps.List
}

func validateRule(r *rbacv1.PolicyRule, namespaced bool, at *field.Path) field.ErrorList {
	var ps kind.Problems
	if len(r.Verbs) == 0 {
		ps.Required(at, "verbs", "a rule must name at least one verb")
	}
	if len(r.NonResourceURLs) > 0 {
		urls := at.Child("nonResourceURLs")
		if namespaced {
			ps.Invalid(urls, "", r.NonResourceURLs, "namespaced rules cannot apply to non-resource URLs")
		}
		if len(r.APIGroups) > 0 || len(r.Resources) > 0 || len(r.ResourceNames) > 0 {
			ps.Invalid(urls, "", r.NonResourceURLs, "rules cannot apply to both regular resources and non-resource URLs")
		}
		return ps.List
	}
	if len(r.APIGroups) == 0 {
		ps.Required(at, "apiGroups", "a rule for resources must name at least one API group")
	}
	if len(r.Resources) == 0 {
		ps.Required(at, "resources", "a rule for resources must name at least one resource")
	}
	return ps.List
}

func validateAggregation(rule *rbacv1.AggregationRule) field.ErrorList {
	var ps kind.Problems
	if rule == nil {
		return nil
	}
	at := field.NewPath("aggregationRule", "clusterRoleSelectors")
	if len(rule.ClusterRoleSelectors) == 0 {
		ps.Required(at, "", "at least one clusterRoleSelector is required with an aggregationRule")
		return ps.List
	}
	for n := range rule.ClusterRoleSelectors {
		s := &rule.ClusterRoleSelectors[n]
		ps.Add(metav1validation.ValidateLabelSelector(s, metav1validation.LabelSelectorValidationOptions{}, at.Index(n)))
		if err := asSelector(s); err != nil {
			ps.Invalid(at.Index(n), "", s, err.Error())
		}
	}
	return ps.List
}

// validateBinding judges a binding to one of the kinds of roles; old is nil for a new one.
func validateBinding(ref, old *rbacv1.RoleRef, subjects []rbacv1.Subject, namespaced bool, kinds []string) field.ErrorList {
	var ps kind.Problems
	at := field.NewPath("roleRef")
	if ref.APIGroup != group {
		kind.Unsupported(&ps, at, "apiGroup", ref.APIGroup, group)
	}
	kind.OneOf(&ps, at, "kind", ref.Kind, kinds...)
	ps.NeedsSegment(at, "name", ref.Name)
	for n := range subjects {
		ps.Add(validateSubject(&subjects[n], namespaced, field.NewPath("subjects").Index(n)))
	}
	if old != nil && *ref != *old {
		ps.Invalid(nil, "roleRef", *ref, "cannot change roleRef")
	}
	return ps.List
}

func validateSubject(s *rbacv1.Subject, namespaced bool, at *field.Path) field.ErrorList {
	var ps kind.Problems
	if s.Name == "" {
		ps.Required(at, "name", "")
	}
	switch s.Kind {
	case rbacv1.ServiceAccountKind:
		if s.Name != "" {
			ps.Messages(at, "name", s.Name, apivalidation.ValidateServiceAccountName(s.Name, false))
		}
		if s.APIGroup != "" {
			kind.Unsupported(&ps, at, "apiGroup", s.APIGroup, "")
		}
		if !namespaced && s.Namespace == "" {
			ps.Required(at, "namespace", "")
		}
	case rbacv1.UserKind, rbacv1.GroupKind:
		if s.APIGroup != group {
			kind.Unsupported(&ps, at, "apiGroup", s.APIGroup, group)
		}
	default:
		kind.Unsupported(&ps, at, "kind", s.Kind, rbacv1.GroupKind, rbacv1.ServiceAccountKind, rbacv1.UserKind)
	}
	return ps.List
}

// defaultBinding completes the API groups that old clients leave out.
func defaultBinding(ref *rbacv1.RoleRef, subjects []rbacv1.Subject) {
	kind.Fill(&ref.APIGroup, group)
	for n := range subjects {
		if s := &subjects[n]; s.APIGroup == "" && (s.Kind == rbacv1.UserKind || s.Kind == rbacv1.GroupKind) {
			s.APIGroup = group
		}
	}
}
