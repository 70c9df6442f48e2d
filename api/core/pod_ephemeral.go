package core

import (
	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// prepareEphemeralContainers keeps everything but the ephemeral containers.
func prepareEphemeralContainers(new, old *corev1.Pod) {
	containers := new.Spec.EphemeralContainers
	new.Spec, new.Status = old.Spec, old.Status
	keepObjectMeta(new, old)
	new.Spec.EphemeralContainers = containers
	for i := range containers {
		podspec.DropDisabledOfContainer((*corev1.Container)(&containers[i].EphemeralContainerCommon))
	}
}

// keepObjectMeta takes back metadata that subresources of the spec may not change.
func keepObjectMeta(new, old *corev1.Pod) {
	new.DeletionTimestamp, new.DeletionGracePeriodSeconds = old.DeletionTimestamp, old.DeletionGracePeriodSeconds
	new.Generation = old.Generation
	new.SelfLink = old.SelfLink
	new.Labels, new.Annotations = old.Labels, old.Annotations
	new.OwnerReferences, new.Finalizers = old.OwnerReferences, old.Finalizers
}

// validateEphemeralContainersUpdate: ephemeral containers are added, never changed or removed.
func validateEphemeralContainersUpdate(new, old *corev1.Pod) field.ErrorList {
	var ps problems
	if _, static := old.Annotations[corev1.MirrorPodAnnotationKey]; static {
		ps.Forbidden(field.NewPath(""), "", "static pods cannot have ephemeral containers")
		return ps.List
	}
	ps.changedPod(new, old)
	present := make(map[string]*corev1.EphemeralContainer, len(new.Spec.EphemeralContainers))
	for i := range new.Spec.EphemeralContainers {
		present[new.Spec.EphemeralContainers[i].Name] = &new.Spec.EphemeralContainers[i]
	}
	for i := range old.Spec.EphemeralContainers {
		before := &old.Spec.EphemeralContainers[i]
		after := present[before.Name]
		switch {
		case after == nil:
			ps.Forbidden(specPath, "ephemeralContainers", "existing ephemeral container "+before.Name+" may not be removed")
		case !equality.Semantic.DeepEqual(before, after):
			ps.Forbidden(specPath, "ephemeralContainers", "existing ephemeral container "+before.Name+" may not be changed")
		}
	}
	return ps.List
}
