package apps

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
)

// ReplicaSet keeps a number of equal pods running.
var ReplicaSet = kind.Kind[*appsv1.ReplicaSet]{
	Group: "apps", Version: "v1", Kind: "ReplicaSet", Plural: "replicasets",
	ShortNames: []string{"rs"}, Categories: []string{"all"},
	Namespaced: true,
	New:        func() *appsv1.ReplicaSet { return &appsv1.ReplicaSet{} },
	NewList:    func() runtime.Object { return &appsv1.ReplicaSetList{} },

	Default: func(r *appsv1.ReplicaSet) {
		podspec.DefaultTemplate(&r.Spec.Template)
		defaultTo(&r.Spec.Replicas, 1)
	},
	ValidName: apivalidation.NameIsDNSSubdomain,
	PrepareCreate: func(r *appsv1.ReplicaSet) {
		r.Status = appsv1.ReplicaSetStatus{}
		podspec.DropDisabledOfTemplate(&r.Spec.Template)
	},
	PrepareUpdate: func(new, old *appsv1.ReplicaSet) {
		new.Status = old.Status
		podspec.DropDisabledOfTemplate(&new.Spec.Template)
	},
	Validate: func(r *appsv1.ReplicaSet) field.ErrorList { return validateReplicaSet(r, nil) },
	ValidateUpdate: func(new, old *appsv1.ReplicaSet) field.ErrorList {
		return append(validateReplicaSet(new, old), immutableSelector(new.Spec.Selector, old.Spec.Selector)...)
	},
	Warnings: func(new, old *appsv1.ReplicaSet) []string {
		switch {
		case old == nil:
			return append(podspec.NamePrefixWarnings(new.Name), podspec.TemplateWarnings(&new.Spec.Template, templatePath)...)
		case kind.Same(&new.Spec.Template, &old.Spec.Template):
			return nil
		}
		return podspec.TemplateWarnings(&new.Spec.Template, templatePath)
	},
	HasGeneration: true,
	SpecChanged:   func(new, old *appsv1.ReplicaSet) bool { return !kind.Same(&new.Spec, &old.Spec) },

	Columns: []kind.Column[*appsv1.ReplicaSet]{
		kind.NameColumn[*appsv1.ReplicaSet](),
		{Name: "Desired", Type: "integer", Description: kind.Doc(appsv1.ReplicaSetSpec{}, "replicas"),
			Cell: func(r *appsv1.ReplicaSet, _ time.Time) any { return int64(valueOf(r.Spec.Replicas)) }},
		{Name: "Current", Type: "integer", Description: kind.Doc(appsv1.ReplicaSetStatus{}, "replicas"),
			Cell: func(r *appsv1.ReplicaSet, _ time.Time) any { return int64(r.Status.Replicas) }},
		{Name: "Ready", Type: "integer", Description: kind.Doc(appsv1.ReplicaSetStatus{}, "readyReplicas"),
			Cell: func(r *appsv1.ReplicaSet, _ time.Time) any { return int64(r.Status.ReadyReplicas) }},
		kind.AgeColumn[*appsv1.ReplicaSet](),
		{Name: "Containers", Type: "string", Priority: 1, Description: containersDoc,
			Cell: func(r *appsv1.ReplicaSet, _ time.Time) any {
				return podspec.ContainerNames(r.Spec.Template.Spec.Containers)
			}},
		{Name: "Images", Type: "string", Priority: 1, Description: imagesDoc,
			Cell: func(r *appsv1.ReplicaSet, _ time.Time) any {
				return podspec.ContainerImages(r.Spec.Template.Spec.Containers)
			}},
		{Name: "Selector", Type: "string", Priority: 1, Description: kind.Doc(appsv1.ReplicaSetSpec{}, "selector"),
			Cell: func(r *appsv1.ReplicaSet, _ time.Time) any { return metav1.FormatLabelSelector(r.Spec.Selector) }},
	},
	Status: &kind.Part[*appsv1.ReplicaSet]{
		Prepare: func(new, old *appsv1.ReplicaSet) { new.Spec = old.Spec },
		ValidateUpdate: func(new, _ *appsv1.ReplicaSet) field.ErrorList {
			return validateReplicaSetStatus(&new.Status)
		},
	},
	Scale: &kind.Scale[*appsv1.ReplicaSet]{
		SpecReplicas:   func(r *appsv1.ReplicaSet) int32 { return valueOf(r.Spec.Replicas) },
		SetReplicas:    func(r *appsv1.ReplicaSet, n int32) { r.Spec.Replicas = &n },
		StatusReplicas: func(r *appsv1.ReplicaSet) int32 { return r.Status.Replicas },
		Selector:       func(r *appsv1.ReplicaSet) string { return selectorText(r.Spec.Selector) },
	},
}

func validateReplicaSet(new, old *appsv1.ReplicaSet) field.ErrorList {
	s := &new.Spec
	errs := notNegative(valueOf(s.Replicas), specPath.Child("replicas"))
	errs = append(errs, notNegative(s.MinReadySeconds, specPath.Child("minReadySeconds"))...)
	selector, selectorErrs := validateSelector(s.Selector)
	errs = append(errs, selectorErrs...)
	switch {
	case selector == nil:
		return errs
	case old == nil:
		return append(errs, validateTemplate(&s.Template, nil, selector)...)
	}
	return append(errs, validateTemplate(&s.Template, &old.Spec.Template, selector)...)
}

func validateReplicaSetStatus(s *appsv1.ReplicaSetStatus) field.ErrorList {
	replicas := count{"replicas", int64(s.Replicas)}
	labelled := count{"fullyLabeledReplicas", int64(s.FullyLabeledReplicas)}
	ready := count{"readyReplicas", int64(s.ReadyReplicas)}
	available := count{"availableReplicas", int64(s.AvailableReplicas)}
	errs := validateCounts(replicas, labelled, ready, available, count{"observedGeneration", s.ObservedGeneration},
		count{"terminatingReplicas", int64(valueOf(s.TerminatingReplicas))})
	errs = append(errs, atMost(labelled, replicas)...)
	errs = append(errs, atMost(ready, replicas)...)
	errs = append(errs, atMost(available, replicas)...)
	return append(errs, atMost(available, ready)...)
}
