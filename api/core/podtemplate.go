package core

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
)

var templatePath = field.NewPath("template")

// PodTemplate is a description of pods to be made, kept by itself.
var PodTemplate = kind.Kind[*corev1.PodTemplate]{
	Version: "v1", Kind: "PodTemplate", Plural: "podtemplates",
	Namespaced: true,
	New:        func() *corev1.PodTemplate { return &corev1.PodTemplate{} },
	NewList:    func() runtime.Object { return &corev1.PodTemplateList{} },

	Default: func(t *corev1.PodTemplate) {
		podspec.DefaultTemplate(&t.Template)
	},
	ValidName:     apivalidation.NameIsDNSSubdomain,
	PrepareCreate: func(t *corev1.PodTemplate) { podspec.DropDisabledOfTemplate(&t.Template) },
	PrepareUpdate: func(new, _ *corev1.PodTemplate) { podspec.DropDisabledOfTemplate(&new.Template) },
	Validate: func(t *corev1.PodTemplate) field.ErrorList {
		return podspec.ValidateTemplate(&t.Template, templatePath)
	},
	ValidateUpdate: func(new, old *corev1.PodTemplate) field.ErrorList {
		return podspec.ValidateTemplateUpdate(&new.Template, &old.Template, templatePath)
	},
	Warnings: func(new, old *corev1.PodTemplate) []string {
		if old != nil && kind.Same(&new.Template, &old.Template) {
			return nil
		}
		return podspec.TemplateWarnings(&new.Template, templatePath)
	},
	HasGeneration:       true,
	SpecChanged:         func(new, old *corev1.PodTemplate) bool { return !kind.Same(&new.Template, &old.Template) },
	DeleteReturnsObject: true,

	Columns: []kind.Column[*corev1.PodTemplate]{
		kind.NameColumn[*corev1.PodTemplate](),
		{Name: "Containers", Type: "string", Description: "Names of each container in the template.",
			Cell: func(t *corev1.PodTemplate, _ time.Time) any {
				return podspec.ContainerNames(t.Template.Spec.Containers)
			}},
		{Name: "Images", Type: "string", Description: "Images referenced by each container in the template.",
			Cell: func(t *corev1.PodTemplate, _ time.Time) any {
				return podspec.ContainerImages(t.Template.Spec.Containers)
			}},
		{Name: "Pod Labels", Type: "string", Description: "The labels for the pod template.",
			Cell: func(t *corev1.PodTemplate, _ time.Time) any {
				if len(t.Template.Labels) == 0 {
					return none
				}
				return metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: t.Template.Labels})
			}},
	},
}
