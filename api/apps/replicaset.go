package apps

import (
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/workload"
)

// ReplicaSet keeps a number of equal pods running.
var ReplicaSet = workload.Define(kind.Resource{
	GroupVersion: appsv1.SchemeGroupVersion, Plural: "replicasets", ShortNames: []string{"rs"}, List: kind.ListOf[appsv1.ReplicaSetList],
}, inReplicaSet, kind.Rules[appsv1.ReplicaSet]{
	Default:  func(r *appsv1.ReplicaSet) { kind.FillPointer(&r.Spec.Replicas, 1) },
	Validate: validateReplicaSet,
	Warnings: workload.NamedWarnings(inReplicaSet),
	Columns: workload.Columns(inReplicaSet, kind.Doc(appsv1.ReplicaSetSpec{}, "selector"),
		kind.Int("Desired", kind.Doc(appsv1.ReplicaSetSpec{}, "replicas"), func(r *appsv1.ReplicaSet) int32 { return ptr.Deref(r.Spec.Replicas, 0) }),
		kind.Int("Current", kind.Doc(appsv1.ReplicaSetStatus{}, "replicas"), func(r *appsv1.ReplicaSet) int32 { return r.Status.Replicas }),
		kind.Int("Ready", kind.Doc(appsv1.ReplicaSetStatus{}, "readyReplicas"), func(r *appsv1.ReplicaSet) int32 { return r.Status.ReadyReplicas }),
	),
	Status: &kind.Part[appsv1.ReplicaSet]{ValidateUpdate: validateReplicaSetStatus},
})

func inReplicaSet(r *appsv1.ReplicaSet) workload.Parts {
	return workload.Parts{Template: &r.Spec.Template, Selector: r.Spec.Selector, Wanted: &r.Spec.Replicas, Present: r.Status.Replicas}
}

func validateReplicaSet(r, old *appsv1.ReplicaSet) field.ErrorList {
	var ps workload.Problems
	is, was := inReplicaSet(r), workload.Was(inReplicaSet, old)
	ps.Count("replicas", r.Spec.Replicas)
	ps.Count("minReadySeconds", &r.Spec.MinReadySeconds)
	ps.Selected(ps.Selects(is), is, was)
	ps.SameSelector(is, was)
	return ps.List
}

func validateReplicaSetStatus(r, _ *appsv1.ReplicaSet) field.ErrorList {
	var ps workload.Problems
	s := &r.Status
	replicas, labelled := workload.Counted("replicas", s.Replicas), workload.Counted("fullyLabeledReplicas", s.FullyLabeledReplicas)
	ready, available := workload.Counted("readyReplicas", s.ReadyReplicas), workload.Counted("availableReplicas", s.AvailableReplicas)
	ps.Numbers(replicas, labelled, ready, available, workload.Observed(s.ObservedGeneration),
		workload.Counted("terminatingReplicas", ptr.Deref(s.TerminatingReplicas, 0)))
	ps.AtMost(replicas, labelled, ready, available)
	ps.AtMost(ready, available)
	return ps.List
}
