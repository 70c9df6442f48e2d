package apps

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
)

// StatefulSet keeps pods running that are numbered and keep their names and volumes.
var StatefulSet = kind.Define(kind.Resource{
	GroupVersion: appsv1.SchemeGroupVersion, Plural: "statefulsets", ShortNames: []string{"sts"}, Categories: []string{"all"}, Namespaced: true,
	List: kind.ListOf[appsv1.StatefulSetList], HasGeneration: true,
}, kind.Rules[appsv1.StatefulSet]{
	Halves:   kind.SpecAndStatus[appsv1.StatefulSet](),
	Default:  defaultStatefulSet,
	Prepare:  prepareStatefulSet,
	Validate: validateStatefulSet,
	Warnings: statefulSetWarnings,
	Columns: kind.Columns([]kind.Column[appsv1.StatefulSet]{
		kind.Text("Ready", readyDoc, func(s *appsv1.StatefulSet) string { return ratio(s.Status.ReadyReplicas, valueOf(s.Spec.Replicas)) }),
	}, podColumns(inStatefulSet)...),
	Status: &kind.Part[appsv1.StatefulSet]{ValidateUpdate: validateStatefulSetStatus},
	Scale:  scale(inStatefulSet),
})

func inStatefulSet(s *appsv1.StatefulSet) workload {
	return workload{&s.Spec.Template, s.Spec.Selector, &s.Spec.Replicas, s.Status.Replicas}
}

// prepareStatefulSet forgets a maxUnavailable of 0: it was ignored before it had a meaning, and objects have it.
func prepareStatefulSet(new, _ *appsv1.StatefulSet) {
	podspec.DropDisabledOfTemplate(&new.Spec.Template)
	if u := new.Spec.UpdateStrategy.RollingUpdate; u != nil && u.MaxUnavailable != nil && *u.MaxUnavailable == intstr.FromInt32(0) {
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
		kind.FillPointer(&s.UpdateStrategy.RollingUpdate.Partition, 0)
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
	kind.FillPointer(&s.Replicas, 1)
	kind.FillPointer(&s.RevisionHistoryLimit, 10)
	for i := range s.VolumeClaimTemplates {
		c := &s.VolumeClaimTemplates[i]
		c.APIVersion, c.Kind = "v1", "PersistentVolumeClaim"
		podspec.DefaultClaim(&c.Spec)
		if c.Status.Phase == "" {
			c.Status.Phase = corev1.ClaimPending
		}
	}
}

func statefulSetWarnings(new, old *appsv1.StatefulSet) []string {
	warnings := templateWarnings(inStatefulSet)(new, old)
	if n := new.Spec.RevisionHistoryLimit; n != nil && *n < 0 {
		warnings = append(warnings, "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended")
	}
	return warnings
}

func validateStatefulSet(new, old *appsv1.StatefulSet) field.ErrorList {
	var ps problems
	s := &new.Spec
	switch s.PodManagementPolicy {
	case appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement:
	default:
		ps.Invalid(specPath, "podManagementPolicy", s.PodManagementPolicy, "must be OrderedReady or Parallel")
	}
	ps.statefulSetStrategy(&s.UpdateStrategy)
	ps.claimRetention(s.PersistentVolumeClaimRetentionPolicy)
	ps.NotNegative(specPath, "replicas", int64(valueOf(s.Replicas)))
	ps.NotNegative(specPath, "minReadySeconds", int64(s.MinReadySeconds))
	if s.Ordinals != nil {
		ps.NotNegative(specPath.Child("ordinals"), "start", int64(s.Ordinals.Start))
	}
	selector := ps.selector(s.Selector)
	if old == nil {
		ps.claimTemplates(s)
		ps.selected(selector, withClaims(s), nil)
		if s.ServiceName != "" {
			ps.Label(specPath, "serviceName", s.ServiceName)
		}
	} else {
		ps.selected(selector, withClaims(s), withClaims(&old.Spec))
		ps.fixedSpec(s, &old.Spec)
	}
	return ps.List
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

func (ps *problems) statefulSetStrategy(s *appsv1.StatefulSetUpdateStrategy) {
	at := specPath.Child("updateStrategy")
	u := s.RollingUpdate
	switch s.Type {
	case "":
		ps.Required(at, "", "")
		return
	case appsv1.OnDeleteStatefulSetStrategyType:
		if u != nil {
			ps.Invalid(at, "rollingUpdate", u, "may be set for RollingUpdate only")
		}
		return
	case appsv1.RollingUpdateStatefulSetStrategyType:
	default:
		ps.Invalid(at, "", s.Type, "must be RollingUpdate or OnDelete")
		return
	}
	if u == nil {
		return
	}
	at = at.Child("rollingUpdate")
	ps.NotNegative(at, "partition", int64(valueOf(u.Partition)))
	ps.intOrPercent(at, "maxUnavailable", u.MaxUnavailable)
	if u.MaxUnavailable != nil && amount(u.MaxUnavailable) == 0 {
		ps.Invalid(at, "maxUnavailable", u.MaxUnavailable, "may not be 0")
	}
	ps.atMostAll(at, "maxUnavailable", u.MaxUnavailable)
}

func (ps *problems) claimRetention(p *appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy) {
	if p == nil {
		return
	}
	const keep, remove = appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	at := specPath.Child("persistentVolumeClaimRetentionPolicy")
	kind.OneOf(&ps.Problems, at, "whenDeleted", p.WhenDeleted, keep, remove)
	kind.OneOf(&ps.Problems, at, "whenScaled", p.WhenScaled, keep, remove)
}

// claimTemplates also makes sure that pods can have the volumes which stand for the claims.
func (ps *problems) claimTemplates(s *appsv1.StatefulSetSpec) {
	for i := range s.VolumeClaimTemplates {
		ps.Add(podspec.ValidateClaim(&s.VolumeClaimTemplates[i].Spec, specPath.Child("volumeClaimTemplates").Index(i).Child("spec")))
	}
}

const statefulSetFixed = "only 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' may be changed"

// fixedSpec sets back in a copy whatever may change; what differs then may not.
func (ps *problems) fixedSpec(new, old *appsv1.StatefulSetSpec) {
	rest := *new
	rest.Replicas = old.Replicas
	rest.Template = old.Template
	rest.UpdateStrategy = old.UpdateStrategy
	rest.MinReadySeconds = old.MinReadySeconds
	rest.Ordinals = old.Ordinals
	rest.RevisionHistoryLimit = old.RevisionHistoryLimit
	rest.PersistentVolumeClaimRetentionPolicy = old.PersistentVolumeClaimRetentionPolicy
	if !kind.Same(&rest, old) {
		ps.Forbidden(specPath, "", "updates to statefulset spec for fields other than these are forbidden: "+statefulSetFixed)
	}
}

func validateStatefulSetStatus(new, old *appsv1.StatefulSet) field.ErrorList {
	var ps problems
	s := &new.Status
	replicas, ready := count{"replicas", int64(s.Replicas)}, count{"readyReplicas", int64(s.ReadyReplicas)}
	current, updated := count{"currentReplicas", int64(s.CurrentReplicas)}, count{"updatedReplicas", int64(s.UpdatedReplicas)}
	available := count{"availableReplicas", int64(s.AvailableReplicas)}
	ps.counts(replicas, ready, current, updated, available, count{"observedGeneration", s.ObservedGeneration})
	ps.atMost(replicas, ready, current, updated, available)
	ps.atMost(ready, available)
	ps.collisions(s.CollisionCount, old.Status.CollisionCount)
	return ps.List
}
