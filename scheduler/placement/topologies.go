package placement

import corev1 "k8s.io/api/core/v1"

// topology is the domains into which one label divides the nodes. There is one for each topology key that some tally counts by.
type topology struct {
	key string
	// domains by value of the label, numbered; nodes is how many nodes each has, free are the numbers of
	// those that have none any more.
	byValue map[string]int32
	values  []string
	nodes   []int32
	free    []int32
	// domainOf has the domain of each node by slot, none for a node without the label.
	domainOf []int32
	// labeled is how many nodes have the label.
	labeled int
	// tallies count by it; it goes with the last.
	tallies map[*domainTally]struct{}
}

// topologies by key.
type topologies map[string]*topology

func (t topologies) nodeChanged(n *node) {
	for _, one := range t {
		one.nodeChanged(n)
	}
}

// topology finds or makes the one of a key.
func (c *Cluster) topology(key string) *topology {
	if t := c.topologies[key]; t != nil {
		return t
	}
	t := c.divide(key)
	c.topologies[key] = t
	return t
}

// divide divides the nodes as they are now.
func (c *Cluster) divide(key string) *topology {
	t := &topology{key: key, byValue: map[string]int32{}, tallies: map[*domainTally]struct{}{}}
	for _, n := range c.nodes {
		t.nodeChanged(n)
	}
	return t
}

// of is the domain of a node, none if it is in none.
func (t *topology) of(n *node) int32 {
	if int(n.slot) < len(t.domainOf) {
		return t.domainOf[n.slot]
	}
	return none // a slot that never held a node
}

// count is the number of domains that have nodes.
func (t *topology) count() int { return len(t.byValue) }

// nodeChanged takes over a slot that holds another object, and moves the pods that are counted on it to its domain.
func (t *topology) nodeChanged(n *node) {
	for int(n.slot) >= len(t.domainOf) {
		t.domainOf = append(t.domainOf, none)
	}
	before, after := t.domainOf[n.slot], none
	if value, ok := labelOf(n.object, t.key); ok {
		after = t.domain(value)
	}
	if before == after {
		return
	}
	t.domainOf[n.slot] = after
	for d := range t.tallies {
		if pods := d.of.perNode[n.slot]; pods != 0 {
			d.add(before, -pods)
			d.add(after, pods)
		}
	}
	if after != none {
		t.nodes[after]++
		t.labeled++
	}
	if before == none {
		return
	}
	t.labeled--
	if t.nodes[before]--; t.nodes[before] == 0 {
		t.free = append(t.free, before)
		delete(t.byValue, t.values[before])
	}
}

func labelOf(object *corev1.Node, key string) (value string, ok bool) {
	if object == nil {
		return "", false
	}
	value, ok = object.Labels[key]
	return value, ok
}

// domain finds or makes the number of a value of the label.
func (t *topology) domain(value string) int32 {
	if id, ok := t.byValue[value]; ok {
		return id
	}
	id := int32(len(t.nodes))
	if last := len(t.free) - 1; last >= 0 {
		id, t.free = t.free[last], t.free[:last]
		t.values[id] = value
	} else {
		t.nodes, t.values = append(t.nodes, 0), append(t.values, value)
	}
	t.byValue[value] = id
	return id
}
