package workload

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
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

// Problems are those of a workload, with the checks that workloads share. Their methods judge an object's Parts, and those which it
// had before a change: none for a new object.
type Problems struct{ kind.Problems }

// Count judges an optional number in a spec, which may not be negative.
func (ps *Problems) Count(child string, n *int32) {
	ps.NotNegative(specPath, child, int64(valueOf(n)))
}

// Selects judges a workload's selector, which must select something in particular. The parsed selector is nil if it cannot be
// parsed.
func (ps *Problems) Selects(is Parts) labels.Selector {
	if is.Selector == nil {
		ps.Required(selectorPath, "", "")
	} else {
		ps.Selector(is)
	}
	selector, err := metav1.LabelSelectorAsSelector(is.Selector)
	if err != nil {
		ps.Invalid(selectorPath, "", is.Selector, "invalid label selector")
		return nil
	}
	return selector
}

// Selector judges a selector that is there.
func (ps *Problems) Selector(is Parts) {
	ps.Add(metav1validation.ValidateLabelSelector(is.Selector, metav1validation.LabelSelectorValidationOptions{}, selectorPath))
	if len(is.Selector.MatchLabels)+len(is.Selector.MatchExpressions) == 0 {
		ps.Invalid(selectorPath, "", is.Selector, "an empty selector would select all pods of the namespace")
	}
}

// Selected judges the template of a workload and whether the selector selects its pods; not if selector is nil.
func (ps *Problems) Selected(selector labels.Selector, is, was Parts) {
	if selector == nil {
		return
	}
	if t := is.Template; t != nil && !selector.Empty() && !selector.Matches(labels.Set(t.Labels)) {
		ps.Invalid(templatePath.Child("metadata"), "labels", t.Labels, "must match the selector")
	}
	ps.Template(is, was)
}

// Template judges the template of a workload that keeps its pods running: pods that end by themselves would be replaced
// again and again.
func (ps *Problems) Template(is, was Parts) {
	t := is.Template
	switch {
	case t == nil:
		ps.Required(templatePath, "", "")
		return
	case was.Template == nil:
		ps.Add(podspec.ValidateTemplate(t, templatePath))
	case !kind.Same(t, was.Template):
		ps.Add(podspec.ValidateTemplateUpdate(t, was.Template, templatePath))
	}
	kind.OneOf(&ps.Problems, templatePath.Child("spec"), "restartPolicy", t.Spec.RestartPolicy, corev1.RestartPolicyAlways)
	if t.Spec.ActiveDeadlineSeconds != nil {
		ps.Forbidden(templatePath.Child("spec"), "activeDeadlineSeconds", "may not be set in a workload that keeps its pods running")
	}
}

// SameSelector: with another one pods would be left behind, or taken over from others.
func (ps *Problems) SameSelector(is, was Parts) {
	if was.Template != nil && !kind.Same(is.Selector, was.Selector) {
		ps.Invalid(selectorPath, "", is.Selector, "field is immutable")
	}
}

// Number is a number in a status, by its name.
type Number struct {
	name  string
	value int64
}

// Counted makes a Number of a count of pods.
func Counted(name string, n int32) Number { return Number{name, int64(n)} }

// Observed makes a Number of the generation that a controller has seen.
func Observed(generation int64) Number { return Number{"observedGeneration", generation} }

// Numbers judges the numbers in a status one by one.
func (ps *Problems) Numbers(numbers ...Number) {
	for _, n := range numbers {
		ps.NotNegative(statusPath, n.name, n.value)
	}
}

// AtMost complains about the numbers in a status that exceed another.
func (ps *Problems) AtMost(whole Number, parts ...Number) {
	for _, part := range parts {
		if part.value > whole.value {
			ps.Invalid(statusPath, part.name, part.value, "must not be greater than status."+whole.name)
		}
	}
}

// Collisions: their count only grows, since names that were given must not be given again.
func (ps *Problems) Collisions(is, was *int32) {
	const name = "collisionCount"
	switch {
	case is != nil && *is < 0:
		ps.NotNegative(statusPath, name, int64(*is))
	case was != nil && (is == nil || *is < *was):
		ps.Invalid(statusPath, name, valueOf(is), "must not be decremented")
	}
}
