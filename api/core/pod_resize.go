package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// preparePodResize keeps everything but resources and resize policies. Containers that were added, removed, renamed
// or moved are left for validation to refuse.
func preparePodResize(next, old *corev1.Pod) {
	containers, ok := resized(next.Spec.Containers, old.Spec.Containers)
	inits, initsOK := resized(next.Spec.InitContainers, old.Spec.InitContainers)
	if !ok || !initsOK {
		next.Status = old.Status
		return
	}
	whole := next.Spec.Resources
	next.Spec, next.Status = old.Spec, old.Status
	keepObjectMeta(next, old)
	next.Spec.Containers, next.Spec.InitContainers, next.Spec.Resources = containers, inits, whole
}

// resized is old with the resources of next; false if these are not the same containers.
func resized(next, old []corev1.Container) ([]corev1.Container, bool) {
	if len(next) != len(old) {
		return nil, false
	}
	merged := append([]corev1.Container(nil), old...)
	for i := range next {
		if next[i].Name != old[i].Name {
			return nil, false
		}
		merged[i].Resources = next[i].Resources
		merged[i].ResizePolicy = next[i].ResizePolicy
	}
	return merged, true
}

func validatePodResize(next, old *corev1.Pod) field.ErrorList {
	var ps problems
	if _, static := old.Annotations[corev1.MirrorPodAnnotationKey]; static {
		ps.Forbidden(field.NewPath(""), "", "static pods cannot be resized")
		return ps.List
	}
	if old.Spec.OS != nil && old.Spec.OS.Name == corev1.Windows {
		ps.Forbidden(field.NewPath(""), "", "pods on Windows cannot be resized")
		return ps.List
	}
	ps.changedPod(next, old)
	if !ps.sameContainers(next.Spec.Containers, old.Spec.Containers, "containers") || !ps.sameContainers(next.Spec.InitContainers, old.Spec.InitContainers, "initContainers") {
		return ps.List
	}
	if qosOf(old) != QOS(next) {
		ps.Invalid(specPath, "", QOS(next), "a resize may not change the pod's QoS class")
	}
	if !nodeResizes(old) {
		ps.Forbidden(specPath, "", "the pod's node does not support resizing")
	}
	ps.nothingRemoved(next.Spec.Resources, old.Spec.Resources, specPath.Child("resources"))
	ps.resizedContainers(next.Spec.InitContainers, old.Spec.InitContainers, "initContainers")
	ps.resizedContainers(next.Spec.Containers, old.Spec.Containers, "containers")
	if len(ps.List) > 0 {
		return ps.List
	}
	rest := kind.Copy(next).Spec
	rest.Containers, rest.InitContainers = old.Spec.Containers, old.Spec.InitContainers
	computeFrom(&rest.Resources, old.Spec.Resources)
	if !equality.Semantic.DeepEqual(&rest, &old.Spec) {
		ps.Forbidden(specPath, "", "only cpu and memory may be resized")
	}
	return ps.List
}

// qosOf is the class that the pod has, which is fixed at its creation.
func qosOf(p *corev1.Pod) corev1.PodQOSClass {
	if p.Status.QOSClass != "" {
		return p.Status.QOSClass
	}
	return QOS(p)
}

// nodeResizes tells whether the pod's node reports resources of running containers, as nodes do that can resize them.
func nodeResizes(p *corev1.Pod) bool {
	for i := range p.Status.ContainerStatuses {
		if c := &p.Status.ContainerStatuses[i]; c.State.Running != nil {
			return c.Resources != nil
		}
	}
	return true
}

func (ps *problems) resizedContainers(next, old []corev1.Container, list string) {
	for i := range old {
		ps.nothingRemoved(&next[i].Resources, &old[i].Resources, specPath.Child(list).Index(i).Child("resources"))
		rest := *next[i].DeepCopy()
		resources := &rest.Resources
		computeFrom(&resources, &old[i].Resources)
		if !equality.Semantic.DeepEqual(&rest, &old[i]) {
			ps.Forbidden(specPath, "", "only cpu and memory may be resized")
		}
	}
}

func (ps *problems) nothingRemoved(next, old *corev1.ResourceRequirements, at *field.Path) {
	if old == nil {
		return
	}
	var now corev1.ResourceRequirements
	if next != nil {
		now = *next
	}
	if lacks(now.Requests, old.Requests) {
		ps.Forbidden(at, "requests", "requests may not be removed")
	}
	if lacks(now.Limits, old.Limits) {
		ps.Forbidden(at, "limits", "limits may not be removed")
	}
}

func lacks(next, old corev1.ResourceList) bool {
	for name := range old {
		if _, ok := next[name]; !ok {
			return true
		}
	}
	return false
}

// computeFrom sets CPU and memory in r back to what they were in old.
func computeFrom(r **corev1.ResourceRequirements, old *corev1.ResourceRequirements) {
	if old == nil {
		old = &corev1.ResourceRequirements{}
		if *r == nil {
			return
		}
	}
	if *r == nil {
		*r = &corev1.ResourceRequirements{}
	}
	restore := func(now, before corev1.ResourceList) corev1.ResourceList {
		list := now.DeepCopy()
		if list == nil {
			list = corev1.ResourceList{}
		}
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			delete(list, name)
			if q, ok := before[name]; ok {
				list[name] = q
			}
		}
		if len(list) == 0 {
			return nil
		}
		return list
	}
	(*r).Limits = restore((*r).Limits, old.Limits)
	(*r).Requests = restore((*r).Requests, old.Requests)
}
