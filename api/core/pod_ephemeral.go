package core

import (
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
		dropDisabledContainerFields((*corev1.Container)(&containers[i].EphemeralContainerCommon))
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
	if _, static := old.Annotations[mirrorAnnotation]; static {
		ps.forbidden(field.NewPath(""), "", "static pods cannot have ephemeral containers")
		return ps.list
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
			ps.forbidden(specPath, "ephemeralContainers", "existing ephemeral container "+before.Name+" may not be removed")
		case !equality.Semantic.DeepEqual(before, after):
			ps.forbidden(specPath, "ephemeralContainers", "existing ephemeral container "+before.Name+" may not be changed")
		}
	}
	return ps.list
}
