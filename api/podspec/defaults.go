package podspec

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// fileModeDefault is the mode of files in volumes that are made of API objects.
const fileModeDefault int32 = 0o644

// DefaultPod fills in what a pod leaves out. Some defaults are for pods alone and not for templates, so that a
// template stays as its author wrote it.
func DefaultPod(p *corev1.Pod) {
	s := &p.Spec
	dropInitContainerAnnotations(p.Annotations)
	Default(s)
	if t := s.TerminationGracePeriodSeconds; *t < 0 {
		*t = 1 // what a negative time has always meant
	}
	for i := range s.Containers {
		requestsFromLimits(&s.Containers[i].Resources)
	}
	for i := range s.InitContainers {
		requestsFromLimits(&s.InitContainers[i].Resources)
	}
	if s.Resources != nil {
		defaultPodLevelResources(p)
	}
	kind.FillPointer(&s.EnableServiceLinks, true)
	if s.HostNetwork {
		hostPortsFromContainerPorts(s.Containers)
		hostPortsFromContainerPorts(s.InitContainers)
	}
	defaultPodStatus(&p.Status)
}

// DefaultTemplate fills in what a pod template leaves out.
func DefaultTemplate(t *corev1.PodTemplateSpec) {
	dropInitContainerAnnotations(t.Annotations)
	Default(&t.Spec)
}

// Default fills in what is the same for pods and templates.
func Default(s *corev1.PodSpec) {
	kind.Fill(&s.DNSPolicy, corev1.DNSClusterFirst)
	kind.Fill(&s.RestartPolicy, corev1.RestartPolicyAlways)
	kind.FillPointer(&s.SecurityContext, corev1.PodSecurityContext{})
	kind.FillPointer(&s.TerminationGracePeriodSeconds, int64(corev1.DefaultTerminationGracePeriodSeconds))
	kind.Fill(&s.SchedulerName, corev1.DefaultSchedulerName)
	// Both names of the service account are kept equal; the newer one wins.
	kind.Fill(&s.ServiceAccountName, s.DeprecatedServiceAccount)
	s.DeprecatedServiceAccount = s.ServiceAccountName
	for i := range s.Volumes {
		defaultVolume(&s.Volumes[i])
	}
	for i := range s.InitContainers {
		defaultContainer(&s.InitContainers[i])
	}
	for i := range s.Containers {
		defaultContainer(&s.Containers[i])
	}
	for i := range s.EphemeralContainers {
		defaultContainer((*corev1.Container)(&s.EphemeralContainers[i].EphemeralContainerCommon))
	}
	roundToMilli(s.Overhead)
	if s.Resources != nil {
		roundToMilli(s.Resources.Limits)
		roundToMilli(s.Resources.Requests)
	}
}

