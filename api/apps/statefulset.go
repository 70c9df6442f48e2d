package apps

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
)

// StatefulSet keeps pods running that are numbered and keep their names and volumes.
var StatefulSet = kind.Kind[*appsv1.StatefulSet]{
	Group: "apps", Version: "v1", Kind: "StatefulSet", Plural: "statefulsets",
	ShortNames: []string{"sts"}, Categories: []string{"all"},
	Namespaced: true,
	New:        func() *appsv1.StatefulSet { return &appsv1.StatefulSet{} },
	NewList:    func() runtime.Object { return &appsv1.StatefulSetList{} },

	Default:   defaultStatefulSet,
	ValidName: apivalidation.NameIsDNSSubdomain,
	PrepareCreate: func(s *appsv1.StatefulSet) {
		s.Status = appsv1.StatefulSetStatus{}
		prepareStatefulSetSpec(&s.Spec)
	},
	PrepareUpdate: func(new, old *appsv1.StatefulSet) {
		new.Status = old.Status
		prepareStatefulSetSpec(&new.Spec)
	},
	Validate: func(s *appsv1.StatefulSet) field.ErrorList {
		errs := validateStatefulSet(s, nil)
		if name := s.Spec.ServiceName; name != "" {
			for _, m := range validation.IsDNS1123Label(name) {
				errs = append(errs, field.Invalid(specPath.Child("serviceName"), name, m))
			}
		}
		return errs
	},
	ValidateUpdate: validateStatefulSetUpdate,
	Warnings:       statefulSetWarnings,
	HasGeneration:  true,
	SpecChanged:    func(new, old *appsv1.StatefulSet) bool { return !kind.Same(&new.Spec, &old.Spec) },

	Columns: []kind.Column[*appsv1.StatefulSet]{
		kind.NameColumn[*appsv1.StatefulSet](),
		{Name: "Ready", Type: "string", Description: readyDoc,
			Cell: func(s *appsv1.StatefulSet, _ time.Time) any {
				return ratio(s.Status.ReadyReplicas, valueOf(s.Spec.Replicas))
			}},
		kind.AgeColumn[*appsv1.StatefulSet](),
		{Name: "Containers", Type: "string", Priority: 1, Description: containersDoc,
			Cell: func(s *appsv1.StatefulSet, _ time.Time) any {
				return podspec.ContainerNames(s.Spec.Template.Spec.Containers)
			}},
		{Name: "Images", Type: "string", Priority: 1, Description: imagesDoc,
			Cell: func(s *appsv1.StatefulSet, _ time.Time) any {
				return podspec.ContainerImages(s.Spec.Template.Spec.Containers)
			}},
	},
	Status: &kind.Part[*appsv1.StatefulSet]{
		Prepare: func(new, old *appsv1.StatefulSet) { new.Spec = old.Spec },
		ValidateUpdate: func(new, old *appsv1.StatefulSet) field.ErrorList {
			return append(validateStatefulSetStatus(&new.Status), validateCollisionCount(new.Status.CollisionCount, old.Status.CollisionCount)...)
		},
	},
	Scale: &kind.Scale[*appsv1.StatefulSet]{
		SpecReplicas:   func(s *appsv1.StatefulSet) int32 { return valueOf(s.Spec.Replicas) },
		SetReplicas:    func(s *appsv1.StatefulSet, n int32) { s.Spec.Replicas = &n },
		StatusReplicas: func(s *appsv1.StatefulSet) int32 { return s.Status.Replicas },
		Selector:       func(s *appsv1.StatefulSet) string { return selectorText(s.Spec.Selector) },
	},
}

// prepareStatefulSetSpec forgets a maxUnavailable of 0: it was ignored before it had a meaning, and objects have it.
func prepareStatefulSetSpec(s *appsv1.StatefulSetSpec) {
	podspec.DropDisabledOfTemplate(&s.Template)
	if u := s.UpdateStrategy.RollingUpdate; u != nil && u.MaxUnavailable != nil && *u.MaxUnavailable == intstr.FromInt32(0) {
		u.MaxUnavailable = nil
	}
}

