package apps

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
)

// Deployment keeps a number of equal pods running and replaces them step by step when their template changes.
var Deployment = kind.Kind[*appsv1.Deployment]{
	Group: "apps", Version: "v1", Kind: "Deployment", Plural: "deployments",
	ShortNames: []string{"deploy"}, Categories: []string{"all"},
	Namespaced: true,
	New:        func() *appsv1.Deployment { return &appsv1.Deployment{} },
	NewList:    func() runtime.Object { return &appsv1.DeploymentList{} },

	Default:   defaultDeployment,
	ValidName: apivalidation.NameIsDNSSubdomain,
	PrepareCreate: func(d *appsv1.Deployment) {
		d.Status = appsv1.DeploymentStatus{}
		podspec.DropDisabledOfTemplate(&d.Spec.Template)
	},
	PrepareUpdate: func(new, old *appsv1.Deployment) {
		new.Status = old.Status
		podspec.DropDisabledOfTemplate(&new.Spec.Template)
	},
	Validate: func(d *appsv1.Deployment) field.ErrorList { return validateDeployment(d, nil) },
	ValidateUpdate: func(new, old *appsv1.Deployment) field.ErrorList {
		return append(validateDeployment(new, old), immutableSelector(new.Spec.Selector, old.Spec.Selector)...)
	},
	Warnings: func(new, old *appsv1.Deployment) []string {
		switch {
		case old == nil:
			return append(podspec.NamePrefixWarnings(new.Name), podspec.TemplateWarnings(&new.Spec.Template, templatePath)...)
		case kind.Same(&new.Spec.Template, &old.Spec.Template):
			return nil
		}
		return podspec.TemplateWarnings(&new.Spec.Template, templatePath)
	},
	HasGeneration: true,
	// Annotations count too: they are copied to ReplicaSets.
	SpecChanged: func(new, old *appsv1.Deployment) bool {
		return !kind.Same(&new.Spec, &old.Spec) || !sameStrings(new.Annotations, old.Annotations)
	},

	Columns: []kind.Column[*appsv1.Deployment]{
		kind.NameColumn[*appsv1.Deployment](),
		{Name: "Ready", Type: "string", Description: readyDoc,
			Cell: func(d *appsv1.Deployment, _ time.Time) any {
				return ratio(d.Status.ReadyReplicas, valueOf(d.Spec.Replicas))
			}},
		{Name: "Up-to-date", Type: "string", Description: kind.Doc(appsv1.DeploymentStatus{}, "updatedReplicas"),
			Cell: func(d *appsv1.Deployment, _ time.Time) any { return int64(d.Status.UpdatedReplicas) }},
		{Name: "Available", Type: "string", Description: kind.Doc(appsv1.DeploymentStatus{}, "availableReplicas"),
			Cell: func(d *appsv1.Deployment, _ time.Time) any { return int64(d.Status.AvailableReplicas) }},
		kind.AgeColumn[*appsv1.Deployment](),
		{Name: "Containers", Type: "string", Priority: 1, Description: containersDoc,
			Cell: func(d *appsv1.Deployment, _ time.Time) any {
				return podspec.ContainerNames(d.Spec.Template.Spec.Containers)
			}},
		{Name: "Images", Type: "string", Priority: 1, Description: imagesDoc,
			Cell: func(d *appsv1.Deployment, _ time.Time) any {
				return podspec.ContainerImages(d.Spec.Template.Spec.Containers)
			}},
		{Name: "Selector", Type: "string", Priority: 1, Description: kind.Doc(appsv1.DeploymentSpec{}, "selector"),
			Cell: func(d *appsv1.Deployment, _ time.Time) any { return metav1.FormatLabelSelector(d.Spec.Selector) }},
	},
	Status: &kind.Part[*appsv1.Deployment]{
		Prepare: func(new, old *appsv1.Deployment) {
			new.Spec = old.Spec
			new.Labels = old.Labels
		},
		ValidateUpdate: func(new, old *appsv1.Deployment) field.ErrorList {
			return append(validateDeploymentStatus(&new.Status), validateCollisionCount(new.Status.CollisionCount, old.Status.CollisionCount)...)
		},
	},
	Scale: &kind.Scale[*appsv1.Deployment]{
		SpecReplicas:   func(d *appsv1.Deployment) int32 { return valueOf(d.Spec.Replicas) },
		SetReplicas:    func(d *appsv1.Deployment, n int32) { d.Spec.Replicas = &n },
		StatusReplicas: func(d *appsv1.Deployment) int32 { return d.Status.Replicas },
		Selector:       func(d *appsv1.Deployment) string { return selectorText(d.Spec.Selector) },
	},
}

