package podspec

import (
	"iter"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Container is one container of a pod, of whatever kind.
type Container struct {
	*corev1.Container
	// List is the field of the pod's spec that holds it: containers, initContainers or ephemeralContainers.
	List  string
	Index int
}

// Lists of containers in a pod's spec.
const (
	Main      = "containers"
	Init      = "initContainers"
	Ephemeral = "ephemeralContainers"
)

// Path of the container under the path of the pod's spec.
func (c Container) Path(spec *field.Path) *field.Path { return spec.Child(c.List).Index(c.Index) }

// Containers yields every container of every kind: init, main, ephemeral. An ephemeral container appears as a
// Container with the same fields.
func Containers(spec *corev1.PodSpec) iter.Seq[Container] {
	return func(yield func(Container) bool) {
		for n := range spec.InitContainers {
			if !yield(Container{&spec.InitContainers[n], Init, n}) {
				return
			}
		}
		for n := range spec.Containers {
			if !yield(Container{&spec.Containers[n], Main, n}) {
				return
			}
		}
		for n := range spec.EphemeralContainers {
			c := (*corev1.Container)(&spec.EphemeralContainers[n].EphemeralContainerCommon)
			if !yield(Container{c, Ephemeral, n}) {
				return
			}
		}
	}
}
