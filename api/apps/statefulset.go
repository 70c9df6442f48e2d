package apps

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
	"github.com/wheelhouse-k8s/wheelhouse/api/workload"
)

// StatefulSet keeps pods running that are numbered and keep their names and volumes.
var StatefulSet = workload.Define(kind.Resource{
	GroupVersion: appsv1.SchemeGroupVersion, Plural: "statefulsets", ShortNames: []string{"sts"}, List: kind.ListOf[appsv1.StatefulSetList],
}, inStatefulSet, kind.Rules[appsv1.StatefulSet]{
	Default:  defaultStatefulSet,
	Prepare:  prepareStatefulSet,
	Validate: validateStatefulSet,
	Warnings: statefulSetWarnings,
	Columns: workload.Columns(inStatefulSet, "",
		kind.Text("Ready", workload.ReadyDoc, func(s *appsv1.StatefulSet) string { return workload.Ratio(s.Status.ReadyReplicas, s.Spec.Replicas) }),
	),
	Status: &kind.Part[appsv1.StatefulSet]{ValidateUpdate: validateStatefulSetStatus},
})

func inStatefulSet(s *appsv1.StatefulSet) workload.Parts {
	return workload.Parts{Template: &s.Spec.Template, Selector: s.Spec.Selector, Wanted: &s.Spec.Replicas, Present: s.Status.Replicas}
}

// prepareStatefulSet forgets a maxUnavailable of 0: it was ignored before it had a meaning, and objects have it.
func prepareStatefulSet(s, _ *appsv1.StatefulSet) {
	if u := s.Spec.UpdateStrategy.RollingUpdate; u != nil && u.MaxUnavailable != nil && *u.MaxUnavailable == intstr.FromInt32(0) {
		u.MaxUnavailable = nil
	}
}

func defaultStatefulSet(set *appsv1.StatefulSet) {
	s, strategy := &set.Spec, &set.Spec.UpdateStrategy
	kind.Fill(&s.PodManagementPolicy, appsv1.OrderedReadyPodManagement)
	if strategy.Type == "" {
		strategy.Type = appsv1.RollingUpdateStatefulSetStrategyType
		// Only then: who names the type may leave the rest out.
		kind.FillPointer(&strategy.RollingUpdate, appsv1.RollingUpdateStatefulSetStrategy{})
	}
	if strategy.Type == appsv1.RollingUpdateStatefulSetStrategyType && strategy.RollingUpdate != nil {
		kind.FillPointer(&strategy.RollingUpdate.Partition, 0)
	}
	claims := kind.FillPointer(&s.PersistentVolumeClaimRetentionPolicy, appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{})
	kind.Fill(&claims.WhenDeleted, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	kind.Fill(&claims.WhenScaled, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	kind.FillPointer(&s.Replicas, 1)
	kind.FillPointer(&s.RevisionHistoryLimit, 10)
	for i := range s.VolumeClaimTemplates {
		c := &s.VolumeClaimTemplates[i]
		c.APIVersion, c.Kind = "v1", "PersistentVolumeClaim"
		podspec.DefaultClaim(&c.Spec)
		kind.Fill(&c.Status.Phase, corev1.ClaimPending)
	}
}

func statefulSetWarnings(s, old *appsv1.StatefulSet) []string {
	warnings := workload.TemplateWarnings(inStatefulSet)(s, old)
	if n := s.Spec.RevisionHistoryLimit; n != nil && *n < 0 {
		warnings = append(warnings, "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended")
	}
	return warnings
}

func validateStatefulSet(set, old *appsv1.StatefulSet) field.ErrorList {
	var ps workload.Problems
	s := &set.Spec
	switch s.PodManagementPolicy {
	case appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement:
	default:
		ps.Invalid(specPath, "podManagementPolicy", s.PodManagementPolicy, "must be OrderedReady or Parallel")
	}
	statefulSetStrategy(&ps, &s.UpdateStrategy)
	claimRetention(&ps, s.PersistentVolumeClaimRetentionPolicy)
	ps.Count("replicas", s.Replicas)
	ps.Count("minReadySeconds", &s.MinReadySeconds)
	if s.Ordinals != nil {
		ps.NotNegative(specPath.Child("ordinals"), "start", int64(s.Ordinals.Start))
	}
	is, was := withClaims(set), workload.Was(withClaims, old)
	selector := ps.Selects(is)
	if old != nil {
		ps.Selected(selector, is, was)
		fixedSpec(&ps, s, &old.Spec)
		return ps.List
	}
	claimTemplates(&ps, s)
	ps.Selected(selector, is, was)
	if s.ServiceName != "" {
		ps.Label(specPath, "serviceName", s.ServiceName)
	}
	return ps.List
}

// withClaims are the parts with the template as pods get it: claims are volumes, and take the place of volumes of their name.
func withClaims(set *appsv1.StatefulSet) workload.Parts {
	parts, own, claims := inStatefulSet(set), set.Spec.Template, set.Spec.VolumeClaimTemplates
	if len(claims) == 0 {
		return parts
	}
	claimed := make(map[string]bool, len(claims))
	for i := range claims {
		claimed[claims[i].Name] = true
	}
	own.Spec.Volumes = slices.DeleteFunc(slices.Clone(own.Spec.Volumes), func(v corev1.Volume) bool { return claimed[v.Name] })
	for i := range claims {
		own.Spec.Volumes = append(own.Spec.Volumes, corev1.Volume{Name: claims[i].Name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claims[i].Name}}})
	}
	parts.Template = &own
	return parts
}

