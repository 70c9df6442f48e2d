package core

import (
	"maps"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
	"github.com/wheelhouse-k8s/wheelhouse/api/workload"
)

// ReplicationController is the kind of replication controllers, the ancestors of replica sets.
var ReplicationController = workload.Define(kind.Resource{
	GroupVersion: corev1.SchemeGroupVersion, Plural: "replicationcontrollers", ShortNames: []string{"rc"}, StoragePath: "controllers",
	List: kind.ListOf[corev1.ReplicationControllerList], OrphanByDefault: true,
}, inReplicationController, kind.Rules[corev1.ReplicationController]{
	Default:  defaultReplicationController,
	Validate: validateReplicationController,
	Warnings: func(c, old *corev1.ReplicationController) []string {
		if c.Spec.Template == nil || old != nil && old.Generation == c.Generation {
			return nil
		}
		return podspec.TemplateWarnings(c.Spec.Template, field.NewPath("spec", "template"))
	},
	Fields: []kind.Field[corev1.ReplicationController]{
		{Name: "status.replicas", Value: func(c *corev1.ReplicationController) string { return strconv.Itoa(int(c.Status.Replicas)) }},
	},
	Columns: workload.Columns(inReplicationController, kind.Doc(corev1.ReplicationControllerSpec{}, "selector"),
		kind.Int("Desired", kind.Doc(corev1.ReplicationControllerSpec{}, "replicas"), func(c *corev1.ReplicationController) int32 { return ptr.Deref(c.Spec.Replicas, 0) }),
		kind.Int("Current", kind.Doc(corev1.ReplicationControllerStatus{}, "replicas"), func(c *corev1.ReplicationController) int32 { return c.Status.Replicas }),
		kind.Int("Ready", kind.Doc(corev1.ReplicationControllerStatus{}, "readyReplicas"), func(c *corev1.ReplicationController) int32 { return c.Status.ReadyReplicas }),
	),
	Status: &kind.Part[corev1.ReplicationController]{ValidateUpdate: validateReplicationControllerStatus},
})

func inReplicationController(c *corev1.ReplicationController) workload.Parts {
	return workload.Parts{Template: c.Spec.Template, Selector: &metav1.LabelSelector{MatchLabels: c.Spec.Selector},
		Wanted: &c.Spec.Replicas, Present: c.Status.Replicas}
}

// defaultReplicationController lets the template's labels be the selector and the controller's own.
func defaultReplicationController(c *corev1.ReplicationController) {
	if c.Spec.Template != nil && c.Spec.Template.Labels != nil {
		own := c.Spec.Template.Labels
		if len(c.Spec.Selector) == 0 {
			c.Spec.Selector = maps.Clone(own)
		}
		if len(c.Labels) == 0 {
			c.Labels = maps.Clone(own)
		}
	}
	kind.FillPointer(&c.Spec.Replicas, 1)
}

func validateReplicationController(c, old *corev1.ReplicationController) field.ErrorList {
	var ps workload.Problems
	ps.Count("minReadySeconds", &c.Spec.MinReadySeconds)
	ps.Count("replicas", c.Spec.Replicas)
	if len(c.Spec.Selector) == 0 {
		ps.Required(specPath, "selector", "")
	}
	ps.Selected(labels.SelectorFromSet(c.Spec.Selector), inReplicationController(c), workload.Was(inReplicationController, old))
	return ps.List
}

func validateReplicationControllerStatus(c, _ *corev1.ReplicationController) field.ErrorList {
	var ps workload.Problems
	s := &c.Status
	replicas, labelled := workload.Counted("replicas", s.Replicas), workload.Counted("fullyLabeledReplicas", s.FullyLabeledReplicas)
	ready, available := workload.Counted("readyReplicas", s.ReadyReplicas), workload.Counted("availableReplicas", s.AvailableReplicas)
	ps.Numbers(replicas, labelled, ready, available, workload.Observed(s.ObservedGeneration))
	ps.AtMost(replicas, labelled, ready, available)
	ps.AtMost(ready, available)
	return ps.List
}
