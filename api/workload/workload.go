// Package workload holds what kinds have in common whose objects make pods from a template.
package workload

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
)

// Parts is where in an object those parts stand that workloads have in common.
type Parts struct {
	// Template is nil for an object without one.
	Template *corev1.PodTemplateSpec
	Selector *metav1.LabelSelector
	// Wanted is nil for kinds that cannot be scaled.
	Wanted  **int32
	Present int32
}

// object is the pointer to a Go type that a kind can have.
type object[E any] interface {
	*E
	kind.Object
}

// Define is kind.Define for a workload, given where its parts are. It is namespaced, one of all, and has a generation, spec and status.
// Before the rules run, the template has got its defaults, and has lost what nothing would act on. Warnings, unless there are rules for
// them, are about the template, and a workload with a wanted number of pods can be scaled.
func Define[E any, P object[E]](r kind.Resource, in func(*E) Parts, rules kind.Rules[E]) *kind.Kind {
	r.Namespaced, r.HasGeneration, r.Categories = true, true, []string{"all"}
	rules.Halves = kind.SpecAndStatus[E]()
	fill, prepare := rules.Default, rules.Prepare
	rules.Default = func(o *E) {
		if t := in(o).Template; t != nil {
			podspec.DefaultTemplate(t)
		}
		if fill != nil {
			fill(o)
		}
	}
	rules.Prepare = func(o, old *E) {
		if t := in(o).Template; t != nil {
			podspec.DropDisabledOfTemplate(t)
		}
		if prepare != nil {
			prepare(o, old)
		}
	}
	if rules.Warnings == nil {
		rules.Warnings = TemplateWarnings(in)
	}
	if in(new(E)).Wanted != nil {
		rules.Scale = scale(in)
	}
	return kind.Define[E, P](r, rules)
}

// Was are the parts of an object before a change; none of an object that is new.
func Was[E any](in func(*E) Parts, old *E) Parts {
	if old == nil {
		return Parts{}
	}
	return in(old)
}

// TemplateWarnings are about a template that is new or has changed.
func TemplateWarnings[E any](in func(*E) Parts) func(o, old *E) []string {
	return func(o, old *E) []string {
		t := in(o).Template
		if t == nil || kind.Same(t, Was(in, old).Template) {
			return nil
		}
		return podspec.TemplateWarnings(t, templatePath)
	}
}

// NamedWarnings are TemplateWarnings of a workload whose own name is the beginning of its pods'.
func NamedWarnings[E any, P object[E]](in func(*E) Parts) func(o, old *E) []string {
	ofTemplate := TemplateWarnings(in)
	return func(o, old *E) []string {
		if old != nil {
			return ofTemplate(o, old)
		}
		return append(podspec.NamePrefixWarnings(P(o).GetName()), ofTemplate(o, nil)...)
	}
}

// ReadyDoc describes the column Ready, whose cells are a Ratio.
const ReadyDoc = "Number of the pod with ready state"

// Ratio is how many of the pods that are wanted there are.
func Ratio(part int32, whole *int32) string { return fmt.Sprintf("%d/%d", part, valueOf(whole)) }

func valueOf(n *int32) int32 {
	if n == nil {
		return 0
	}
	return *n
}

// Columns are the own columns of a workload, its age, its containers and images, and its selector unless selectorDoc is empty.
func Columns[E any, P object[E]](in func(*E) Parts, selectorDoc string, own ...kind.Column[E]) []kind.Column[E] {
	columns := kind.Columns[E, P](own, podspec.WideColumns(func(o *E) *corev1.PodTemplateSpec { return in(o).Template })...)
	if selectorDoc == "" {
		return columns
	}
	return append(columns, kind.Text("Selector", selectorDoc, func(o *E) string { return metav1.FormatLabelSelector(in(o).Selector) }).Wide())
}

// scale is the scale subresource of a workload that counts its pods.
func scale[E any](in func(*E) Parts) *kind.Scale[E] {
	return &kind.Scale[E]{
		Replicas:       func(o *E) **int32 { return in(o).Wanted },
		StatusReplicas: func(o *E) int32 { return in(o).Present },
		Selector: func(o *E) string {
			selector, err := metav1.LabelSelectorAsSelector(in(o).Selector)
			if err != nil {
				return ""
			}
			return selector.String()
		},
	}
}
