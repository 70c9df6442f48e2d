package placement

import (
	"reflect"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// The short way of summing a pod's containers gives what the whole computation gives.
func TestSumsAgree(t *testing.T) {
	requests := []corev1.ResourceList{
		nil,
		{},
		{corev1.ResourceCPU: resource.MustParse("100m")},
		{corev1.ResourceCPU: resource.MustParse("0")},
		{corev1.ResourceMemory: resource.MustParse("1Gi"), corev1.ResourceEphemeralStorage: resource.MustParse("3G")},
		{corev1.ResourceCPU: resource.MustParse("100u"), corev1.ResourceMemory: resource.MustParse("100m"), "x/gpu": resource.MustParse("2")},
		{"x/gpu": resource.MustParse("1"), corev1.ResourceHugePagesPrefix + "2Mi": resource.MustParse("4Mi")},
	}
	for _, a := range requests {
		for _, b := range requests {
			pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{
				{Name: "a", Resources: corev1.ResourceRequirements{Requests: a}}, {Name: "b", Resources: corev1.ResourceRequirements{Requests: b}}}}}
			var short, whole demand
			short.sumContainers(pod.Spec.Containers)
			whole.sumPod(pod)
			for _, d := range []*demand{&short, &whole} {
				slices.SortFunc(d.scalars, func(a, b scalar) int { return int(b.amount - a.amount) })
			}
			if !reflect.DeepEqual(short, whole) {
				t.Errorf("%v + %v: %+v, the whole computation gives %+v", a, b, short, whole)
			}
		}
	}
}
