package core

import (
	"maps"
	"strconv"

	corev1 "k8s.io/api/core/v1"
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
	Halves:  kind.SpecAndStatus[corev1.ReplicationController](),
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
	kind.FillPointer(&c.Spec.Replicas, 1)
}

func validateReplicationController(c, old *corev1.ReplicationController) field.ErrorList {
	path := field.NewPath("spec")
	var ps kind.Problems
	ps.NotNegative(path, "minReadySeconds", int64(c.Spec.MinReadySeconds))
	ps.NotNegative(path, "replicas", int64(*c.Spec.Replicas))
	if len(c.Spec.Selector) == 0 {
		ps.Required(path, "selector", "")
	}
	t, at := c.Spec.Template, path.Child("template")
	if t == nil {
		ps.Required(at, "", "")
		return ps.List
	}
	if !labels.SelectorFromSet(c.Spec.Selector).Matches(labels.Set(t.Labels)) {
		ps.Invalid(at.Child("metadata", "labels"), "", t.Labels, "`selector` does not match template `labels`")
	}
	if old != nil && old.Spec.Template != nil {
		ps.Add(podspec.ValidateTemplateUpdate(t, old.Spec.Template, at))
	} else {
		ps.Add(podspec.ValidateTemplate(t, at))
	}
	if t.Spec.RestartPolicy != corev1.RestartPolicyAlways {
		kind.Unsupported(&ps, at.Child("spec", "restartPolicy"), "", t.Spec.RestartPolicy, corev1.RestartPolicyAlways)
	}
	if t.Spec.ActiveDeadlineSeconds != nil {
		ps.Forbidden(at.Child("spec", "activeDeadlineSeconds"), "", "pods of a ReplicationController run forever")
	}
	return ps.List
}

func validateReplicationStatus(s *corev1.ReplicationControllerStatus) field.ErrorList {
	var ps kind.Problems
	path := field.NewPath("status")
	for _, c := range []struct {
		name  string
		value int32
	}{
		{"replicas", s.Replicas}, {"fullyLabeledReplicas", s.FullyLabeledReplicas},
		{"readyReplicas", s.ReadyReplicas}, {"availableReplicas", s.AvailableReplicas},
	} {
		ps.NotNegative(path, c.name, int64(c.value))
		if c.value > s.Replicas {
			ps.Invalid(path.Child(c.name), "", c.value, "cannot be greater than status.replicas")
		}
	}
	ps.NotNegative(path, "observedGeneration", s.ObservedGeneration)
	if s.AvailableReplicas > s.ReadyReplicas {
		ps.Invalid(path, "availableReplicas", s.AvailableReplicas, "cannot be greater than readyReplicas")
	}
	return ps.List
}
