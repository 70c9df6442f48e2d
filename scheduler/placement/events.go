package placement

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// Events is a set of things that happen to a cluster. Plugins say with it what they read of nodes, and what can help a pod that
// they refused.
type Events uint16

// The events. Those before PodArrived are of nodes.
const (
	NodeAdded Events = 1 << iota
	NodeRemoved
	// NodeSchedulable: spec.unschedulable changed.
	NodeSchedulable
	NodeLabels
	NodeTaints
	NodeAllocatable
	NodeImages
	// PodArrived: a pod came to a node, or one on a node has other labels.
	PodArrived
	// PodDeparted: a pod left a node, begins to end, takes less there, or has other labels.
	PodDeparted
	// NamespaceLabels: a namespace came, went, or has other labels.
	NamespaceLabels

	// AnyEvent is all of them.
	AnyEvent = NamespaceLabels<<1 - 1
)

// nodeChanges are all ways in which an object of a node can differ from another.
const nodeChanges = NodeSchedulable | NodeLabels | NodeTaints | NodeAllocatable | NodeImages

// nodeEvents tells in what two objects of a node differ, as far as plugins can say that they read it.
func nodeEvents(a, b *corev1.Node) Events {
	var e Events
	if a.Spec.Unschedulable != b.Spec.Unschedulable {
		e |= NodeSchedulable
	}
	if !maps.Equal(a.Labels, b.Labels) {
		e |= NodeLabels
	}
	if !slices.EqualFunc(a.Spec.Taints, b.Spec.Taints, func(x, y corev1.Taint) bool {
		return x.Key == y.Key && x.Value == y.Value && x.Effect == y.Effect
	}) {
		e |= NodeTaints
	}
	if !equality.Semantic.DeepEqual(a.Status.Allocatable, b.Status.Allocatable) {
		e |= NodeAllocatable
	}
	if !slices.EqualFunc(a.Status.Images, b.Status.Images, func(x, y corev1.ContainerImage) bool {
		return x.SizeBytes == y.SizeBytes && slices.Equal(x.Names, y.Names)
	}) {
		e |= NodeImages
	}
	return e
}