func defaultStatefulSet(set *appsv1.StatefulSet) {
	s := &set.Spec
	podspec.DefaultTemplate(&s.Template)
	if s.PodManagementPolicy == "" {
		s.PodManagementPolicy = appsv1.OrderedReadyPodManagement
	}
	if s.UpdateStrategy.Type == "" {
		s.UpdateStrategy.Type = appsv1.RollingUpdateStatefulSetStrategyType
		// Only then: who names the type may leave the rest out.
		if s.UpdateStrategy.RollingUpdate == nil {
			s.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{}
		}
	}
	if s.UpdateStrategy.Type == appsv1.RollingUpdateStatefulSetStrategyType && s.UpdateStrategy.RollingUpdate != nil {
		defaultTo(&s.UpdateStrategy.RollingUpdate.Partition, 0)
	}
	if s.PersistentVolumeClaimRetentionPolicy == nil {
		s.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{}
	}
	if p := s.PersistentVolumeClaimRetentionPolicy; p.WhenDeleted == "" {
		p.WhenDeleted = appsv1.RetainPersistentVolumeClaimRetentionPolicyType
	}
	if p := s.PersistentVolumeClaimRetentionPolicy; p.WhenScaled == "" {
		p.WhenScaled = appsv1.RetainPersistentVolumeClaimRetentionPolicyType
	}
	defaultTo(&s.Replicas, 1)
	defaultTo(&s.RevisionHistoryLimit, 10)
	for i := range s.VolumeClaimTemplates {
		c := &s.VolumeClaimTemplates[i]
		c.APIVersion, c.Kind = "v1", "PersistentVolumeClaim"
		podspec.DefaultClaim(&c.Spec)
		if c.Status.Phase == "" {
			c.Status.Phase = corev1.ClaimPending
		}
	}
}

func statefulSetWarnings(new, old *appsv1.StatefulSet) (warnings []string) {
	if old == nil || !kind.Same(&new.Spec.Template, &old.Spec.Template) {
		warnings = podspec.TemplateWarnings(&new.Spec.Template, templatePath)
	}
	if n := new.Spec.RevisionHistoryLimit; n != nil && *n < 0 {
		warnings = append(warnings, "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended")
	}
	return warnings
}

func validateStatefulSet(new, old *appsv1.StatefulSet) field.ErrorList {
	s := &new.Spec
	var errs field.ErrorList
	switch s.PodManagementPolicy {
	case appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement:
	default:
		errs = append(errs, field.Invalid(specPath.Child("podManagementPolicy"), s.PodManagementPolicy, "must be OrderedReady or Parallel"))
	}
	errs = append(errs, validateStatefulSetStrategy(&s.UpdateStrategy, specPath.Child("updateStrategy"))...)
	errs = append(errs, validateClaimRetention(s.PersistentVolumeClaimRetentionPolicy)...)
	errs = append(errs, notNegative(valueOf(s.Replicas), specPath.Child("replicas"))...)
	errs = append(errs, notNegative(s.MinReadySeconds, specPath.Child("minReadySeconds"))...)
	if s.Ordinals != nil {
		errs = append(errs, notNegative(s.Ordinals.Start, specPath.Child("ordinals", "start"))...)
	}
	selector, selectorErrs := validateSelector(s.Selector)
	errs = append(errs, selectorErrs...)
	if old == nil {
		errs = append(errs, validateClaimTemplates(s)...)
	}
	switch {
	case selector == nil:
		return errs
	case old == nil:
		return append(errs, validateTemplate(withClaims(s), nil, selector)...)
	}
	return append(errs, validateTemplate(withClaims(s), withClaims(&old.Spec), selector)...)
}

// withClaims is the template as pods get it: claims are volumes, and take the place of volumes of their name.
func withClaims(s *appsv1.StatefulSetSpec) *corev1.PodTemplateSpec {
	if len(s.VolumeClaimTemplates) == 0 {
		return &s.Template
	}
	claims := map[string]bool{}
	for i := range s.VolumeClaimTemplates {
		claims[s.VolumeClaimTemplates[i].Name] = true
	}
	t := s.Template
	t.Spec.Volumes = nil
	for _, v := range s.Template.Spec.Volumes {
		if !claims[v.Name] {
			t.Spec.Volumes = append(t.Spec.Volumes, v)
		}
	}
	for i := range s.VolumeClaimTemplates {
		name := s.VolumeClaimTemplates[i].Name
		t.Spec.Volumes = append(t.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}}})
	}
	return &t
}

