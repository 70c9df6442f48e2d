package auth

import (
	"iter"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
)

// mirrorRelations finds what a node has to do with an object by walking over the node's pods, of which the mirror
// keeps an index: no graph is kept beside it. A mirror pod gives its node nothing but itself, because the node
// itself made it up.
type mirrorRelations struct{ objects }

func (m mirrorRelations) pods(node string) iter.Seq[*corev1.Pod] {
	return func(yield func(*corev1.Pod) bool) {
		r, ok := m.registry.Resource(podsResource)
		if !ok {
			return
		}
		for item := range r.ByField("spec.nodeName", node) {
			if pod, ok := item.Object().(*corev1.Pod); ok && !yield(pod) {
				return
			}
		}
	}
}

// anyPod tells whether one of the node's own pods in the namespace ("" for all) satisfies f.
func (m mirrorRelations) anyPod(node, namespace string, f func(*corev1.Pod) bool) bool {
	for pod := range m.pods(node) {
		if namespace != "" && pod.Namespace != namespace {
			continue
		}
		if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
			continue
		}
		if f(pod) {
			return true
		}
	}
	return false
}

func (m mirrorRelations) related(node string, gr schema.GroupResource, namespace, name string) bool {
	switch gr {
	case podsResource:
		pod, ok := get[*corev1.Pod](m.objects, podsResource, namespace, name)
		return ok && pod.Spec.NodeName == node
	case secretsResource:
		return m.anyPod(node, namespace, func(pod *corev1.Pod) bool { return names(podspec.Secrets(pod), name) }) ||
			m.secretOfVolume(node, namespace, name)
	case configMapsResource:
		return m.anyPod(node, namespace, func(pod *corev1.Pod) bool { return names(podspec.ConfigMaps(pod), name) })
	case serviceAccountsResource:
		return m.anyPod(node, namespace, func(pod *corev1.Pod) bool { return pod.Spec.ServiceAccountName == name })
	case claimsResource:
		return m.anyPod(node, namespace, func(pod *corev1.Pod) bool { return holds(podspec.Claims(pod), name) })
	case resourceClaimsResource:
		return m.anyPod(node, namespace, func(pod *corev1.Pod) bool { return holds(podspec.ResourceClaims(pod), name) })
	case volumesResource:
		return m.volume(node, func(v string) bool { return v == name })
	case attachmentsResource:
		a, ok := get[*storagev1.VolumeAttachment](m.objects, attachmentsResource, "", name)
		return ok && a.Spec.NodeName == node
	case resourceSlicesResource:
		s, ok := get[*resourcev1.ResourceSlice](m.objects, resourceSlicesResource, "", name)
		return ok && s.Spec.NodeName != nil && *s.Spec.NodeName == node
	case podCertificateRequestResource:
		r, ok := get[*certificatesv1.PodCertificateRequest](m.objects, podCertificateRequestResource, namespace, name)
		return ok && string(r.Spec.NodeName) == node
	}
	return false
}

// volume tells whether a claim of one of the node's pods is bound to a volume that satisfies f.
func (m mirrorRelations) volume(node string, f func(volume string) bool) bool {
	return m.anyPod(node, "", func(pod *corev1.Pod) bool {
		for claim := range podspec.Claims(pod) {
			c, ok := get[*corev1.PersistentVolumeClaim](m.objects, claimsResource, pod.Namespace, claim)
			if ok && c.Spec.VolumeName != "" && f(c.Spec.VolumeName) {
				return true
			}
		}
		return false
	})
}

// secretOfVolume tells whether a volume of one of the node's pods needs the secret to be mounted.
func (m mirrorRelations) secretOfVolume(node, namespace, name string) bool {
	return m.volume(node, func(volume string) bool {
		v, ok := get[*corev1.PersistentVolume](m.objects, volumesResource, "", volume)
		if !ok {
			return false
		}
		for _, ref := range volumeSecrets(v) {
			if ref != nil && ref.Namespace == namespace && ref.Name == name {
				return true
			}
		}
		return false
	})
}

// volumeSecrets are the secrets that kubelets need to mount a volume; one without a namespace is its claim's.
func volumeSecrets(v *corev1.PersistentVolume) []*corev1.SecretReference {
	var refs []*corev1.SecretReference
	switch s := &v.Spec.PersistentVolumeSource; {
	case s.AzureFile != nil:
		ref := &corev1.SecretReference{Name: s.AzureFile.SecretName}
		if s.AzureFile.SecretNamespace != nil {
			ref.Namespace = *s.AzureFile.SecretNamespace
		}
		refs = append(refs, ref)
	case s.CephFS != nil:
		refs = append(refs, s.CephFS.SecretRef)
	case s.Cinder != nil:
		refs = append(refs, s.Cinder.SecretRef)
	case s.FlexVolume != nil:
		refs = append(refs, s.FlexVolume.SecretRef)
	case s.RBD != nil:
		refs = append(refs, s.RBD.SecretRef)
	case s.ScaleIO != nil:
		refs = append(refs, s.ScaleIO.SecretRef)
	case s.ISCSI != nil:
		refs = append(refs, s.ISCSI.SecretRef)
	case s.StorageOS != nil && s.StorageOS.SecretRef != nil:
		refs = append(refs, &corev1.SecretReference{Namespace: s.StorageOS.SecretRef.Namespace, Name: s.StorageOS.SecretRef.Name})
	case s.CSI != nil:
		refs = append(refs, s.CSI.NodePublishSecretRef, s.CSI.NodeStageSecretRef, s.CSI.NodeExpandSecretRef)
	}
	for _, ref := range refs {
		if ref != nil && ref.Namespace == "" && v.Spec.ClaimRef != nil {
			ref = ref.DeepCopy()
			ref.Namespace = v.Spec.ClaimRef.Namespace
			refs = append(refs, ref)
		}
	}
	return refs
}

func names(refs iter.Seq[podspec.Reference], name string) bool {
	for r := range refs {
		if r.Name == name {
			return true
		}
	}
	return false
}

func holds(list iter.Seq[string], name string) bool {
	for s := range list {
		if s == name {
			return true
		}
	}
	return false
}
