package apps

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
)

var (
	specPath     = field.NewPath("spec")
	statusPath   = field.NewPath("status")
	selectorPath = specPath.Child("selector")
	templatePath = specPath.Child("template")
)

const (
	containersDoc = "Names of each container in the template."
	imagesDoc     = "Images referenced by each container in the template."
	readyDoc      = "Number of the pod with ready state"
)

// defaultTo sets *p to value if it is not set.
func defaultTo[T any](p **T, value T) {
	if *p == nil {
		*p = &value
	}
}

func valueOf(n *int32) int32 {
	if n == nil {
		return 0
	}
	return *n
}

// notNegative complains about a count below zero.
func notNegative[T int32 | int64](n T, at *field.Path) field.ErrorList {
	if n >= 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(at, n, "must be greater than or equal to 0")}
}

// count is a named number in a status.
type count struct {
	name  string
	value int64
}

// validateCounts judges the numbers in a status one by one.
func validateCounts(counts ...count) (errs field.ErrorList) {
	for _, c := range counts {
		if c.value < 0 {
			errs = append(errs, field.Invalid(statusPath.Child(c.name), c.value, "must be greater than or equal to 0"))
		}
	}
	return errs
}

// atMost complains if one number in a status exceeds another.
func atMost(part, whole count) field.ErrorList {
	if part.value <= whole.value {
		return nil
	}
	return field.ErrorList{field.Invalid(statusPath.Child(part.name), part.value, "must not be greater than status."+whole.name)}
}

// validateCollisionCount: it only grows, since names that were given must not be given again.
func validateCollisionCount(new, old *int32) field.ErrorList {
	at := statusPath.Child("collisionCount")
	if new != nil && *new < 0 {
		return field.ErrorList{field.Invalid(at, *new, "must be greater than or equal to 0")}
	}
	if old != nil && (new == nil || *new < *old) {
		return field.ErrorList{field.Invalid(at, valueOf(new), "must not be decremented")}
	}
	return nil
}

// validateSelector judges a workload's selector, which must select something in particular. The parsed selector is nil
// if it cannot be parsed.
func validateSelector(s *metav1.LabelSelector) (labels.Selector, field.ErrorList) {
	var errs field.ErrorList
	if s == nil {
		errs = append(errs, field.Required(selectorPath, ""))
	} else {
		errs = metav1validation.ValidateLabelSelector(s, metav1validation.LabelSelectorValidationOptions{}, selectorPath)
		if len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
			errs = append(errs, field.Invalid(selectorPath, s, "an empty selector would select all pods of the namespace"))
		}
	}
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return nil, append(errs, field.Invalid(selectorPath, s, "invalid label selector"))
	}
	return selector, errs
}

// validateTemplate judges the template of a workload that keeps its pods running. old is nil for new objects.
func validateTemplate(new, old *corev1.PodTemplateSpec, selector labels.Selector) (errs field.ErrorList) {
	if !selector.Empty() && !selector.Matches(labels.Set(new.Labels)) {
		errs = append(errs, field.Invalid(templatePath.Child("metadata", "labels"), new.Labels, "must match the selector"))
	}
	if old == nil {
		errs = append(errs, podspec.ValidateTemplate(new, templatePath)...)
	} else if !kind.Same(new, old) {
		errs = append(errs, podspec.ValidateTemplateUpdate(new, old, templatePath)...)
	}
	return append(errs, runsForever(new)...)
}

// runsForever: pods that end by themselves would be replaced again and again.
func runsForever(t *corev1.PodTemplateSpec) (errs field.ErrorList) {
	if p := t.Spec.RestartPolicy; p != corev1.RestartPolicyAlways {
		errs = append(errs, field.NotSupported(templatePath.Child("spec", "restartPolicy"), p, []corev1.RestartPolicy{corev1.RestartPolicyAlways}))
	}
	if t.Spec.ActiveDeadlineSeconds != nil {
		errs = append(errs, field.Forbidden(templatePath.Child("spec", "activeDeadlineSeconds"), "may not be set in a workload that keeps its pods running"))
	}
	return errs
}

// immutableSelector: pods would be left behind, or taken over from others.
func immutableSelector(new, old *metav1.LabelSelector) field.ErrorList {
	if kind.Same(new, old) {
		return nil
	}
	return field.ErrorList{field.Invalid(selectorPath, new, "field is immutable")}
}

var percentage = regexp.MustCompile(`^[0-9]+%$`)

// validateIntOrPercent accepts counts from 0 and percentages.
func validateIntOrPercent(v *intstr.IntOrString, at *field.Path) field.ErrorList {
	if v == nil {
		return nil
	}
	if v.Type == intstr.String && !percentage.MatchString(v.StrVal) {
		return field.ErrorList{field.Invalid(at, v.StrVal, "must be an integer or percentage (e.g '5%')")}
	}
	if v.Type == intstr.Int {
		return notNegative(v.IntVal, at)
	}
	return nil
}

// validateAtMostAll refuses percentages over 100.
func validateAtMostAll(v *intstr.IntOrString, at *field.Path) field.ErrorList {
	if v == nil || v.Type != intstr.String || !percentage.MatchString(v.StrVal) {
		return nil
	}
	if n, err := strconv.Atoi(strings.TrimSuffix(v.StrVal, "%")); err == nil && n <= 100 {
		return nil
	}
	return field.ErrorList{field.Invalid(at, v.StrVal, "must not be greater than 100%")}
}

// amount is the number in a count or a percentage; 0 if there is none.
func amount(v *intstr.IntOrString) int {
	switch {
	case v == nil:
		return 0
	case v.Type == intstr.Int:
		return int(v.IntVal)
	case !percentage.MatchString(v.StrVal):
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSuffix(v.StrVal, "%"))
	if err != nil {
		return 0
	}
	return n
}

// selectorText is a selector in its string form, as the scale subresource and the columns show it.
func selectorText(s *metav1.LabelSelector) string {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return ""
	}
	return selector.String()
}

func ratio(part, whole int32) string { return fmt.Sprintf("%d/%d", part, whole) }
