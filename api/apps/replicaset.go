package apps

import (
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
)

// ReplicaSet keeps a number of equal pods running.
var ReplicaSet = kind.Define(kind.Resource{
	GroupVersion: appsv1.SchemeGroupVersion, Plural: "replicasets", ShortNames: []string{"rs"}, Categories: []string{"all"}, Namespaced: true,
	List: kind.ListOf[appsv1.ReplicaSetList], HasGeneration: true,
}, kind.Rules[appsv1.ReplicaSet]{
	Halves: kind.SpecAndStatus[appsv1.ReplicaSet](),
	Default: func(r *appsv1.ReplicaSet) {
		podspec.DefaultTemplate(&r.Spec.Template)
		kind.FillPointer(&r.Spec.Replicas, 1)
	},
	Prepare:  preparing(inReplicaSet),
	Validate: validateReplicaSet,
	Warnings: namedWarnings(inReplicaSet),
	Columns: kind.Columns([]kind.Column[appsv1.ReplicaSet]{
		kind.Int("Desired", kind.Doc(appsv1.ReplicaSetSpec{}, "replicas"), func(r *appsv1.ReplicaSet) int32 { return valueOf(r.Spec.Replicas) }),
		kind.Int("Current", kind.Doc(appsv1.ReplicaSetStatus{}, "replicas"), func(r *appsv1.ReplicaSet) int32 { return r.Status.Replicas }),
		kind.Int("Ready", kind.Doc(appsv1.ReplicaSetStatus{}, "readyReplicas"), func(r *appsv1.ReplicaSet) int32 { return r.Status.ReadyReplicas }),
	}, selectedColumns(inReplicaSet, kind.Doc(appsv1.ReplicaSetSpec{}, "selector"))...),
	Status: &kind.Part[appsv1.ReplicaSet]{ValidateUpdate: validateReplicaSetStatus},
	Scale:  scale(inReplicaSet),
})

func inReplicaSet(r *appsv1.ReplicaSet) workload {
	return workload{&r.Spec.Template, r.Spec.Selector, &r.Spec.Replicas, r.Status.Replicas}
}

func validateReplicaSet(new, old *appsv1.ReplicaSet) field.ErrorList {
	var ps problems
	s := &new.Spec
	ps.NotNegative(specPath, "replicas", int64(valueOf(s.Replicas)))
	ps.NotNegative(specPath, "minReadySeconds", int64(s.MinReadySeconds))
	selector := ps.selector(s.Selector)
	if old == nil {
		ps.selected(selector, &s.Template, nil)
	} else {
		ps.selected(selector, &s.Template, &old.Spec.Template)
		ps.sameSelector(s.Selector, old.Spec.Selector)
	}
	return ps.List
}

func validateReplicaSetStatus(new, _ *appsv1.ReplicaSet) field.ErrorList {
	var ps problems
	s := &new.Status
	replicas, labelled := count{"replicas", int64(s.Replicas)}, count{"fullyLabeledReplicas", int64(s.FullyLabeledReplicas)}
	ready, available := count{"readyReplicas", int64(s.ReadyReplicas)}, count{"availableReplicas", int64(s.AvailableReplicas)}
	ps.counts(replicas, labelled, ready, available, count{"observedGeneration", s.ObservedGeneration},
		count{"terminatingReplicas", int64(valueOf(s.TerminatingReplicas))})
	ps.atMost(replicas, labelled, ready, available)
	ps.atMost(ready, available)
	return ps.List
}