func validateStatefulSetStrategy(s *appsv1.StatefulSetUpdateStrategy, at *field.Path) field.ErrorList {
	switch s.Type {
	case "":
		return field.ErrorList{field.Required(at, "")}
	case appsv1.OnDeleteStatefulSetStrategyType:
		if s.RollingUpdate != nil {
			return field.ErrorList{field.Invalid(at.Child("rollingUpdate"), s.RollingUpdate, "may be set for RollingUpdate only")}
		}
		return nil
	case appsv1.RollingUpdateStatefulSetStrategyType:
	default:
		return field.ErrorList{field.Invalid(at, s.Type, "must be RollingUpdate or OnDelete")}
	}
	u := s.RollingUpdate
	if u == nil {
		return nil
	}
	at = at.Child("rollingUpdate")
	errs := notNegative(valueOf(u.Partition), at.Child("partition"))
	if u.MaxUnavailable != nil {
		errs = append(errs, validateIntOrPercent(u.MaxUnavailable, at.Child("maxUnavailable"))...)
		if amount(u.MaxUnavailable) == 0 {
			errs = append(errs, field.Invalid(at.Child("maxUnavailable"), u.MaxUnavailable, "may not be 0"))
		}
		errs = append(errs, validateAtMostAll(u.MaxUnavailable, at.Child("maxUnavailable"))...)
	}
	return errs
}

func validateClaimRetention(p *appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy) (errs field.ErrorList) {
	if p == nil {
		return nil
	}
	types := []appsv1.PersistentVolumeClaimRetentionPolicyType{appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType}
	at := specPath.Child("persistentVolumeClaimRetentionPolicy")
	for _, when := range []struct {
		name  string
		value appsv1.PersistentVolumeClaimRetentionPolicyType
	}{{"whenDeleted", p.WhenDeleted}, {"whenScaled", p.WhenScaled}} {
		if when.value != types[0] && when.value != types[1] {
			errs = append(errs, field.NotSupported(at.Child(when.name), when.value, types))
		}
	}
	return errs
}

// validateClaimTemplates also makes sure that pods can have the volumes which stand for the claims.
func validateClaimTemplates(s *appsv1.StatefulSetSpec) (errs field.ErrorList) {
	for i := range s.VolumeClaimTemplates {
		c := &s.VolumeClaimTemplates[i]
		errs = append(errs, podspec.ValidateClaim(&c.Spec, specPath.Child("volumeClaimTemplates").Index(i).Child("spec"))...)
	}
	return errs
}

const statefulSetFixed = "only 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' may be changed"

func validateStatefulSetUpdate(new, old *appsv1.StatefulSet) field.ErrorList {
	errs := validateStatefulSet(new, old)
	rest := new.Spec
	rest.Replicas = old.Spec.Replicas
	rest.Template = old.Spec.Template
	rest.UpdateStrategy = old.Spec.UpdateStrategy
	rest.MinReadySeconds = old.Spec.MinReadySeconds
	rest.Ordinals = old.Spec.Ordinals
	rest.RevisionHistoryLimit = old.Spec.RevisionHistoryLimit
	rest.PersistentVolumeClaimRetentionPolicy = old.Spec.PersistentVolumeClaimRetentionPolicy
	if !kind.Same(&rest, &old.Spec) {
		errs = append(errs, field.Forbidden(specPath, "updates to statefulset spec for fields other than these are forbidden: "+statefulSetFixed))
	}
	return errs
}

func validateStatefulSetStatus(s *appsv1.StatefulSetStatus) field.ErrorList {
	replicas := count{"replicas", int64(s.Replicas)}
	ready := count{"readyReplicas", int64(s.ReadyReplicas)}
	current := count{"currentReplicas", int64(s.CurrentReplicas)}
	updated := count{"updatedReplicas", int64(s.UpdatedReplicas)}
	available := count{"availableReplicas", int64(s.AvailableReplicas)}
	errs := validateCounts(replicas, ready, current, updated, available, count{"observedGeneration", s.ObservedGeneration})
	for _, part := range []count{ready, current, updated, available} {
		errs = append(errs, atMost(part, replicas)...)
	}
	return append(errs, atMost(available, ready)...)
}
