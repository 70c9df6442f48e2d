package podspec

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// NodeSelectorDoc describes the node selector of a pod, for columns.
var NodeSelectorDoc = kind.Doc(corev1.PodSpec{}, "nodeSelector")

// Restartable tells whether an init container is a sidecar.
func Restartable(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// NodeAffinity of a pod; nil if it has none.
func NodeAffinity(s *corev1.PodSpec) *corev1.NodeAffinity {
	if s.Affinity == nil {
		return nil
	}
	return s.Affinity.NodeAffinity
}

// Columns are the names and images of the containers in the template of a kind; template may give nil.
func Columns[E any](template func(*E) *corev1.PodTemplateSpec) []kind.Column[E] {
	joined := func(of func(*corev1.Container) string) func(*E) string {
		return func(o *E) string {
			t := template(o)
			if t == nil {
				return ""
			}
			texts := make([]string, len(t.Spec.Containers))
			for i := range t.Spec.Containers {
				texts[i] = of(&t.Spec.Containers[i])
			}
			return strings.Join(texts, ",")
		}
	}
	return []kind.Column[E]{
		kind.Text("Containers", "Names of each container in the template.", joined(func(c *corev1.Container) string { return c.Name })),
		kind.Text("Images", "Images referenced by each container in the template.", joined(func(c *corev1.Container) string { return c.Image })),
	}
}

// WideColumns are Columns that are shown with -o wide only.
func WideColumns[E any](template func(*E) *corev1.PodTemplateSpec) []kind.Column[E] {
	list := Columns(template)
	for n := range list {
		list[n] = list[n].Wide()
	}
	return list
}
