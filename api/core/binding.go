package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// Binding is the body with which a scheduler gives a pod its node. It is acted on, never stored.
var Binding = kind.Define(kind.Resource{
	GroupVersion: corev1.SchemeGroupVersion, Plural: "bindings", Namespaced: true, Verbs: []kind.Verb{kind.Create},
}, kind.Rules[corev1.Binding]{
	Validate: func(b, _ *corev1.Binding) field.ErrorList { return ValidateBinding(b) },
})

// ValidateBinding judges the target of a binding: it must name a node.
func ValidateBinding(b *corev1.Binding) field.ErrorList {
	var ps kind.Problems
	path := field.NewPath("target")
	if b.Target.Kind != "" && b.Target.Kind != "Node" {
		kind.Unsupported(&ps, path, "kind", b.Target.Kind, "Node", "<empty>")
	}
	if b.Target.Name == "" {
		ps.Required(path, "name", "")
		return ps.List
	}
	ps.Messages(path, "name", b.Target.Name, validation.NameIsDNSSubdomain(b.Target.Name, false))
	return ps.List
}
