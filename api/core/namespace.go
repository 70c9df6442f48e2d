package core

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// Namespace is the kind of namespaces. A namespace goes only when its content is gone: spec.finalizers holds
// "kubernetes" until the namespace controller takes it out through the finalize subresource.
var Namespace = kind.Define(kind.Resource{
	GroupVersion: corev1.SchemeGroupVersion, Plural: "namespaces", ShortNames: []string{"ns"},
	Verbs: []kind.Verb{kind.Create, kind.Delete, kind.Get, kind.List, kind.Patch, kind.Update, kind.Watch},
	List:  kind.ListOf[corev1.NamespaceList], IsNamespace: true, DeleteReturnsObject: true, ValidName: validation.ValidateNamespaceName,
}, kind.Rules[corev1.Namespace]{
	Default: defaultNamespace,
	Halves:  kind.SpecAndStatus[corev1.Namespace](),
	Prepare: prepareNamespace,
	Validate: func(n, _ *corev1.Namespace) field.ErrorList {
		return validateFinalizers(n.Spec.Finalizers, func(int) *field.Path { return field.NewPath("spec", "finalizers") })
	},
	ValidateUpdate: func(_, _ *corev1.Namespace) field.ErrorList { return nil },
	Finalized:      func(n *corev1.Namespace) bool { return len(n.Spec.Finalizers) == 0 },
	Deleting:       func(n *corev1.Namespace) { n.Status.Phase = corev1.NamespaceTerminating },
	Fields: []kind.Field[corev1.Namespace]{
		{Name: "status.phase", Value: func(n *corev1.Namespace) string { return string(n.Status.Phase) }},
	},
	Columns: kind.Columns([]kind.Column[corev1.Namespace]{
		kind.Text("Status", "The status of the namespace", func(n *corev1.Namespace) string { return string(n.Status.Phase) }),
	}),
	Status: &kind.Part[corev1.Namespace]{
		Prepare:        func(next, _ *corev1.Namespace) { nameNamespaceLabel(next) },
		ValidateUpdate: validateNamespaceStatus,
	},
	Parts: []kind.Part[corev1.Namespace]{{
		Name: "finalize", Verbs: []kind.Verb{kind.Update},
		Prepare: func(next, old *corev1.Namespace) { next.Status = old.Status; nameNamespaceLabel(next) },
		ValidateUpdate: func(next, _ *corev1.Namespace) field.ErrorList {
			return validateFinalizers(next.Spec.Finalizers, field.NewPath("spec", "finalizers").Index)
		},
	}},
})

// defaultNamespace gives the label by which selectors find a namespace by its name.
func defaultNamespace(n *corev1.Namespace) {
	if n.Name != "" {
		nameNamespaceLabel(n)
	}
}

func nameNamespaceLabel(n *corev1.Namespace) {
	if n.Name == "" || n.Labels[corev1.LabelMetadataName] == n.Name {
		return
	}
	labels := make(map[string]string, len(n.Labels)+1)
	for k, v := range n.Labels {
		labels[k] = v
	}
	labels[corev1.LabelMetadataName] = n.Name
	n.Labels = labels
}

func prepareNamespace(next, old *corev1.Namespace) {
	if old != nil {
		next.Spec.Finalizers = old.Spec.Finalizers
	} else {
		next.Status.Phase = corev1.NamespaceActive
		if !slices.Contains(next.Spec.Finalizers, corev1.FinalizerKubernetes) {
			next.Spec.Finalizers = append(next.Spec.Finalizers, corev1.FinalizerKubernetes)
		}
	}
	nameNamespaceLabel(next)
}

func validateNamespaceStatus(next, _ *corev1.Namespace) field.ErrorList {
	var ps kind.Problems
	path := field.NewPath("status", "phase")
	if next.DeletionTimestamp.IsZero() {
		if next.Status.Phase != corev1.NamespaceActive {
			ps.Invalid(path, "", next.Status.Phase, "may only be 'Active' while there is no deletionTimestamp")
			return ps.List
		}
		return nil
	}
	if next.Status.Phase != corev1.NamespaceTerminating {
		ps.Invalid(path, "", next.Status.Phase, "may only be 'Terminating' once there is a deletionTimestamp")
		return ps.List
	}
	return nil
}

// validateFinalizers judges the names in a namespace's spec.finalizers; at gives the path to report for an index.
func validateFinalizers(finalizers []corev1.FinalizerName, at func(int) *field.Path) field.ErrorList {
	var ps kind.Problems
	for n, f := range finalizers {
		ps.Add(validation.ValidateFinalizerName(string(f), at(n)))
		if !strings.Contains(string(f), "/") && f != corev1.FinalizerKubernetes &&
			f != "orphan" && f != "foregroundDeletion" {
			ps.Invalid(at(n), "", f, "name is neither a standard finalizer name nor is it fully qualified")
		}
	}
	return ps.List
}
