package placement

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// none ends the list of changes.
const none = int32(-1)

// node is one slot. object is nil while the slot is empty, and for a name that only pods mention.
type node struct {
	slot   int32
	name   string
	object *corev1.Node

	milliCPU, memory, ephemeral, podsMax int64
	scalars                              map[corev1.ResourceName]int64
	// refusing are the taints that keep pods away, NoSchedule and NoExecute.
	refusing, preferNoSchedule []corev1.Taint

	// zone number, none if it has no such label; hostnamed if it has a hostname label.
	zone      int32
	hostnamed bool

	// pods that take room here, the highest priority first; among equals those that came first.
	pods []*Pod
	// used and ports are what these pods take.
	used  usage
	ports []hostPort

	stamp        uint64
	newer, older int32
	turn         uint32
}

// usage is the sum of the demands of a node's pods.
type usage struct {
	milliCPU, memory, ephemeral  int64
	scoredMilliCPU, scoredMemory int64
	scalars                      map[corev1.ResourceName]int64
}

// SetNode adds or changes a node. It tells what changed of what plugins read; heartbeats change nothing of it.
func (c *Cluster) SetNode(object *corev1.Node) Events {
	n := c.nodeNamed(object.Name)
	old, events := n.object, NodeAdded
	n.object = object
	if old == nil {
		c.count++
	} else if events = nodeEvents(old, object) & c.reads; events == 0 {
		return 0
	}
	n.milliCPU = object.Status.Allocatable.Cpu().MilliValue()
	n.memory = object.Status.Allocatable.Memory().Value()
	n.ephemeral = object.Status.Allocatable.StorageEphemeral().Value()
	n.podsMax = object.Status.Allocatable.Pods().Value()
	n.scalars = nil
	for name, quantity := range object.Status.Allocatable {
		switch name {
		case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage, corev1.ResourcePods:
			continue
		}
		if n.scalars == nil {
			n.scalars = map[corev1.ResourceName]int64{}
		}
		n.scalars[name] = quantity.Value()
	}
	n.refusing, n.preferNoSchedule = nil, nil
	for _, t := range object.Spec.Taints {
		if t.Effect == corev1.TaintEffectPreferNoSchedule {
			n.preferNoSchedule = append(n.preferNoSchedule, t)
		} else {
			n.refusing = append(n.refusing, t)
		}
	}
	c.setZone(n, c.zones.of(object))
	_, n.hostnamed = object.Labels[corev1.LabelHostname]
	if old == nil || events&NodeLabels != 0 {
		c.topologies.nodeChanged(n)
	}
	c.images.nodeChanged(c, n.slot, old, object)
	c.changed(n)
	return events
}

// RemoveNode forgets a node. Its pods stay known until they go themselves.
func (c *Cluster) RemoveNode(name string) {
	n, ok := c.byName[name]
	if !ok || n.object == nil {
		return
	}
	c.images.nodeChanged(c, n.slot, n.object, nil)
	n.object, n.scalars, n.refusing, n.preferNoSchedule = nil, nil, nil, nil
	c.setZone(n, none)
	c.topologies.nodeChanged(n)
	c.count--
	c.changed(n)
	c.release(n)
}

func (c *Cluster) setZone(n *node, zone int32) {
	c.owners.rezone(n, n.zone, zone)
	n.zone = zone
}

// nodeNamed finds or makes the slot of a name.
func (c *Cluster) nodeNamed(name string) *node {
	if n, ok := c.byName[name]; ok {
		return n
	}
	var n *node
	if last := len(c.free) - 1; last >= 0 {
		n = c.nodes[c.free[last]]
		c.free = c.free[:last]
	} else {
		n = &node{slot: int32(len(c.nodes)), newer: none, older: none, zone: none}
		c.nodes = append(c.nodes, n)
		c.link(n)
	}
	n.name, n.turn = name, 0
	c.byName[name] = n
	return n
}

// release gives a slot back that has neither node nor pods.
func (c *Cluster) release(n *node) {
	if n.object != nil || len(n.pods) > 0 {
		return
	}
	delete(c.byName, n.name)
	n.name, n.used, n.pods, n.ports = "", usage{}, nil, nil
	c.free = append(c.free, n.slot)
}

// changed moves the node to the front of the list of changes.
func (c *Cluster) changed(n *node) {
	c.stamp++
	n.stamp = c.stamp
	if c.newest == n.slot {
		return
	}
	c.nodes[n.newer].older = n.older
	if n.older != none {
		c.nodes[n.older].newer = n.newer
	} else {
		c.oldest = n.newer
	}
	c.pushFront(n)
}

func (c *Cluster) link(n *node) {
	c.stamp++
	n.stamp = c.stamp
	c.pushFront(n)
}

func (c *Cluster) pushFront(n *node) {
	n.newer, n.older = none, c.newest
	if c.newest != none {
		c.nodes[c.newest].newer = n.slot
	} else {
		c.oldest = n.slot
	}
	c.newest = n.slot
}

// add takes a pod in: a change that those who look at the node are told of by Cluster.changed.
func (n *node) add(p *Pod) {
	if last := len(n.pods) - 1; last < 0 || n.pods[last].priority >= p.priority { // nearly all pods have the same
		n.pods = append(n.pods, p)
	} else {
		at, _ := slices.BinarySearchFunc(n.pods, p.priority, func(o *Pod, priority int32) int {
			if o.priority >= priority {
				return -1
			}
			return 1
		})
		n.pods = slices.Insert(n.pods, at, p)
	}
	n.count(p.demand, 1)
	n.ports = append(n.ports, p.demand.ports...)
}

// remove lets a pod of the node go.
func (n *node) remove(p *Pod) {
	at := slices.Index(n.pods, p)
	n.pods = slices.Delete(n.pods, at, at+1)
	n.count(p.demand, -1)
	for _, port := range p.demand.ports {
		if at := slices.Index(n.ports, port); at >= 0 {
			n.ports = slices.Delete(n.ports, at, at+1)
		}
	}
}

// count changes the sums by a demand, sign 1 or -1.
func (n *node) count(d *demand, sign int64) {
	u := &n.used
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
}
