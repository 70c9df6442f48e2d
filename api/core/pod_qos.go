package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// QOS derives a pod's quality of service from its requests and limits of CPU and memory:
// Guaranteed when every container's limits equal its requests, BestEffort when nothing is asked for, Burstable otherwise.
// Requests and limits of the pod as a whole, where they are set, stand in for those of its containers.
func QOS(p *corev1.Pod) corev1.PodQOSClass {
	requests, limits := corev1.ResourceList{}, corev1.ResourceList{}
	guaranteed := true
	gather := func(r *corev1.ResourceRequirements) {
		addCompute(requests, r.Requests)
		if addCompute(limits, r.Limits) < 2 { // one container without a limit of either takes what is there
			guaranteed = false
		}
	}
	if r := p.Spec.Resources; r != nil && (len(r.Requests) > 0 || len(r.Limits) > 0) {
		gather(r)
	} else {
		for i := range p.Spec.Containers {
			gather(&p.Spec.Containers[i].Resources)
		}
		for i := range p.Spec.InitContainers {
			gather(&p.Spec.InitContainers[i].Resources)
		}
	}
	if len(requests) == 0 && len(limits) == 0 {
		return corev1.PodQOSBestEffort
	}
	if !guaranteed || len(requests) != len(limits) {
		return corev1.PodQOSBurstable
	}
	for name, asked := range requests {
		if limit, ok := limits[name]; !ok || limit.Cmp(asked) != 0 {
			return corev1.PodQOSBurstable
		}
	}
	return corev1.PodQOSGuaranteed
}

// addCompute adds the positive amounts of CPU and memory in list to sum and returns how many there were.
func addCompute(sum, list corev1.ResourceList) int {
	found := 0
	for name, q := range list {
		if (name != corev1.ResourceCPU && name != corev1.ResourceMemory) || q.Cmp(resource.Quantity{}) != 1 {
			continue
		}
		found++
		total := q.DeepCopy()
		if present, ok := sum[name]; ok {
			total.Add(present)
		}
		sum[name] = total
	}
	return found
}
