package core

import (
	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// prepareEphemeralContainers keeps everything but the ephemeral containers.
func prepareEphemeralContainers(next, old *corev1.Pod) {
	containers := next.Spec.EphemeralContainers
	next.Spec, next.Status = old.Spec, old.Status
	keepObjectMeta(next, old)
	next.Spec.EphemeralContainers = containers
	for i := range containers {
		podspec.DropDisabledOfContainer((*corev1.Container)(&containers[i].EphemeralContainerCommon))
	}
}

// keepObjectMeta takes back metadata that subresources of the spec may not change.
func keepObjectMeta(next, old *corev1.Pod) {
	next.DeletionTimestamp, next.DeletionGracePeriodSeconds = old.DeletionTimestamp, old.DeletionGracePeriodSeconds
	next.Generation = old.Generation
	next.SelfLink = old.SelfLink
	next.Labels, next.Annotations = old.Labels, old.Annotations
	next.OwnerReferences, next.Finalizers = old.OwnerReferences, old.Finalizers
}

// validateEphemeralContainersUpdate: ephemeral containers are added, never changed or removed.
func validateEphemeralContainersUpdate(next, old *corev1.Pod) field.ErrorList {
	var ps problems
	if _, static := old.Annotations[corev1.MirrorPodAnnotationKey]; static {
		ps.Forbidden(field.NewPath(""), "", "static pods cannot have ephemeral containers")
		return ps.List
	}
	ps.changedPod(next, old)
	present := make(map[string]*corev1.EphemeralContainer, len(next.Spec.EphemeralContainers))
	for i := range next.Spec.EphemeralContainers {
		present[next.Spec.EphemeralContainers[i].Name] = &next.Spec.EphemeralContainers[i]
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
