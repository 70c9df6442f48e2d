package podspec

import (
	"iter"

	corev1 "k8s.io/api/core/v1"
)

// Reference is an object of the pod's namespace that a pod refers to.
type Reference struct {
	Name string
	// Container is set when a container's environment refers to it.
	Container *Container
	// Variable is the environment variable, empty for envFrom.
	Variable string
	// Volume is the name of the volume that refers to it.
	Volume string
	// Pull is true for imagePullSecrets.
	Pull bool
}

// Secrets yields the secrets that a pod refers to, in volumes, environments and imagePullSecrets.
func Secrets(pod *corev1.Pod) iter.Seq[Reference] {
	return func(yield func(Reference) bool) {
		for n := range pod.Spec.ImagePullSecrets {
			if !yieldNamed(yield, Reference{Name: pod.Spec.ImagePullSecrets[n].Name, Pull: true}) {
				return
			}
		}
		for c := range Containers(&pod.Spec) {
			for n := range c.EnvFrom {
				if ref := c.EnvFrom[n].SecretRef; ref != nil && !yieldNamed(yield, Reference{Name: ref.Name, Container: &c}) {
					return
				}
			}
			for n := range c.Env {
				from := c.Env[n].ValueFrom
				if from == nil || from.SecretKeyRef == nil {
					continue
				}
				if !yieldNamed(yield, Reference{Name: from.SecretKeyRef.Name, Container: &c, Variable: c.Env[n].Name}) {
					return
				}
			}
		}
		for n := range pod.Spec.Volumes {
			v := &pod.Spec.Volumes[n]
			for _, name := range volumeSecrets(v) {
				if !yieldNamed(yield, Reference{Name: name, Volume: v.Name}) {
					return
				}
			}
		}
	}
}

func yieldNamed(yield func(Reference) bool, r Reference) bool {
	return r.Name == "" || yield(r)
}

// volumeSecrets are the secrets of the pod's own namespace that a volume refers to.
func volumeSecrets(v *corev1.Volume) []string {
	local := func(ref *corev1.LocalObjectReference) []string {
		if ref == nil {
			return nil
		}
		return []string{ref.Name}
	}
	switch {
	case v.Secret != nil:
		return []string{v.Secret.SecretName}
	case v.Projected != nil:
		var names []string
		for n := range v.Projected.Sources {
			if s := v.Projected.Sources[n].Secret; s != nil {
				names = append(names, s.Name)
			}
		}
		return names
	case v.AzureFile != nil:
		return []string{v.AzureFile.SecretName}
	case v.CephFS != nil:
		return local(v.CephFS.SecretRef)
	case v.Cinder != nil:
		return local(v.Cinder.SecretRef)
	case v.FlexVolume != nil:
		return local(v.FlexVolume.SecretRef)
	case v.RBD != nil:
		return local(v.RBD.SecretRef)
	case v.ISCSI != nil:
		return local(v.ISCSI.SecretRef)
	case v.ScaleIO != nil:
		return local(v.ScaleIO.SecretRef)
	case v.StorageOS != nil:
		return local(v.StorageOS.SecretRef)
	case v.CSI != nil:
		return local(v.CSI.NodePublishSecretRef)
	}
	return nil
}

// ConfigMaps yields the ConfigMaps that a pod refers to, in volumes and environments.
func ConfigMaps(pod *corev1.Pod) iter.Seq[Reference] {
	return func(yield func(Reference) bool) {
		for c := range Containers(&pod.Spec) {
			for n := range c.EnvFrom {
				if ref := c.EnvFrom[n].ConfigMapRef; ref != nil && !yieldNamed(yield, Reference{Name: ref.Name, Container: &c}) {
					return
				}
			}
			for n := range c.Env {
				from := c.Env[n].ValueFrom
				if from == nil || from.ConfigMapKeyRef == nil {
					continue
				}
				if !yieldNamed(yield, Reference{Name: from.ConfigMapKeyRef.Name, Container: &c, Variable: c.Env[n].Name}) {
					return
				}
			}
		}
		for n := range pod.Spec.Volumes {
			v := &pod.Spec.Volumes[n]
			if v.ConfigMap != nil && !yieldNamed(yield, Reference{Name: v.ConfigMap.Name, Volume: v.Name}) {
				return
			}
			if v.Projected == nil {
				continue
			}
			for i := range v.Projected.Sources {
				if m := v.Projected.Sources[i].ConfigMap; m != nil && !yieldNamed(yield, Reference{Name: m.Name, Volume: v.Name}) {
					return
				}
			}
		}
	}
}

// Claims yields the names of the PersistentVolumeClaims that a pod uses, those of its ephemeral volumes included.
func Claims(pod *corev1.Pod) iter.Seq[string] {
	return func(yield func(string) bool) {
		for n := range pod.Spec.Volumes {
			v := &pod.Spec.Volumes[n]
			switch {
			case v.PersistentVolumeClaim != nil:
				if !yield(v.PersistentVolumeClaim.ClaimName) {
					return
				}
			case v.Ephemeral != nil:
				if !yield(pod.Name + "-" + v.Name) {
					return
				}
			}
		}
	}
}

// ResourceClaims yields the names of the ResourceClaims that a pod uses: named in its spec, made from templates, or
// made for its extended resources.
func ResourceClaims(pod *corev1.Pod) iter.Seq[string] {
	return func(yield func(string) bool) {
		for n := range pod.Spec.ResourceClaims {
			if name := pod.Spec.ResourceClaims[n].ResourceClaimName; name != nil && !yield(*name) {
				return
			}
		}
		for n := range pod.Status.ResourceClaimStatuses {
			if name := pod.Status.ResourceClaimStatuses[n].ResourceClaimName; name != nil && !yield(*name) {
				return
			}
		}
		if s := pod.Status.ExtendedResourceClaimStatus; s != nil && s.ResourceClaimName != "" {
			yield(s.ResourceClaimName)
		}
	}
}
