package core

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var (
	metadataPath    = field.NewPath("metadata")
	annotationsPath = metadataPath.Child("annotations")
	specPath        = field.NewPath("spec")
	statusPath      = field.NewPath("status")
)

func validatePodCreate(p *corev1.Pod) field.ErrorList {
	var ps problems
	ps.wholePod(p, PodAllowances{})
	if len(p.Spec.EphemeralContainers) > 0 {
		ps.forbidden(specPath, "ephemeralContainers", "may not be set on creation")
	}
	if p.Spec.NodeName != "" && len(p.Spec.SchedulingGates) > 0 {
		ps.forbidden(specPath, "nodeName", "may not be set while there are schedulingGates")
	}
	ps.seccompAgrees(p.Annotations, &p.Spec, specPath)
	ps.appArmorAgrees(p.Annotations, &p.Spec, specPath)
	return ps.list
}

// wholePod judges what is due for pods, new or changed.
func (ps *problems) wholePod(p *corev1.Pod, allow PodAllowances) {
	ps.podAnnotations(p.Annotations, &p.Spec, annotationsPath)
	v := podValidator{problems: *ps, spec: &p.Spec, meta: &p.ObjectMeta, allow: allow, hostUsers: p.Spec.HostUsers == nil || *p.Spec.HostUsers}
	v.podSpec(specPath)
	v.tokensNeedAccount()
	for i := range p.Spec.Containers {
		v.imageWithoutSpace(&p.Spec.Containers[i], specPath.Child("containers").Index(i))
	}
	for i := range p.Spec.InitContainers {
		v.imageWithoutSpace(&p.Spec.InitContainers[i], specPath.Child("initContainers").Index(i))
	}
	*ps = v.problems
}

// tokensNeedAccount is not due for templates, whose pods may still get an account.
func (v *podValidator) tokensNeedAccount() {
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
				v.forbidden(specPath.Child("volumes").Index(i).Child("projected", "sources").Index(j), "serviceAccountToken", "may not be set when serviceAccountName is not")
			}
		}
	}
}

// ValidatePodTemplate judges a pod template within another object. It expects defaults to be set.
func ValidatePodTemplate(t *corev1.PodTemplateSpec, at *field.Path) field.ErrorList {
	return validateTemplate(t, at, PodAllowances{})
}

// ValidatePodTemplateUpdate judges a changed template: what was accepted of the old one stays accepted.
func ValidatePodTemplateUpdate(new, old *corev1.PodTemplateSpec, at *field.Path) field.ErrorList {
	list := validateTemplate(new, at, PodAllowances{})
	if len(list) == 0 || old == nil {
		return list
	}
	return validateTemplate(new, at, allowancesOf(&old.Spec))
}

func validateTemplate(t *corev1.PodTemplateSpec, at *field.Path, allow PodAllowances) field.ErrorList {
	var ps problems
	ps.add(validateLabelMap(t.Labels, at.Child("labels")))
	if len(t.Annotations) > 0 {
		ps.add(apivalidation.ValidateAnnotations(t.Annotations, at.Child("annotations")))
		ps.podAnnotations(t.Annotations, &t.Spec, at.Child("annotations"))
	}
	spec := at.Child("spec")
	ps.add(ValidatePodSpec(&t.Spec, nil, spec, allow))
	ps.seccompAgrees(t.Annotations, &t.Spec, spec)
	if len(t.Spec.EphemeralContainers) > 0 {
		ps.forbidden(spec, "ephemeralContainers", "may not be in a template")
	}
	return ps.list
}

// allowancesOf finds the rules that a spec breaks already.
func allowancesOf(old *corev1.PodSpec) PodAllowances {
	broken := func(allow PodAllowances) int { return len(ValidatePodSpec(old, nil, specPath, allow)) }
	all := broken(PodAllowances{})
	if all == 0 {
		return PodAllowances{}
	}
	return PodAllowances{
		SelectorLabelValues:     broken(PodAllowances{SelectorLabelValues: true}) < all,
		NodeAffinityLabelValues: broken(PodAllowances{NodeAffinityLabelValues: true}) < all,
		SpreadSelectors:         broken(PodAllowances{SpreadSelectors: true}) < all,
		ProjectedTokenPaths:     broken(PodAllowances{ProjectedTokenPaths: true}) < all,
		HostNamespaceSysctls:    broken(PodAllowances{HostNamespaceSysctls: true}) < all,
	}
}

// dropDisabledPodFields forgets fields of features that are not yet finished in this version of the API, as upstream
// does by default: nothing would act on them.
func dropDisabledPodFields(s *corev1.PodSpec) {
	s.SchedulingGroup = nil
	s.EvictionResponders = nil
	for i := range s.Volumes {
		dropDisabledVolumeFields(&s.Volumes[i].VolumeSource)
	}
	for i := range s.InitContainers {
		dropDisabledContainerFields(&s.InitContainers[i])
	}
	for i := range s.Containers {
		dropDisabledContainerFields(&s.Containers[i])
	}
	for i := range s.EphemeralContainers {
		dropDisabledContainerFields((*corev1.Container)(&s.EphemeralContainers[i].EphemeralContainerCommon))
	}
}

// DropDisabledPodTemplateFields is dropDisabledPodFields for templates.
func DropDisabledPodTemplateFields(t *corev1.PodTemplateSpec) { dropDisabledPodFields(&t.Spec) }

func dropDisabledContainerFields(c *corev1.Container) {
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
