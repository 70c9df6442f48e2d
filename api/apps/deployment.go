package apps

import (
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
)

// Deployment keeps a number of equal pods running and replaces them step by step when their template changes.
var Deployment = kind.Define(kind.Resource{
	GroupVersion: appsv1.SchemeGroupVersion, Plural: "deployments", ShortNames: []string{"deploy"}, Categories: []string{"all"}, Namespaced: true,
	List: kind.ListOf[appsv1.DeploymentList], HasGeneration: true,
}, kind.Rules[appsv1.Deployment]{
	Halves:   kind.SpecAndStatus[appsv1.Deployment](),
	Default:  defaultDeployment,
	Prepare:  preparing(inDeployment),
	Validate: validateDeployment,
	Warnings: namedWarnings(inDeployment),
	// Annotations count too: they are copied to ReplicaSets.
	SpecChanged: func(new, old *appsv1.Deployment) bool {
		return !kind.Same(&new.Spec, &old.Spec) || !maps.Equal(new.Annotations, old.Annotations)
	},
	Columns: kind.Columns([]kind.Column[appsv1.Deployment]{
		kind.Text("Ready", readyDoc, func(d *appsv1.Deployment) string { return ratio(d.Status.ReadyReplicas, valueOf(d.Spec.Replicas)) }),
		kind.Count("Up-to-date", kind.Doc(appsv1.DeploymentStatus{}, "updatedReplicas"), func(d *appsv1.Deployment) int32 { return d.Status.UpdatedReplicas }),
		kind.Count("Available", kind.Doc(appsv1.DeploymentStatus{}, "availableReplicas"), func(d *appsv1.Deployment) int32 { return d.Status.AvailableReplicas }),
	}, selectedColumns(inDeployment, kind.Doc(appsv1.DeploymentSpec{}, "selector"))...),
	Status: &kind.Part[appsv1.Deployment]{
		Prepare:        func(new, old *appsv1.Deployment) { new.Labels = old.Labels },
		ValidateUpdate: validateDeploymentStatus,
	},
	Scale: scale(inDeployment),
})

func inDeployment(d *appsv1.Deployment) workload {
	return workload{&d.Spec.Template, d.Spec.Selector, &d.Spec.Replicas, d.Status.Replicas}
}

func defaultDeployment(d *appsv1.Deployment) {
	s := &d.Spec
	podspec.DefaultTemplate(&s.Template)
	kind.FillPointer(&s.Replicas, 1)
	if s.Strategy.Type == "" {
		s.Strategy.Type = appsv1.RollingUpdateDeploymentStrategyType
	}
	if s.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		if s.Strategy.RollingUpdate == nil {
			s.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{}
		}
		kind.FillPointer(&s.Strategy.RollingUpdate.MaxUnavailable, intstr.FromString("25%"))
		kind.FillPointer(&s.Strategy.RollingUpdate.MaxSurge, intstr.FromString("25%"))
	}
	kind.FillPointer(&s.RevisionHistoryLimit, 10)
	kind.FillPointer(&s.ProgressDeadlineSeconds, 600)
}

func validateDeployment(new, old *appsv1.Deployment) field.ErrorList {
	var ps problems
	s := &new.Spec
	ps.NotNegative(specPath, "replicas", int64(valueOf(s.Replicas)))
	selector := ps.selector(s.Selector)
	if old == nil {
		ps.selected(selector, &s.Template, nil)
	} else {
		ps.selected(selector, &s.Template, &old.Spec.Template)
	}
	ps.deploymentStrategy(&s.Strategy)
	ps.NotNegative(specPath, "minReadySeconds", int64(s.MinReadySeconds))
	ps.NotNegative(specPath, "revisionHistoryLimit", int64(valueOf(s.RevisionHistoryLimit)))
	if deadline := s.ProgressDeadlineSeconds; deadline != nil {
		ps.NotNegative(specPath, "progressDeadlineSeconds", int64(*deadline))
		if *deadline <= s.MinReadySeconds {
			ps.Invalid(specPath, "progressDeadlineSeconds", *deadline, "must be greater than minReadySeconds")
		}
	}
	if old != nil {
		ps.sameSelector(s.Selector, old.Spec.Selector)
	}
	return ps.List
}

func (ps *problems) deploymentStrategy(s *appsv1.DeploymentStrategy) {
	at := specPath.Child("strategy")
	u := s.RollingUpdate
	switch s.Type {
	case appsv1.RecreateDeploymentStrategyType:
		if u != nil {
			ps.Forbidden(at, "rollingUpdate", "may not be set when type is Recreate")
		}
		return
	case appsv1.RollingUpdateDeploymentStrategyType:
	default:
		kind.OneOf(&ps.Problems, at, "", s.Type, appsv1.RecreateDeploymentStrategyType, appsv1.RollingUpdateDeploymentStrategyType)
		return
	}
	if u == nil {
		ps.Required(at, "rollingUpdate", "must be set when type is RollingUpdate")
		return
	}
	at = at.Child("rollingUpdate")
	ps.intOrPercent(at, "maxUnavailable", u.MaxUnavailable)
	ps.intOrPercent(at, "maxSurge", u.MaxSurge)
	if amount(u.MaxUnavailable) == 0 && amount(u.MaxSurge) == 0 {
		ps.Invalid(at, "maxUnavailable", u.MaxUnavailable, "may not be 0 when maxSurge is 0, since then no pod could be replaced")
	}
	ps.atMostAll(at, "maxUnavailable", u.MaxUnavailable)
}

func validateDeploymentStatus(new, old *appsv1.Deployment) field.ErrorList {
	var ps problems
	s := &new.Status
	replicas, updated := count{"replicas", int64(s.Replicas)}, count{"updatedReplicas", int64(s.UpdatedReplicas)}
	ready, available := count{"readyReplicas", int64(s.ReadyReplicas)}, count{"availableReplicas", int64(s.AvailableReplicas)}
	ps.counts(count{"observedGeneration", s.ObservedGeneration}, replicas, updated, ready, available,
		count{"unavailableReplicas", int64(s.UnavailableReplicas)}, count{"terminatingReplicas", int64(valueOf(s.TerminatingReplicas))})
	ps.atMost(replicas, updated, ready, available)
	ps.atMost(ready, available)
	ps.collisions(s.CollisionCount, old.Status.CollisionCount)
	return ps.List
}
