package podspec

import (
	"strings"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	corev1 "k8s.io/api/core/v1"
)

// NodeSelectorDoc describes the node selector of a pod, for columns.
var NodeSelectorDoc = kind.Doc(corev1.PodSpec{}, "nodeSelector")

// Restartable tells whether an init container is a sidecar.
func Restartable(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// ContainerNames joins the names of containers, for columns.
func ContainerNames(containers []corev1.Container) string {
	names := make([]string, len(containers))
	for i := range containers {
		names[i] = containers[i].Name
	}
	return strings.Join(names, ",")
}

// ContainerImages joins the images of containers, for columns.
func ContainerImages(containers []corev1.Container) string {
	images := make([]string, len(containers))
	for i := range containers {
		images[i] = containers[i].Image
	}
	return strings.Join(images, ",")
}

// NodeAffinity of a pod; nil if it has none.
func NodeAffinity(s *corev1.PodSpec) *corev1.NodeAffinity {
	if s.Affinity == nil {
		return nil
	}
	return s.Affinity.NodeAffinity
}