func defaultContainer(c *corev1.Container) {
	if c.ImagePullPolicy == "" {
		c.ImagePullPolicy = pullPolicyFor(c.Image)
	}
	kind.Fill(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	kind.Fill(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	for i := range c.Ports {
		kind.Fill(&c.Ports[i].Protocol, corev1.ProtocolTCP)
	}
	for i := range c.Env {
		from := c.Env[i].ValueFrom
		if from == nil {
			continue
		}
		defaultFieldRef(from.FieldRef)
		if from.FileKeyRef != nil {
			kind.FillPointer(&from.FileKeyRef.Optional, false)
		}
	}
	roundToMilli(c.Resources.Limits)
	roundToMilli(c.Resources.Requests)
	defaultProbe(c.LivenessProbe)
	defaultProbe(c.ReadinessProbe)
	defaultProbe(c.StartupProbe)
	if c.Lifecycle != nil {
		if h := c.Lifecycle.PostStart; h != nil {
			defaultHTTPGet(h.HTTPGet)
		}
		if h := c.Lifecycle.PreStop; h != nil {
			defaultHTTPGet(h.HTTPGet)
		}
	}
}

func defaultProbe(p *corev1.Probe) {
	if p == nil {
		return
	}
	kind.Fill(&p.TimeoutSeconds, 1)
	kind.Fill(&p.PeriodSeconds, 10)
	kind.Fill(&p.SuccessThreshold, 1)
	kind.Fill(&p.FailureThreshold, 3)
	defaultHTTPGet(p.HTTPGet)
	if p.GRPC != nil {
		kind.FillPointer(&p.GRPC.Service, "")
	}
}

func defaultHTTPGet(g *corev1.HTTPGetAction) {
	if g == nil {
		return
	}
	kind.Fill(&g.Path, "/")
	kind.Fill(&g.Scheme, corev1.URISchemeHTTP)
}

func defaultFieldRef(r *corev1.ObjectFieldSelector) {
	if r != nil && r.APIVersion == "" {
		r.APIVersion = "v1"
	}
}

// roundToMilli rounds amounts up to thousandths, the finest that are kept.
func roundToMilli(list corev1.ResourceList) {
	for name, q := range list {
		if q.RoundUp(-3) {
			continue // it was no finer
		}
		list[name] = q
	}
}

func requestsFromLimits(r *corev1.ResourceRequirements) {
	if r.Limits == nil {
		return
	}
	if r.Requests == nil {
		r.Requests = make(corev1.ResourceList, len(r.Limits))
	}
	for name, limit := range r.Limits {
		if _, ok := r.Requests[name]; !ok {
			r.Requests[name] = limit.DeepCopy()
		}
	}
}

// defaultPodLevelResources completes requests and limits of the pod as a whole from those of its containers.
func defaultPodLevelResources(p *corev1.Pod) {
	r := p.Spec.Resources
	if len(r.Limits) == 0 && len(r.Requests) == 0 {
		return
	}
	// Huge pages cannot be overcommitted: the pod's limit is what its containers may use together.
	for name, sum := range resource.AggregateContainerLimits(p, resource.PodResourcesOptions{}) {
		if !isHugePages(name) {
			continue
		}
		_, requested := r.Requests[name]
		_, limited := r.Limits[name]
		if requested || limited {
			continue
		}
		if r.Limits == nil {
			r.Limits = corev1.ResourceList{}
		}
		r.Limits[name] = sum.DeepCopy()
	}
	if len(r.Limits) == 0 {
		return
	}
	requests := r.Requests
	if requests == nil {
		requests = corev1.ResourceList{}
	}
	for name, sum := range resource.AggregateContainerRequests(p, resource.PodResourcesOptions{}) {
		if _, ok := requests[name]; !ok && resource.IsSupportedPodLevelResource(name) && overcommittable(name) {
			requests[name] = sum.DeepCopy()
		}
	}
	for name, limit := range r.Limits {
		if _, ok := requests[name]; !ok && resource.IsSupportedPodLevelResource(name) {
			requests[name] = limit.DeepCopy()
		}
	}
	if len(requests) > 0 {
		r.Requests = requests
	}
}

// hostPortsFromContainerPorts: containers in the node's network use the node's ports.
func hostPortsFromContainerPorts(containers []corev1.Container) {
	for i := range containers {
		for j := range containers[i].Ports {
			if port := &containers[i].Ports[j]; port.HostPort == 0 {
				port.HostPort = port.ContainerPort
			}
		}
	}
}

func defaultVolume(v *corev1.Volume) {
	s := &v.VolumeSource
	switch {
	case *s == (corev1.VolumeSource{}):
		s.EmptyDir = &corev1.EmptyDirVolumeSource{}
	case s.Secret != nil:
		kind.FillPointer(&s.Secret.DefaultMode, fileModeDefault)
	case s.ConfigMap != nil:
		kind.FillPointer(&s.ConfigMap.DefaultMode, fileModeDefault)
	case s.DownwardAPI != nil:
		kind.FillPointer(&s.DownwardAPI.DefaultMode, fileModeDefault)
		for i := range s.DownwardAPI.Items {
			defaultFieldRef(s.DownwardAPI.Items[i].FieldRef)
		}
	case s.Projected != nil:
		defaultProjected(s.Projected)
	case s.HostPath != nil:
		kind.FillPointer(&s.HostPath.Type, corev1.HostPathUnset)
	case s.Image != nil:
		kind.Fill(&s.Image.PullPolicy, pullPolicyFor(s.Image.Reference))
	case s.Ephemeral != nil:
		if claim := s.Ephemeral.VolumeClaimTemplate; claim != nil {
			DefaultClaim(&claim.Spec)
		}
	default:
		defaultVendorVolume(s)
	}
}

// defaultVendorVolume is about the sources that belong to one storage system each.
func defaultVendorVolume(s *corev1.VolumeSource) {
	switch {
	case s.ISCSI != nil:
		kind.Fill(&s.ISCSI.ISCSIInterface, "default")
	case s.RBD != nil:
		kind.Fill(&s.RBD.RBDPool, "rbd")
		kind.Fill(&s.RBD.RadosUser, "admin")
		kind.Fill(&s.RBD.Keyring, "/etc/ceph/keyring")
	case s.ScaleIO != nil:
		kind.Fill(&s.ScaleIO.StorageMode, "ThinProvisioned")
		kind.Fill(&s.ScaleIO.FSType, "xfs")
	case s.AzureDisk != nil:
		defaultAzureDisk(s.AzureDisk)
	}
}

func defaultAzureDisk(d *corev1.AzureDiskVolumeSource) {
	kind.FillPointer(&d.CachingMode, corev1.AzureDataDiskCachingReadWrite)
	kind.FillPointer(&d.Kind, corev1.AzureSharedBlobDisk)
	kind.FillPointer(&d.FSType, "ext4")
	kind.FillPointer(&d.ReadOnly, false)
}

func defaultProjected(p *corev1.ProjectedVolumeSource) {
	kind.FillPointer(&p.DefaultMode, fileModeDefault)
	for i := range p.Sources {
		src := &p.Sources[i]
		if src.DownwardAPI != nil {
			for j := range src.DownwardAPI.Items {
				defaultFieldRef(src.DownwardAPI.Items[j].FieldRef)
			}
		}
		if token := src.ServiceAccountToken; token != nil {
			kind.FillPointer(&token.ExpirationSeconds, 3600) // an hour
		}
		if c := src.PodCertificate; c != nil {
			kind.FillPointer(&c.MaxExpirationSeconds, 86400) // a day
		}
	}
}

// DefaultClaim fills in what a claim, or a template for claims, leaves out.
func DefaultClaim(s *corev1.PersistentVolumeClaimSpec) {
	kind.FillPointer(&s.VolumeMode, corev1.PersistentVolumeFilesystem)
	roundToMilli(s.Resources.Limits)
	roundToMilli(s.Resources.Requests)
}

// defaultPodStatus keeps the address lists in step with their first element, which older clients write alone.
func defaultPodStatus(s *corev1.PodStatus) {
	if s.PodIP != "" && (len(s.PodIPs) == 0 || s.PodIPs[0].IP != s.PodIP) {
		s.PodIPs = []corev1.PodIP{{IP: s.PodIP}}
	}
	if s.PodIP == "" && len(s.PodIPs) > 0 {
		s.PodIP = s.PodIPs[0].IP
	}
	for _, list := range [][]corev1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses} {
		for i := range list {
			roundToMilli(list[i].AllocatedResources)
			if r := list[i].Resources; r != nil {
				roundToMilli(r.Limits)
				roundToMilli(r.Requests)
			}
		}
	}
}
