// Package placement decides which node a pod goes to. It is the scheduler's pure part: it holds what is known of nodes
// and of the pods on them, and has no goroutine, clock, client or log. See DESIGN.md of the scheduler.
package placement

import (
	"k8s.io/apimachinery/pkg/types"
)

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
	// refusals are the numbers of each plugin's first refusal; reads is what any plugin reads of nodes.
	refusals []uint16
	reads    Events
	classes  classes
	images   images
	owners   owners
	zones    zones

	// What rules about other pods are judged by. repelling are the required anti-affinity terms of the pods on nodes; attracting are
	// those affinity terms of theirs that draw other pods near or, with a negative weight, rather away.
	namespaces            namespaces
	podsIn                map[string]*podList
	counters              counters
	topologies            topologies
	repelling, attracting heldAffinities
	// numbers and candidateRoom are room for one decision.
	numbers       numbers
	candidateRoom []candidate

	keyRoom []byte
}

// NewCluster returns an empty cluster.
func NewCluster() *Cluster {
	c := &Cluster{byName: map[string]*node{}, pods: map[types.UID]*Pod{}, newest: none, oldest: none,
		owners: owners{}, zones: zones{}}
	c.classes.byKey = map[string]*class{}
	c.images.byName = map[string]*image{}
	c.namespaces, c.podsIn, c.topologies = namespaces{}, map[string]*podList{}, topologies{}
	c.counters.byKey, c.counters.max = map[string]*counter{}, countersMax
	c.refusals = c.verdicts.learn()
	for i := range plugins {
		c.reads |= plugins[i].reads
	}
	return c
}

// Nodes is the number of nodes.
func (c *Cluster) Nodes() int { return c.count }

// Pods is the number of pods on nodes.
func (c *Cluster) Pods() int { return len(c.pods) }
