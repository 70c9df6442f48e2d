package placement

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Pod is a pod that takes room on a node.
type Pod struct {
	Object *corev1.Pod
	demand *demand
	node   *node
	// held are its own rules about other pods, nil for none.
	held *podAffinities
	// priority is by what the node orders its pods; at is the pod's position in podsIn.
	priority, at int32
}

// Node is the name of the pod's node.
func (p *Pod) Node() string { return p.node.name }

// Priority of the pod: those of higher priority may take its room.
func (p *Pod) Priority() int32 { return p.priority }

func priorityOf(pod *corev1.Pod) int32 {
	if pod.Spec.Priority == nil {
		return 0
	}
	return *pod.Spec.Priority
}

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
		c.countPod(old, p.node, -1)
		c.countPod(object, p.node, 1)
		counted := c.owners.count(old, p.node, -1)
		if c.owners.count(object, p.node, 1) != counted {
			c.changed(p.node)
		}
		freed = true
	}
	if old.Generation == object.Generation && object.Generation != 0 && !resized(old) && !resized(object) {
		return freed
	}
	d, priority := c.demands.of(object), priorityOf(object)
	if d.key == p.demand.key && priority == p.priority {
		return freed
	}
	p.node.remove(p)
	p.demand, p.priority = d, priority
	p.node.add(p)
	c.changed(p.node)
	return true
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
	p := &Pod{Object: object, demand: d, node: n, priority: priorityOf(object)}
	c.pods[object.UID] = p
	n.add(p)
	c.enterNamespace(p)
	c.countPod(object, n, 1)
	c.owners.count(object, n, 1)
	p.held = c.hold(object, n)
	c.changed(n)
}

// RemovePod frees what the pod took. It returns the node's name, empty if the pod was not known.
func (c *Cluster) RemovePod(uid types.UID) string {
	p, ok := c.pods[uid]
	if !ok {
		return ""
	}
	delete(c.pods, uid)
	p.node.remove(p)
	c.leaveNamespace(p)
	c.countPod(p.Object, p.node, -1)
	c.owners.count(p.Object, p.node, -1)
	c.letGo(p.held, p.node)
	c.changed(p.node)
	name := p.node.name
	c.release(p.node)
	return name
}

// podList is the pods of one namespace that are on nodes.
type podList struct{ pods []*Pod }

func (c *Cluster) enterNamespace(p *Pod) {
	same := c.podsIn[p.Object.Namespace]
	if same == nil {
		same = &podList{}
		c.podsIn[p.Object.Namespace] = same
	}
	p.at = int32(len(same.pods))
	same.pods = append(same.pods, p)
}

func (c *Cluster) leaveNamespace(p *Pod) {
	same := c.podsIn[p.Object.Namespace]
	last := len(same.pods) - 1
	same.pods[last].at = p.at
	same.pods[p.at], same.pods[last] = same.pods[last], nil
	if same.pods = same.pods[:last]; last == 0 {
		delete(c.podsIn, p.Object.Namespace)
	}
}
