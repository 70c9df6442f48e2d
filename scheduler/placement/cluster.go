// Package placement decides which node a pod goes to. It is the scheduler's pure part: it holds what is known of nodes
// and of the pods on them, and has no goroutine, clock, client or log. See DESIGN.md of the scheduler.
package placement

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// none ends the list of changes.
const none = int32(-1)

// Cluster is the nodes, and the pods that are on them or about to be. One goroutine owns it.
type Cluster struct {
	// nodes by slot. A slot is kept when its node goes, and used again.
	nodes  []*node
	byName map[string]*node
	free   []int32
	// count of the nodes that exist.
	count int
	pods  map[types.UID]*Pod

	// stamp grows with every change of a node; newest is the slot of the node with the highest stamp, and each
	// node's older leads to the one changed before it. A class walks this list from newest to its own stamp.
	stamp          uint64
	newest, oldest int32
	// turn grows with every placement. Among nodes of equal score the one whose turn is longest ago is taken.
	turn uint32

	demands  demands
	verdicts verdicts
	classes  classes
	images   images
	topology topology
	owners   owners
	zones    zones
	keyBuf   []byte
}

// node is one slot. object is nil while the slot is empty, and for a name that only pods mention.
type node struct {
	slot   int32
	name   string
	object *corev1.Node

	milliCPU, memory, ephemeral, podsMax int64
	scalars                              map[corev1.ResourceName]int64
	// refusing taints keep pods away; unloved ones (PreferNoSchedule) only lower the score.
	refusing, unloved []corev1.Taint

	// zone number, none if it has no such label; hostnamed if it has a hostname label.
	zone      int32
	hostnamed bool

	used  usage
	ports []hostPort

	stamp        uint64
	newer, older int32
	turn         uint32
}

// usage is the sum of the demands of a node's pods.
type usage struct {
	pods                         int64
	milliCPU, memory, ephemeral  int64
	scoredMilliCPU, scoredMemory int64
	scalars                      map[corev1.ResourceName]int64
}

// Pod is a pod that takes room on a node.
type Pod struct {
	Object *corev1.Pod
	demand *demand
	node   *node
	terms  []*heldTerm
}

// Node is the name of the pod's node.
func (p *Pod) Node() string { return p.node.name }

// NewCluster returns an empty cluster.
func NewCluster() *Cluster {
	c := &Cluster{byName: map[string]*node{}, pods: map[types.UID]*Pod{}, newest: none, oldest: none,
		owners: owners{}, zones: zones{}}
	c.verdicts.byKey = map[string]uint16{}
	c.classes.byKey = map[string]*class{}
	c.images.byName = map[string]*image{}
	c.topology.counters = map[string]*counter{}
	c.topology.repelling, c.topology.pulling = newHeldTerms(), newHeldTerms()
	c.topology.namespaces = map[string]labels.Set{}
	for _, v := range fixedVerdicts {
		c.verdicts.id(v)
	}
	return c
}

// Nodes is the number of nodes.
func (c *Cluster) Nodes() int { return c.count }

// Pods is the number of pods on nodes.
func (c *Cluster) Pods() int { return len(c.pods) }

// Pod finds a pod on a node.
func (c *Cluster) Pod(uid types.UID) (*Pod, bool) {
	p, ok := c.pods[uid]
	return p, ok
}

// SetNode adds or changes a node. It tells whether anything changed that placement looks at; heartbeats do not.
func (c *Cluster) SetNode(object *corev1.Node) bool {
	n := c.nodeNamed(object.Name)
	old := n.object
	if old != nil && sameForPlacement(old, object) {
		n.object = object
		return false
	}
	if old == nil {
		c.count++
	}
	n.object = object
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
	n.refusing, n.unloved = nil, nil
	for _, t := range object.Spec.Taints {
		if t.Effect == corev1.TaintEffectPreferNoSchedule {
			n.unloved = append(n.unloved, t)
		} else {
			n.refusing = append(n.refusing, t)
		}
	}
	c.setZone(n, c.zones.of(object))
	_, n.hostnamed = object.Labels[corev1.LabelHostname]
	c.images.nodeChanged(c, n.slot, old, object)
	c.changed(n)
	return true
}

// RemoveNode forgets a node. Its pods stay known until they go themselves.
func (c *Cluster) RemoveNode(name string) {
	n, ok := c.byName[name]
	if !ok || n.object == nil {
		return
	}
	c.images.nodeChanged(c, n.slot, n.object, nil)
	n.object, n.scalars, n.refusing, n.unloved = nil, nil, nil, nil
	c.setZone(n, none)
	c.count--
	c.changed(n)
	c.release(n)
}

func (c *Cluster) setZone(n *node, zone int32) {
	c.owners.rezone(n, n.zone, zone)
	n.zone = zone
}

// sameForPlacement compares what filters and scores read.
func sameForPlacement(a, b *corev1.Node) bool {
	return a.Spec.Unschedulable == b.Spec.Unschedulable &&
		maps.Equal(a.Labels, b.Labels) &&
		slices.EqualFunc(a.Spec.Taints, b.Spec.Taints, func(x, y corev1.Taint) bool {
			return x.Key == y.Key && x.Value == y.Value && x.Effect == y.Effect
		}) &&
		equality.Semantic.DeepEqual(a.Status.Allocatable, b.Status.Allocatable) &&
		slices.EqualFunc(a.Status.Images, b.Status.Images, func(x, y corev1.ContainerImage) bool {
			return x.SizeBytes == y.SizeBytes && slices.Equal(x.Names, y.Names)
		})
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
	if n.object != nil || n.used.pods > 0 {
		return
	}
	delete(c.byName, n.name)
	n.name, n.used, n.ports = "", usage{}, nil
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

// SetPod takes note of a pod that has a node, or replaces what was known of it. It tells whether room was freed.
func (c *Cluster) SetPod(object *corev1.Pod) (freed bool) {
	known, ok := c.pods[object.UID]
	if ok && known.node.name == object.Spec.NodeName {
		return c.updatePod(known, object)
	}
	if ok {
		c.RemovePod(object.UID)
	}
	c.place(object, c.demands.of(object), c.nodeNamed(object.Spec.NodeName))
	return ok
}

// Assume takes note of a pod that is about to be bound to the node.
func (c *Cluster) Assume(w *Want, node string) {
	c.turn++
	n := c.nodeNamed(node)
	n.turn = c.turn
	c.place(w.pod, w.demand, n)
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

func (c *Cluster) place(object *corev1.Pod, d *demand, n *node) {
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
