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
	m.ManagedFields = nil
	if !apiequality.Semantic.DeepEqual(m, metav1.ObjectMeta{}) {
		return field.ErrorList{field.Invalid(field.NewPath("metadata"), m, "must be empty")}
	}
	return nil
}

func validateLocal(r, _ *authorizationv1.LocalSubjectAccessReview) field.ErrorList {
	errs := validateSubject(&r.Spec)
	meta := r.ObjectMeta
	meta.Namespace = ""
	errs = append(errs, validateEmptyMeta(meta)...)
	if a := r.Spec.ResourceAttributes; a != nil && a.Namespace != r.Namespace {
		errs = append(errs, field.Invalid(field.NewPath("spec.resourceAttributes.namespace"), a.Namespace, "must match metadata.namespace"))
	}
	if a := r.Spec.NonResourceAttributes; a != nil {
		errs = append(errs, field.Invalid(field.NewPath("spec.nonResourceAttributes"), a, "has no meaning in a namespace"))
	}
	return errs
}

func validateSubject(s *authorizationv1.SubjectAccessReviewSpec) field.ErrorList {
	errs := validateAction(s.ResourceAttributes, s.NonResourceAttributes)
	if s.User == "" && len(s.Groups) == 0 {
		errs = append(errs, field.Invalid(field.NewPath("spec", "user"), s.User, "a user or a group must be named"))
	}
	return errs
}

func validateAction(r *authorizationv1.ResourceAttributes, n *authorizationv1.NonResourceAttributes) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("spec")
	if r != nil && n != nil {
		errs = append(errs, field.Invalid(path.Child("nonResourceAttributes"), n, "may not be given together with resourceAttributes"))
	}
	if r == nil && n == nil {
		errs = append(errs, field.Invalid(path.Child("resourceAttributes"), n, "exactly one of nonResourceAttributes or resourceAttributes must be given"))
	}
	if r == nil {
		return errs
	}
	at := path.Child("resourceAttributes")
	if s := r.FieldSelector; s != nil {
		errs = append(errs, validateSelector(s.RawSelector, len(s.Requirements), at.Child("fieldSelector"))...)
		for i, q := range s.Requirements {
			errs = append(errs, metav1validation.ValidateFieldSelectorRequirement(q,
				metav1validation.FieldSelectorValidationOptions{AllowUnknownOperatorInRequirement: true},
				at.Child("fieldSelector", "requirements").Index(i))...)
		}
	}
	if s := r.LabelSelector; s != nil {
		errs = append(errs, validateSelector(s.RawSelector, len(s.Requirements), at.Child("labelSelector"))...)
		for i, q := range s.Requirements {
			errs = append(errs, metav1validation.ValidateLabelSelectorRequirement(q,
				metav1validation.LabelSelectorValidationOptions{AllowUnknownOperatorInRequirement: true},
				at.Child("labelSelector", "requirements").Index(i))...)
		}
	}
	return errs
}

func validateSelector(raw string, requirements int, at *field.Path) field.ErrorList {
	switch {
	case raw != "" && requirements > 0:
		return field.ErrorList{field.Invalid(at.Child("rawSelector"), raw, "may not be given together with requirements")}
	case raw == "" && requirements == 0:
		return field.ErrorList{field.Required(at.Child("requirements"), "requirements or rawSelector is needed")}
	}
	return nil
}