func statefulSetStrategy(ps *workload.Problems, s *appsv1.StatefulSetUpdateStrategy) {
	at, u := specPath.Child("updateStrategy"), s.RollingUpdate
	switch s.Type {
	case "":
		ps.Required(at, "", "")
	case appsv1.OnDeleteStatefulSetStrategyType:
		if u != nil {
			ps.Invalid(at, "rollingUpdate", u, "may be set for RollingUpdate only")
		}
	case appsv1.RollingUpdateStatefulSetStrategyType:
		if u != nil {
			partitioned(ps, at.Child("rollingUpdate"), u)
		}
	default:
		ps.Invalid(at, "", s.Type, "must be RollingUpdate or OnDelete")
	}
}

func partitioned(ps *workload.Problems, at *field.Path, u *appsv1.RollingUpdateStatefulSetStrategy) {
	ps.NotNegative(at, "partition", int64(ptr.Deref(u.Partition, 0)))
	ps.IntOrPercent(at, "maxUnavailable", u.MaxUnavailable)
	if u.MaxUnavailable != nil && kind.Amount(u.MaxUnavailable) == 0 {
		ps.Invalid(at, "maxUnavailable", u.MaxUnavailable, "may not be 0")
	}
	ps.AtMostAll(at, "maxUnavailable", u.MaxUnavailable)
}

func claimRetention(ps *workload.Problems, p *appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy) {
	if p == nil {
		return
	}
	const keep, remove = appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	at := specPath.Child("persistentVolumeClaimRetentionPolicy")
	kind.OneOf(&ps.Problems, at, "whenDeleted", p.WhenDeleted, keep, remove)
	kind.OneOf(&ps.Problems, at, "whenScaled", p.WhenScaled, keep, remove)
}

// claimTemplates also makes sure that pods can have the volumes which stand for the claims.
func claimTemplates(ps *workload.Problems, s *appsv1.StatefulSetSpec) {
	for i := range s.VolumeClaimTemplates {
		ps.Add(podspec.ValidateClaim(&s.VolumeClaimTemplates[i].Spec, specPath.Child("volumeClaimTemplates").Index(i).Child("spec")))
	}
}

const statefulSetFixed = "only 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' may be changed"

// fixedSpec sets back in a copy whatever may change; what differs then may not.
func fixedSpec(ps *workload.Problems, s, old *appsv1.StatefulSetSpec) {
	rest := *s
	rest.Replicas, rest.Ordinals, rest.Template = old.Replicas, old.Ordinals, old.Template
	rest.UpdateStrategy, rest.RevisionHistoryLimit = old.UpdateStrategy, old.RevisionHistoryLimit
	rest.PersistentVolumeClaimRetentionPolicy, rest.MinReadySeconds = old.PersistentVolumeClaimRetentionPolicy, old.MinReadySeconds
	if !kind.Same(&rest, old) {
		ps.Forbidden(specPath, "", "updates to statefulset spec for fields other than these are forbidden: "+statefulSetFixed)
	}
}

func validateStatefulSetStatus(set, old *appsv1.StatefulSet) field.ErrorList {
	var ps workload.Problems
	s := &set.Status
	replicas, ready := workload.Counted("replicas", s.Replicas), workload.Counted("readyReplicas", s.ReadyReplicas)
	current, updated := workload.Counted("currentReplicas", s.CurrentReplicas), workload.Counted("updatedReplicas", s.UpdatedReplicas)
	available := workload.Counted("availableReplicas", s.AvailableReplicas)
	ps.Numbers(replicas, ready, current, updated, available, workload.Observed(s.ObservedGeneration))
	ps.AtMost(replicas, ready, current, updated, available)
	ps.AtMost(ready, available)
	ps.Collisions(s.CollisionCount, old.Status.CollisionCount)
	return ps.List
}
