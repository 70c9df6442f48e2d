package apps

import (
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

// problems are those of a workload, with the checks that workloads share.
type problems struct{ kind.Problems }

// count is a named number in a status.
type count struct {
	name  string
	value int64
}

// counts judges the numbers in a status one by one.
func (ps *problems) counts(counts ...count) {
	for _, c := range counts {
		ps.NotNegative(statusPath, c.name, c.value)
	}
}

// atMost complains about the numbers in a status that exceed another.
func (ps *problems) atMost(whole count, parts ...count) {
	for _, part := range parts {
		if part.value > whole.value {
			ps.Invalid(statusPath, part.name, part.value, "must not be greater than status."+whole.name)
		}
	}
}

// collisions: their count only grows, since names that were given must not be given again.
func (ps *problems) collisions(new, old *int32) {
	const name = "collisionCount"
	switch {
	case new != nil && *new < 0:
		ps.NotNegative(statusPath, name, int64(*new))
	case old != nil && (new == nil || *new < *old):
		ps.Invalid(statusPath, name, valueOf(new), "must not be decremented")
	}
}

// selector judges a workload's selector, which must select something in particular. The parsed selector is nil
// if it cannot be parsed.
func (ps *problems) selector(s *metav1.LabelSelector) labels.Selector {
	if s == nil {
		ps.Required(selectorPath, "", "")
	} else {
		ps.Add(metav1validation.ValidateLabelSelector(s, metav1validation.LabelSelectorValidationOptions{}, selectorPath))
		ps.notEmpty(s)
	}
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		ps.Invalid(selectorPath, "", s, "invalid label selector")
		return nil
	}
	return selector
}

func (ps *problems) notEmpty(s *metav1.LabelSelector) {
	if len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		ps.Invalid(selectorPath, "", s, "an empty selector would select all pods of the namespace")
	}
}

// selected judges the template of a workload and whether the selector selects its pods; not if selector is nil. old is nil for
// new objects.
func (ps *problems) selected(selector labels.Selector, new, old *corev1.PodTemplateSpec) {
	if selector == nil {
		return
	}
	if !selector.Empty() && !selector.Matches(labels.Set(new.Labels)) {
		ps.Invalid(templatePath.Child("metadata"), "labels", new.Labels, "must match the selector")
	}
	ps.template(new, old)
}

// template judges the template of a workload that keeps its pods running: pods that end by themselves would be replaced
// again and again.
func (ps *problems) template(new, old *corev1.PodTemplateSpec) {
	if old == nil {
		ps.Add(podspec.ValidateTemplate(new, templatePath))
	} else if !kind.Same(new, old) {
		ps.Add(podspec.ValidateTemplateUpdate(new, old, templatePath))
	}
	kind.OneOf(&ps.Problems, templatePath.Child("spec"), "restartPolicy", new.Spec.RestartPolicy, corev1.RestartPolicyAlways)
	if new.Spec.ActiveDeadlineSeconds != nil {
		ps.Forbidden(templatePath.Child("spec"), "activeDeadlineSeconds", "may not be set in a workload that keeps its pods running")
	}
}

// sameSelector: with another one pods would be left behind, or taken over from others.
func (ps *problems) sameSelector(new, old *metav1.LabelSelector) {
	if !kind.Same(new, old) {
		ps.Invalid(selectorPath, "", new, "field is immutable")
	}
}

var percentage = regexp.MustCompile(`^[0-9]+%$`)

// intOrPercent accepts counts from 0 and percentages.
func (ps *problems) intOrPercent(at *field.Path, child string, v *intstr.IntOrString) {
	switch {
	case v == nil:
	case v.Type == intstr.Int:
		ps.NotNegative(at, child, int64(v.IntVal))
	case v.Type == intstr.String && !percentage.MatchString(v.StrVal):
		ps.Invalid(at, child, v.StrVal, "must be an integer or percentage (e.g '5%')")
	}
}

// atMostAll refuses percentages over 100.
func (ps *problems) atMostAll(at *field.Path, child string, v *intstr.IntOrString) {
	if v == nil || v.Type != intstr.String || !percentage.MatchString(v.StrVal) {
		return
	}
	if n, err := strconv.Atoi(strings.TrimSuffix(v.StrVal, "%")); err != nil || n > 100 {
		ps.Invalid(at, child, v.StrVal, "must not be greater than 100%")
	}
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
