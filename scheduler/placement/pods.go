package placement

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Pod is a pod that takes room on a node.
type Pod struct {
	Object *corev1.Pod
	demand *demand
	node   *node
	terms  []*heldTerm
}

// Node is the name of the pod's node.
func (p *Pod) Node() string { return p.node.name }

// Pod finds a pod on a node.
func (c *Cluster) Pod(uid types.UID) (*Pod, bool) {
	p, ok := c.pods[uid]
	return p, ok
}

// SetPod takes note of a pod that has a node, or replaces what was known of it. It tells whether room was freed.
func (c *Cluster) SetPod(object *corev1.Pod) (freed bool) {
	known, ok := c.pods[object.UID]
	if ok && known.node.name == object.Spec.NodeName {
		return c.updatePod(known, object)
	}
	if ok {
		c.RemovePod(object.UID)
	}
	c.addPod(object, c.demands.of(object), c.nodeNamed(object.Spec.NodeName))
	return ok
}

// Assume takes note of a pod that is about to be bound to the node.
func (c *Cluster) Assume(p *PendingPod, nodeName string) {
	c.turn++
	n := c.nodeNamed(nodeName)
	n.turn = c.turn
	c.addPod(p.pod, p.demand, n)
}

// updatePod takes over a changed pod. The usual change is of status alone, and costs nothing here.
func (c *Cluster) updatePod(p *Pod, object *corev1.Pod) (freed bool) {
	old := p.Object
	p.Object = object
	if !maps.Equal(old.Labels, object.Labels) || (old.DeletionTimestamp == nil) != (object.DeletionTimestamp == nil) {
		c.topology.count(old, p.node, -1)
		c.topology.count(object, p.node, 1)
		counted := c.owners.count(old, p.node, -1)
		if c.owners.count(object, p.node, 1) != counted {
			c.changed(p.node)
		}
		freed = true
	}
	if old.Generation == object.Generation && object.Generation != 0 && !resized(old) && !resized(object) {
		return freed
	}
	if d := c.demands.of(object); d.key != p.demand.key {
		c.add(p.node, p.demand, -1)
		p.demand = d
		c.add(p.node, d, 1)
		c.changed(p.node)
		return true
	}
	return freed
}

// resized tells whether the node reports resources of its own for the pod, which then count instead of the spec's.
func resized(pod *corev1.Pod) bool {
	for i := range pod.Status.ContainerStatuses {
		s := &pod.Status.ContainerStatuses[i]
		if s.Resources != nil || s.AllocatedResources != nil {
			return true
		}
	}
	return pod.Status.Resources != nil || pod.Status.AllocatedResources != nil
}

func (c *Cluster) addPod(object *corev1.Pod, d *demand, n *node) {
	p := &Pod{Object: object, demand: d, node: n}
	c.pods[object.UID] = p
	c.add(n, d, 1)
	c.topology.count(object, n, 1)
	c.owners.count(object, n, 1)
	p.terms = c.topology.addTerms(object, n)
	c.changed(n)
}

// RemovePod frees what the pod took. It returns the node's name, empty if the pod was not known.
func (c *Cluster) RemovePod(uid types.UID) string {
	p, ok := c.pods[uid]
	if !ok {
		return ""
	}
	delete(c.pods, uid)
	c.add(p.node, p.demand, -1)
	c.topology.count(p.Object, p.node, -1)
	c.owners.count(p.Object, p.node, -1)
	c.topology.removeTerms(p)
	c.changed(p.node)
	name := p.node.name
	c.release(p.node)
	return name
}

// add changes the node's sums by a demand, sign 1 or -1.
func (c *Cluster) add(n *node, d *demand, sign int64) {
	u := &n.used
	u.pods += sign
	u.milliCPU += sign * d.milliCPU
	u.memory += sign * d.memory
	u.ephemeral += sign * d.ephemeral
	u.scoredMilliCPU += sign * d.scoredMilliCPU
	u.scoredMemory += sign * d.scoredMemory
	for _, s := range d.scalars {
		if u.scalars == nil {
			u.scalars = map[corev1.ResourceName]int64{}
		}
		u.scalars[s.name] += sign * s.amount
	}
	for _, p := range d.ports {
		if sign > 0 {
			n.ports = append(n.ports, p)
		} else if i := slices.Index(n.ports, p); i >= 0 {
			n.ports = slices.Delete(n.ports, i, i+1)
		}
	}
}