func defaultDeployment(d *appsv1.Deployment) {
	s := &d.Spec
	podspec.DefaultTemplate(&s.Template)
	defaultTo(&s.Replicas, 1)
	if s.Strategy.Type == "" {
		s.Strategy.Type = appsv1.RollingUpdateDeploymentStrategyType
	}
	if s.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		if s.Strategy.RollingUpdate == nil {
			s.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{}
		}
		defaultTo(&s.Strategy.RollingUpdate.MaxUnavailable, intstr.FromString("25%"))
		defaultTo(&s.Strategy.RollingUpdate.MaxSurge, intstr.FromString("25%"))
	}
	defaultTo(&s.RevisionHistoryLimit, 10)
	defaultTo(&s.ProgressDeadlineSeconds, 600)
}

func validateDeployment(new, old *appsv1.Deployment) field.ErrorList {
	s := &new.Spec
	errs := notNegative(valueOf(s.Replicas), specPath.Child("replicas"))
	selector, selectorErrs := validateSelector(s.Selector)
	errs = append(errs, selectorErrs...)
	if selector != nil {
		if old == nil {
			errs = append(errs, validateTemplate(&s.Template, nil, selector)...)
		} else {
			errs = append(errs, validateTemplate(&s.Template, &old.Spec.Template, selector)...)
		}
	}
	errs = append(errs, validateDeploymentStrategy(&s.Strategy, specPath.Child("strategy"))...)
	errs = append(errs, notNegative(s.MinReadySeconds, specPath.Child("minReadySeconds"))...)
	errs = append(errs, notNegative(valueOf(s.RevisionHistoryLimit), specPath.Child("revisionHistoryLimit"))...)
	if deadline := s.ProgressDeadlineSeconds; deadline != nil {
		at := specPath.Child("progressDeadlineSeconds")
		errs = append(errs, notNegative(*deadline, at)...)
		if *deadline <= s.MinReadySeconds {
			errs = append(errs, field.Invalid(at, *deadline, "must be greater than minReadySeconds"))
		}
	}
	return errs
}

func validateDeploymentStrategy(s *appsv1.DeploymentStrategy, at *field.Path) field.ErrorList {
	rolling := at.Child("rollingUpdate")
	switch s.Type {
	case appsv1.RecreateDeploymentStrategyType:
		if s.RollingUpdate != nil {
			return field.ErrorList{field.Forbidden(rolling, "may not be set when type is Recreate")}
		}
		return nil
	case appsv1.RollingUpdateDeploymentStrategyType:
		if s.RollingUpdate == nil {
			return field.ErrorList{field.Required(rolling, "must be set when type is RollingUpdate")}
		}
	default:
		return field.ErrorList{field.NotSupported(at, s.Type, []appsv1.DeploymentStrategyType{appsv1.RecreateDeploymentStrategyType, appsv1.RollingUpdateDeploymentStrategyType})}
	}
	u := s.RollingUpdate
	errs := validateIntOrPercent(u.MaxUnavailable, rolling.Child("maxUnavailable"))
	errs = append(errs, validateIntOrPercent(u.MaxSurge, rolling.Child("maxSurge"))...)
	if amount(u.MaxUnavailable) == 0 && amount(u.MaxSurge) == 0 {
		errs = append(errs, field.Invalid(rolling.Child("maxUnavailable"), u.MaxUnavailable, "may not be 0 when maxSurge is 0, since then no pod could be replaced"))
	}
	return append(errs, validateAtMostAll(u.MaxUnavailable, rolling.Child("maxUnavailable"))...)
}

func validateDeploymentStatus(s *appsv1.DeploymentStatus) field.ErrorList {
	replicas := count{"replicas", int64(s.Replicas)}
	updated := count{"updatedReplicas", int64(s.UpdatedReplicas)}
	ready := count{"readyReplicas", int64(s.ReadyReplicas)}
	available := count{"availableReplicas", int64(s.AvailableReplicas)}
	errs := validateCounts(count{"observedGeneration", s.ObservedGeneration}, replicas, updated, ready, available,
		count{"unavailableReplicas", int64(s.UnavailableReplicas)}, count{"terminatingReplicas", int64(valueOf(s.TerminatingReplicas))})
	errs = append(errs, atMost(updated, replicas)...)
	errs = append(errs, atMost(ready, replicas)...)
	errs = append(errs, atMost(available, replicas)...)
	return append(errs, atMost(available, ready)...)
}

func sameStrings(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for key, value := range a {
		if other, ok := b[key]; !ok || other != value {
			return false
		}
	}
	return true
}
