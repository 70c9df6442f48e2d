package apps

import (
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/workload"
)

// Deployment keeps a number of equal pods running and replaces them step by step when their template changes.
var Deployment = workload.Define(kind.Resource{
	GroupVersion: appsv1.SchemeGroupVersion, Plural: "deployments", ShortNames: []string{"deploy"}, List: kind.ListOf[appsv1.DeploymentList],
}, inDeployment, kind.Rules[appsv1.Deployment]{
	Default:  defaultDeployment,
	Validate: validateDeployment,
	Warnings: workload.NamedWarnings(inDeployment),
	// Annotations count too: they are copied to ReplicaSets.
	SpecChanged: func(d, old *appsv1.Deployment) bool {
		return !kind.Same(&d.Spec, &old.Spec) || !maps.Equal(d.Annotations, old.Annotations)
	},
	Columns: workload.Columns(inDeployment, kind.Doc(appsv1.DeploymentSpec{}, "selector"),
		kind.Text("Ready", workload.ReadyDoc, func(d *appsv1.Deployment) string { return workload.Ratio(d.Status.ReadyReplicas, d.Spec.Replicas) }),
		kind.Count("Up-to-date", kind.Doc(appsv1.DeploymentStatus{}, "updatedReplicas"), func(d *appsv1.Deployment) int32 { return d.Status.UpdatedReplicas }),
		kind.Count("Available", kind.Doc(appsv1.DeploymentStatus{}, "availableReplicas"), func(d *appsv1.Deployment) int32 { return d.Status.AvailableReplicas }),
	),
	Status: &kind.Part[appsv1.Deployment]{
		Prepare:        func(d, old *appsv1.Deployment) { d.Labels = old.Labels },
		ValidateUpdate: validateDeploymentStatus,
	},
})

func inDeployment(d *appsv1.Deployment) workload.Parts {
	return workload.Parts{Template: &d.Spec.Template, Selector: d.Spec.Selector, Wanted: &d.Spec.Replicas, Present: d.Status.Replicas}
}

func defaultDeployment(d *appsv1.Deployment) {
	s := &d.Spec
	kind.FillPointer(&s.Replicas, 1)
	kind.Fill(&s.Strategy.Type, appsv1.RollingUpdateDeploymentStrategyType)
	if s.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		u := kind.FillPointer(&s.Strategy.RollingUpdate, appsv1.RollingUpdateDeployment{})
		kind.FillPointer(&u.MaxUnavailable, intstr.FromString("25%"))
		kind.FillPointer(&u.MaxSurge, intstr.FromString("25%"))
	}
	kind.FillPointer(&s.RevisionHistoryLimit, 10)
	kind.FillPointer(&s.ProgressDeadlineSeconds, 600)
}

func validateDeployment(d, old *appsv1.Deployment) field.ErrorList {
	var ps workload.Problems
	s, is, was := &d.Spec, inDeployment(d), workload.Was(inDeployment, old)
	ps.Count("replicas", s.Replicas)
	ps.Selected(ps.Selects(is), is, was)
	deploymentStrategy(&ps, &s.Strategy)
	ps.Count("minReadySeconds", &s.MinReadySeconds)
	ps.Count("revisionHistoryLimit", s.RevisionHistoryLimit)
	ps.Count("progressDeadlineSeconds", s.ProgressDeadlineSeconds)
	if deadline := s.ProgressDeadlineSeconds; deadline != nil && *deadline <= s.MinReadySeconds {
		ps.Invalid(specPath, "progressDeadlineSeconds", *deadline, "must be greater than minReadySeconds")
	}
	ps.SameSelector(is, was)
	return ps.List
}

func deploymentStrategy(ps *workload.Problems, s *appsv1.DeploymentStrategy) {
	at, u := specPath.Child("strategy"), s.RollingUpdate
	if s.Type == appsv1.RecreateDeploymentStrategyType && u != nil {
		ps.Forbidden(at, "rollingUpdate", "may not be set when type is Recreate")
	}
	if !rolls(ps, at, s.Type, appsv1.RecreateDeploymentStrategyType, appsv1.RollingUpdateDeploymentStrategyType, u != nil) {
		return
	}
	at = at.Child("rollingUpdate")
	steps(ps, at, u.MaxUnavailable, u.MaxSurge)
	if kind.Amount(u.MaxUnavailable) == 0 && kind.Amount(u.MaxSurge) == 0 {
		ps.Invalid(at, "maxUnavailable", u.MaxUnavailable, noStep)
	}
	ps.AtMostAll(at, "maxUnavailable", u.MaxUnavailable)
}

func validateDeploymentStatus(d, old *appsv1.Deployment) field.ErrorList {
	var ps workload.Problems
	s := &d.Status
	replicas, updated := workload.Counted("replicas", s.Replicas), workload.Counted("updatedReplicas", s.UpdatedReplicas)
	ready, available := workload.Counted("readyReplicas", s.ReadyReplicas), workload.Counted("availableReplicas", s.AvailableReplicas)
	ps.Numbers(workload.Observed(s.ObservedGeneration), replicas, updated, ready, available,
		workload.Counted("unavailableReplicas", s.UnavailableReplicas), workload.Counted("terminatingReplicas", ptr.Deref(s.TerminatingReplicas, 0)))
	ps.AtMost(replicas, updated, ready, available)
	ps.AtMost(ready, available)
	ps.Collisions(s.CollisionCount, old.Status.CollisionCount)
	return ps.List
}
