package podspec

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ValidatePod judges what is due for pods, new or changed. It expects defaults to be set.
func ValidatePod(p *corev1.Pod, allow Allowances) field.ErrorList {
	v := validator{spec: &p.Spec, meta: &p.ObjectMeta, allow: allow, hostUsers: p.Spec.HostUsers == nil || *p.Spec.HostUsers}
	v.podAnnotations(p.Annotations, &p.Spec, annotationsPath)
	v.podSpec(specPath)
	v.tokensNeedAccount()
	for i := range p.Spec.Containers {
		v.imageWithoutSpace(&p.Spec.Containers[i], specPath.Child("containers").Index(i))
	}
	for i := range p.Spec.InitContainers {
		v.imageWithoutSpace(&p.Spec.InitContainers[i], specPath.Child("initContainers").Index(i))
	}
	return v.List
}

// tokensNeedAccount is not due for templates, whose pods may still get an account.
func (v *validator) tokensNeedAccount() {
	if v.spec.ServiceAccountName != "" {
		return
	}
	for i := range v.spec.Volumes {
		projected := v.spec.Volumes[i].Projected
		if projected == nil {
			continue
		}
		for j := range projected.Sources {
			if projected.Sources[j].ServiceAccountToken != nil {
				v.Forbidden(specPath.Child("volumes").Index(i).Child("projected", "sources").Index(j), "serviceAccountToken", "may not be set when serviceAccountName is not")
			}
		}
	}
}

// ValidateTemplate judges a pod template within another object. It expects defaults to be set.
func ValidateTemplate(t *corev1.PodTemplateSpec, at *field.Path) field.ErrorList {
	return validateTemplate(t, at, Allowances{})
}

// ValidateTemplateUpdate judges a changed template: what was accepted of the old one stays accepted.
func ValidateTemplateUpdate(next, old *corev1.PodTemplateSpec, at *field.Path) field.ErrorList {
	list := validateTemplate(next, at, Allowances{})
	if len(list) == 0 || old == nil {
		return list
	}
	return validateTemplate(next, at, AllowancesOf(&old.Spec))
}

func validateTemplate(t *corev1.PodTemplateSpec, at *field.Path, allow Allowances) field.ErrorList {
	var ps problems
	ps.Add(validateLabelMap(t.Labels, at.Child("labels")))
	if len(t.Annotations) > 0 {
		ps.Add(apivalidation.ValidateAnnotations(t.Annotations, at.Child("annotations")))
		ps.podAnnotations(t.Annotations, &t.Spec, at.Child("annotations"))
	}
	spec := at.Child("spec")
	ps.Add(Validate(&t.Spec, nil, spec, allow))
	ps.seccompAgrees(t.Annotations, &t.Spec, spec)
	if len(t.Spec.EphemeralContainers) > 0 {
		ps.Forbidden(spec, "ephemeralContainers", "may not be in a template")
	}
	return ps.List
}

// AllowancesOf finds the rules that a spec breaks already.
func AllowancesOf(old *corev1.PodSpec) Allowances {
	broken := func(allow Allowances) int { return len(Validate(old, nil, specPath, allow)) }
	all := broken(Allowances{})
	if all == 0 {
		return Allowances{}
	}
	return Allowances{
		SelectorLabelValues:     broken(Allowances{SelectorLabelValues: true}) < all,
		NodeAffinityLabelValues: broken(Allowances{NodeAffinityLabelValues: true}) < all,
		SpreadSelectors:         broken(Allowances{SpreadSelectors: true}) < all,
		ProjectedTokenPaths:     broken(Allowances{ProjectedTokenPaths: true}) < all,
		HostNamespaceSysctls:    broken(Allowances{HostNamespaceSysctls: true}) < all,
	}
}

// DropDisabled forgets fields of features that are not yet finished in this version of the API, as upstream
// does by default: nothing would act on them.
func DropDisabled(s *corev1.PodSpec) {
	s.SchedulingGroup = nil
	s.EvictionResponders = nil
	for i := range s.Volumes {
		dropDisabledVolumeFields(&s.Volumes[i].VolumeSource)
	}
	for i := range s.InitContainers {
		DropDisabledOfContainer(&s.InitContainers[i])
	}
	for i := range s.Containers {
		DropDisabledOfContainer(&s.Containers[i])
	}
	for i := range s.EphemeralContainers {
		DropDisabledOfContainer((*corev1.Container)(&s.EphemeralContainers[i].EphemeralContainerCommon))
	}
}

// DropDisabledOfTemplate is DropDisabled for templates.
func DropDisabledOfTemplate(t *corev1.PodTemplateSpec) { DropDisabled(&t.Spec) }

// DropDisabledOfContainer is DropDisabled for one container.
func DropDisabledOfContainer(c *corev1.Container) {
	if c.Lifecycle != nil {
		c.Lifecycle.StopSignal = nil
	}
	for i := range c.VolumeMounts {
		c.VolumeMounts[i].BindMountOptions = nil
	}
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		if p != nil && p.GRPC != nil {
			p.GRPC.Mode = nil
		}
		if p != nil && p.HTTPGet != nil {
			p.HTTPGet.Protocol = nil
		}
	}
}

func dropDisabledVolumeFields(s *corev1.VolumeSource) {
	dropUsers := func(items []corev1.KeyToPath) {
		for i := range items {
			items[i].User = nil
		}
	}
	dropFileUsers := func(items []corev1.DownwardAPIVolumeFile) {
		for i := range items {
			items[i].User = nil
		}
	}
	switch {
	case s.EmptyDir != nil:
		s.EmptyDir.Mode = nil
	case s.Secret != nil:
		s.Secret.DefaultUser = nil
		dropUsers(s.Secret.Items)
	case s.ConfigMap != nil:
		s.ConfigMap.DefaultUser = nil
		dropUsers(s.ConfigMap.Items)
	case s.DownwardAPI != nil:
		s.DownwardAPI.DefaultUser = nil
		dropFileUsers(s.DownwardAPI.Items)
	case s.Projected != nil:
		s.Projected.DefaultUser = nil
		for i := range s.Projected.Sources {
			src := &s.Projected.Sources[i]
			if src.Secret != nil {
				dropUsers(src.Secret.Items)
			}
			if src.ConfigMap != nil {
				dropUsers(src.ConfigMap.Items)
			}
			if src.DownwardAPI != nil {
				dropFileUsers(src.DownwardAPI.Items)
			}
			if src.ServiceAccountToken != nil {
				src.ServiceAccountToken.User = nil
			}
			if src.ClusterTrustBundle != nil {
				src.ClusterTrustBundle.User = nil
			}
			if src.PodCertificate != nil {
				src.PodCertificate.User = nil
			}
		}
	}
}
