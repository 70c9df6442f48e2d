package auth

import (
	"fmt"
	"slices"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

func validateAccessReview(s *authorizationv1.SubjectAccessReviewSpec, meta *metav1.ObjectMeta, namespaced bool) field.ErrorList {
	spec := field.NewPath("spec")
	problems := validateWhat(s.ResourceAttributes, s.NonResourceAttributes, spec)
	if s.User == "" && len(s.Groups) == 0 {
		problems = append(problems, field.Invalid(spec.Child("user"), s.User, "at least one of user or group must be specified"))
	}
	return append(problems, validateMeta(meta, namespaced)...)
}

func validateSelfAccessReview(o *authorizationv1.SelfSubjectAccessReview) field.ErrorList {
	problems := validateWhat(o.Spec.ResourceAttributes, o.Spec.NonResourceAttributes, field.NewPath("spec"))
	return append(problems, validateMeta(&o.ObjectMeta, false)...)
}

func validateLocal(o *authorizationv1.LocalSubjectAccessReview, namespace string) error {
	if o.Namespace == "" {
		o.Namespace = namespace
	}
	if namespace != "" && o.Namespace != namespace {
		return apierrors.NewBadRequest(fmt.Sprintf("spec.resourceAttributes.namespace must match namespace: %v", namespace))
	}
	problems := validateAccessReview(&o.Spec, &o.ObjectMeta, true)
	spec := field.NewPath("spec")
	if a := o.Spec.ResourceAttributes; a != nil && a.Namespace != o.Namespace {
		problems = append(problems, field.Invalid(spec.Child("resourceAttributes", "namespace"), a.Namespace, "must match metadata.namespace"))
	}
	if o.Spec.NonResourceAttributes != nil {
		problems = append(problems, field.Invalid(spec.Child("nonResourceAttributes"), o.Spec.NonResourceAttributes, "disallowed on this kind of request"))
	}
	return invalid(problems)
}

func validateMeta(meta *metav1.ObjectMeta, namespaced bool) field.ErrorList {
	m, detail := *meta, "must be empty"
	m.ManagedFields = nil
	if namespaced {
		m.Namespace, detail = "", "must be empty except for namespace"
	}
	if !equality.Semantic.DeepEqual(metav1.ObjectMeta{}, m) {
		return field.ErrorList{field.Invalid(field.NewPath("metadata"), *meta, detail)}
	}
	return nil
}

func validateWhat(resource *authorizationv1.ResourceAttributes, other *authorizationv1.NonResourceAttributes, spec *field.Path) field.ErrorList {
	var problems field.ErrorList
	if resource != nil && other != nil {
		problems = append(problems, field.Invalid(spec.Child("nonResourceAttributes"), other, "cannot be specified in combination with resourceAttributes"))
	}
	if resource == nil && other == nil {
		problems = append(problems, field.Invalid(spec.Child("resourceAttributes"), other, "exactly one of nonResourceAttributes or resourceAttributes must be specified"))
	}
	if resource == nil {
		return problems
	}
	path := spec.Child("resourceAttributes")
	if s := resource.FieldSelector; s != nil {
		var requirements []metav1.LabelSelectorRequirement
		for _, r := range s.Requirements {
			requirements = append(requirements, metav1.LabelSelectorRequirement{Key: r.Key, Operator: metav1.LabelSelectorOperator(r.Operator), Values: r.Values})
		}
		problems = append(problems, validateSelector(s.RawSelector, requirements, path.Child("fieldSelector"))...)
	}
	if s := resource.LabelSelector; s != nil {
		problems = append(problems, validateSelector(s.RawSelector, s.Requirements, path.Child("labelSelector"))...)
	}
	return problems
}

// maxSelector is the length to which selectors are read, as in requests.
const maxSelector = 64 << 10

func validateSelector(raw string, requirements []metav1.LabelSelectorRequirement, path *field.Path) field.ErrorList {
	var problems field.ErrorList
	switch {
	case len(raw) > maxSelector:
		problems = append(problems, field.TooLong(path.Child("rawSelector"), "", maxSelector))
	case raw != "" && len(requirements) > 0:
		problems = append(problems, field.Invalid(path.Child("rawSelector"), raw, "may not specified at the same time as requirements"))
	case raw == "" && len(requirements) == 0:
		problems = append(problems, field.Required(path.Child("requirements"), fmt.Sprintf("when %s is specified, requirements or rawSelector is required", path)))
	}
	for n, r := range requirements {
		at := path.Child("requirements").Index(n)
		if r.Key == "" {
			problems = append(problems, field.Required(at.Child("key"), "must be specified"))
		}
		switch r.Operator {
		case metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn:
			if len(r.Values) == 0 {
				problems = append(problems, field.Required(at.Child("values"), "must be specified when `operator` is 'In' or 'NotIn'"))
			}
		case metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist:
			if len(r.Values) > 0 {
				problems = append(problems, field.Forbidden(at.Child("values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"))
			}
		default:
			problems = append(problems, field.Invalid(at.Child("operator"), r.Operator, "not a valid selector operator"))
		}
	}
	return problems
}

func resourceAttributes(u user.Info, in *authorizationv1.ResourceAttributes) authorizer.AttributesRecord {
	a := authorizer.AttributesRecord{
		User: u, Verb: in.Verb, Namespace: in.Namespace, APIGroup: in.Group, APIVersion: in.Version, Resource: in.Resource,
		Subresource: in.Subresource, Name: in.Name, ResourceRequest: true,
	}
	if a.APIVersion == "" {
		a.APIVersion = "*"
	}
	if s := in.LabelSelector; s != nil {
		if s.RawSelector != "" {
			if parsed, err := labels.Parse(s.RawSelector); err != nil {
				a.LabelSelectorParsingErr = err
			} else {
				a.LabelSelectorRequirements, _ = parsed.Requirements()
			}
		} else if parsed, err := metav1.LabelSelectorAsSelector(&metav1.LabelSelector{MatchExpressions: s.Requirements}); err != nil {
			a.LabelSelectorParsingErr = err
		} else {
			a.LabelSelectorRequirements, _ = parsed.Requirements()
		}
	}
	if s := in.FieldSelector; s != nil {
		if s.RawSelector != "" {
			if parsed, err := fields.ParseSelector(s.RawSelector); err != nil {
				a.FieldSelectorParsingErr = err
			} else {
				a.FieldSelectorRequirements = parsed.Requirements()
			}
		} else {
			a.FieldSelectorRequirements = fieldRequirements(s.Requirements)
		}
	}
	return a
}

// fieldRequirements takes over those requirements that field selectors can say: one value that must, or must not, be
// there. Leaving out the others only makes the request look broader than it is.
func fieldRequirements(in []metav1.FieldSelectorRequirement) fields.Requirements {
	var out fields.Requirements
	for _, r := range in {
		if len(r.Values) != 1 || !slices.Contains([]metav1.FieldSelectorOperator{metav1.FieldSelectorOpIn, metav1.FieldSelectorOpNotIn}, r.Operator) {
			continue
		}
		operator := selection.Equals
		if r.Operator == metav1.FieldSelectorOpNotIn {
			operator = selection.NotEquals
		}
		out = append(out, fields.Requirement{Field: r.Key, Operator: operator, Value: r.Values[0]})
	}
	return out
}
