package core

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
)

var templatePath = field.NewPath("template")

// PodTemplate is a description of pods to be made, kept by itself.
var PodTemplate = kind.Define(kind.Resource{
	GroupVersion: corev1.SchemeGroupVersion, Plural: "podtemplates", Namespaced: true,
	List: kind.ListOf[corev1.PodTemplateList], HasGeneration: true, DeleteReturnsObject: true,
}, kind.Rules[corev1.PodTemplate]{
	Default: func(t *corev1.PodTemplate) { podspec.DefaultTemplate(&t.Template) },
	Prepare: func(next, _ *corev1.PodTemplate) { podspec.DropDisabledOfTemplate(&next.Template) },
	Validate: func(next, old *corev1.PodTemplate) field.ErrorList {
		if old != nil {
			return podspec.ValidateTemplateUpdate(&next.Template, &old.Template, templatePath)
		}
		return podspec.ValidateTemplate(&next.Template, templatePath)
	},
	Warnings: func(next, old *corev1.PodTemplate) []string {
		if old != nil && kind.Same(&next.Template, &old.Template) {
			return nil
		}
		return podspec.TemplateWarnings(&next.Template, templatePath)
	},
	SpecChanged: func(next, old *corev1.PodTemplate) bool { return !kind.Same(&next.Template, &old.Template) },
	Columns: append(append([]kind.Column[corev1.PodTemplate]{kind.NameColumn[corev1.PodTemplate]()},
		podspec.Columns(func(t *corev1.PodTemplate) *corev1.PodTemplateSpec { return &t.Template })...),
		kind.Text("Pod Labels", "The labels for the pod template.", func(t *corev1.PodTemplate) string {
			if len(t.Template.Labels) == 0 {
				return none
			}
			return metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: t.Template.Labels})
		})),
})
