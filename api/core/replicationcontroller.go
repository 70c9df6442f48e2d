package core

import (
	"maps"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
)

// ReplicationController is the kind of replication controllers, the ancestors of replica sets.
var ReplicationController = kind.Define(kind.Resource{
	GroupVersion: corev1.SchemeGroupVersion, Plural: "replicationcontrollers", ShortNames: []string{"rc"}, Categories: []string{"all"}, Namespaced: true,
	StoragePath: "controllers",
	List:        kind.ListOf[corev1.ReplicationControllerList], HasGeneration: true, OrphanByDefault: true,
}, kind.Rules[corev1.ReplicationController]{
	Default: defaultReplicationController,
	Halves: kind.SpecAndStatus(func(c *corev1.ReplicationController) (*corev1.ReplicationControllerSpec, *corev1.ReplicationControllerStatus) {
		return &c.Spec, &c.Status
	}),
	Prepare: func(new, old *corev1.ReplicationController) {
		if old == nil && new.Spec.Template != nil {
			podspec.DropDisabledOfTemplate(new.Spec.Template)
		}
	},
	Validate: validateReplicationController,
	Warnings: func(new, old *corev1.ReplicationController) []string {
		if new.Spec.Template == nil || old != nil && old.Generation == new.Generation {
			return nil
		}
		return podspec.TemplateWarnings(new.Spec.Template, field.NewPath("spec", "template"))
	},
	Fields: []kind.Field[corev1.ReplicationController]{
		{Name: "status.replicas", Value: func(c *corev1.ReplicationController) string { return strconv.Itoa(int(c.Status.Replicas)) }},
	},
	Columns: replicationControllerColumns,
	Status: &kind.Part[corev1.ReplicationController]{
		ValidateUpdate: func(new, _ *corev1.ReplicationController) field.ErrorList {
			return validateReplicationStatus(&new.Status)
		},
	},
	Scale: &kind.Scale[corev1.ReplicationController]{
		Replicas:       func(c *corev1.ReplicationController) **int32 { return &c.Spec.Replicas },
		StatusReplicas: func(c *corev1.ReplicationController) int32 { return c.Status.Replicas },
		Selector:       func(c *corev1.ReplicationController) string { return labels.SelectorFromSet(c.Spec.Selector).String() },
	},
})

var replicationControllerColumns = kind.Columns([]kind.Column[corev1.ReplicationController]{
	kind.Int("Desired", kind.Doc(corev1.ReplicationControllerSpec{}, "replicas"), func(c *corev1.ReplicationController) int32 { return *c.Spec.Replicas }),
	kind.Int("Current", kind.Doc(corev1.ReplicationControllerStatus{}, "replicas"), func(c *corev1.ReplicationController) int32 { return c.Status.Replicas }),
	kind.Int("Ready", kind.Doc(corev1.ReplicationControllerStatus{}, "readyReplicas"), func(c *corev1.ReplicationController) int32 { return c.Status.ReadyReplicas }),
}, append(podspec.WideColumns(func(c *corev1.ReplicationController) *corev1.PodTemplateSpec { return c.Spec.Template }),
	kind.Text("Selector", kind.Doc(corev1.ReplicationControllerSpec{}, "selector"), func(c *corev1.ReplicationController) string {
		return metav1.FormatLabelSelector(metav1.SetAsLabelSelector(c.Spec.Selector))
	}).Wide())...)

// defaultReplicationController lets the template's labels be the selector and the controller's own.
func defaultReplicationController(c *corev1.ReplicationController) {
	if c.Spec.Template != nil {
		podspec.DefaultTemplate(c.Spec.Template)
		if own := c.Spec.Template.Labels; own != nil {
			if len(c.Spec.Selector) == 0 {
				c.Spec.Selector = maps.Clone(own)
			}
			if len(c.Labels) == 0 {
				c.Labels = maps.Clone(own)
			}
		}
	}
	if c.Spec.Replicas == nil {
		one := int32(1)
		c.Spec.Replicas = &one
	}
}

func validateReplicationController(c, old *corev1.ReplicationController) field.ErrorList {
	path := field.NewPath("spec")
	errs := apivalidation.ValidateNonnegativeField(int64(c.Spec.MinReadySeconds), path.Child("minReadySeconds"))
	errs = append(errs, apivalidation.ValidateNonnegativeField(int64(*c.Spec.Replicas), path.Child("replicas"))...)
	if len(c.Spec.Selector) == 0 {
		errs = append(errs, field.Required(path.Child("selector"), ""))
	}
	t, at := c.Spec.Template, path.Child("template")
	if t == nil {
		return append(errs, field.Required(at, ""))
	}
	if !labels.SelectorFromSet(c.Spec.Selector).Matches(labels.Set(t.Labels)) {
		errs = append(errs, field.Invalid(at.Child("metadata", "labels"), t.Labels, "`selector` does not match template `labels`"))
	}
	if old != nil && old.Spec.Template != nil {
		errs = append(errs, podspec.ValidateTemplateUpdate(t, old.Spec.Template, at)...)
	} else {
		errs = append(errs, podspec.ValidateTemplate(t, at)...)
	}
	if t.Spec.RestartPolicy != corev1.RestartPolicyAlways {
		errs = append(errs, field.NotSupported(at.Child("spec", "restartPolicy"), t.Spec.RestartPolicy, []corev1.RestartPolicy{corev1.RestartPolicyAlways}))
	}
	if t.Spec.ActiveDeadlineSeconds != nil {
		errs = append(errs, field.Forbidden(at.Child("spec", "activeDeadlineSeconds"), "pods of a ReplicationController run forever"))
	}
	return errs
}

func validateReplicationStatus(s *corev1.ReplicationControllerStatus) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("status")
	for _, c := range []struct {
		name  string
		value int32
	}{
		{"replicas", s.Replicas}, {"fullyLabeledReplicas", s.FullyLabeledReplicas},
		{"readyReplicas", s.ReadyReplicas}, {"availableReplicas", s.AvailableReplicas},
	} {
		errs = append(errs, apivalidation.ValidateNonnegativeField(int64(c.value), path.Child(c.name))...)
		if c.value > s.Replicas {
			errs = append(errs, field.Invalid(path.Child(c.name), c.value, "cannot be greater than status.replicas"))
		}
	}
	errs = append(errs, apivalidation.ValidateNonnegativeField(s.ObservedGeneration, path.Child("observedGeneration"))...)
	if s.AvailableReplicas > s.ReadyReplicas {
		errs = append(errs, field.Invalid(path.Child("availableReplicas"), s.AvailableReplicas, "cannot be greater than readyReplicas"))
	}
	return errs
}
