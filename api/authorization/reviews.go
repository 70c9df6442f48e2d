// Package authorization defines the kinds of authorization.k8s.io: questions that are answered, never stored.
package authorization

import (
	authorizationv1 "k8s.io/api/authorization/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

var create = []kind.Verb{kind.Create}

// SubjectAccessReview asks whether someone may do something.
var SubjectAccessReview = kind.Define(kind.Resource{
	GroupVersion: authorizationv1.SchemeGroupVersion, Plural: "subjectaccessreviews", Verbs: create,
}, kind.Rules[authorizationv1.SubjectAccessReview]{
	Validate: func(r, _ *authorizationv1.SubjectAccessReview) field.ErrorList {
		return append(validateSubject(&r.Spec), validateEmptyMeta(r.ObjectMeta)...)
	},
})

// SelfSubjectAccessReview asks whether the asker may do something.
var SelfSubjectAccessReview = kind.Define(kind.Resource{
	GroupVersion: authorizationv1.SchemeGroupVersion, Plural: "selfsubjectaccessreviews", Verbs: create,
}, kind.Rules[authorizationv1.SelfSubjectAccessReview]{
	Validate: func(r, _ *authorizationv1.SelfSubjectAccessReview) field.ErrorList {
		return append(validateAction(r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes), validateEmptyMeta(r.ObjectMeta)...)
	},
})

// LocalSubjectAccessReview asks whether someone may do something in the review's namespace.
var LocalSubjectAccessReview = kind.Define(kind.Resource{
	GroupVersion: authorizationv1.SchemeGroupVersion, Plural: "localsubjectaccessreviews", Namespaced: true, Verbs: create,
}, kind.Rules[authorizationv1.LocalSubjectAccessReview]{
	Validate: validateLocal,
})

// SelfSubjectRulesReview asks what the asker may do in a namespace.
var SelfSubjectRulesReview = kind.Define(kind.Resource{
	GroupVersion: authorizationv1.SchemeGroupVersion, Plural: "selfsubjectrulesreviews", Verbs: create,
}, kind.Rules[authorizationv1.SelfSubjectRulesReview]{})

func validateEmptyMeta(m metav1.ObjectMeta) field.ErrorList {
	var ps kind.Problems
	m.ManagedFields = nil
	if !apiequality.Semantic.DeepEqual(m, metav1.ObjectMeta{}) {
		ps.Invalid(nil, "metadata", m, "must be empty")
		return ps.List
	}
	return nil
}

func validateLocal(r, _ *authorizationv1.LocalSubjectAccessReview) field.ErrorList {
	var ps kind.Problems
	ps.Add(validateSubject(&r.Spec))
	meta := r.ObjectMeta
	meta.Namespace = ""
	ps.Add(validateEmptyMeta(meta))
	if a := r.Spec.ResourceAttributes; a != nil && a.Namespace != r.Namespace {
		ps.Invalid(nil, "spec.resourceAttributes.namespace", a.Namespace, "must match metadata.namespace")
	}
	if a := r.Spec.NonResourceAttributes; a != nil {
		ps.Invalid(nil, "spec.nonResourceAttributes", a, "has no meaning in a namespace")
	}
	return ps.List
}

func validateSubject(s *authorizationv1.SubjectAccessReviewSpec) field.ErrorList {
	var ps kind.Problems
	ps.Add(validateAction(s.ResourceAttributes, s.NonResourceAttributes))
	if s.User == "" && len(s.Groups) == 0 {
		ps.Invalid(field.NewPath("spec", "user"), "", s.User, "a user or a group must be named")
	}
	return ps.List
}

func validateAction(r *authorizationv1.ResourceAttributes, n *authorizationv1.NonResourceAttributes) field.ErrorList {
	var ps kind.Problems
	path := field.NewPath("spec")
	if r != nil && n != nil {
		ps.Invalid(path, "nonResourceAttributes", n, "may not be given together with resourceAttributes")
	}
	if r == nil && n == nil {
		ps.Invalid(path, "resourceAttributes", n, "exactly one of nonResourceAttributes or resourceAttributes must be given")
	}
	if r == nil {
		return ps.List
	}
	at := path.Child("resourceAttributes")
	if s := r.FieldSelector; s != nil {
		ps.Add(validateSelector(s.RawSelector, len(s.Requirements), at.Child("fieldSelector")))
		for i, q := range s.Requirements {
			ps.Add(metav1validation.ValidateFieldSelectorRequirement(q,
				metav1validation.FieldSelectorValidationOptions{AllowUnknownOperatorInRequirement: true},
				at.Child("fieldSelector", "requirements").Index(i)))
		}
	}
	if s := r.LabelSelector; s != nil {
		ps.Add(validateSelector(s.RawSelector, len(s.Requirements), at.Child("labelSelector")))
		for i, q := range s.Requirements {
			ps.Add(metav1validation.ValidateLabelSelectorRequirement(q,
				metav1validation.LabelSelectorValidationOptions{AllowUnknownOperatorInRequirement: true},
				at.Child("labelSelector", "requirements").Index(i)))
		}
	}
	return ps.List
}

func validateSelector(raw string, requirements int, at *field.Path) field.ErrorList {
	var ps kind.Problems
	switch {
	case raw != "" && requirements > 0:
		ps.Invalid(at, "rawSelector", raw, "may not be given together with requirements")
		return ps.List
	case raw == "" && requirements == 0:
		ps.Required(at, "requirements", "requirements or rawSelector is needed")
		return ps.List
	}
	return nil
}
