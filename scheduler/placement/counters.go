package placement

import (
	"container/list"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Rules about other pods ask how many pods that a selector selects are in a domain of a topology. Nobody goes over the pods for that:
// each selector in use has a counter, which follows pods as they come and go, and nodes as they change their domain. A pod that
// comes asks only the counters that its namespace and labels lead to, so that thousands of selectors cost it no more than its own.

// countersMax bounds what counters take, in bytes. Past it those go that nobody asked for longest; to be asked again costs one of them
// a pass over the pods of its namespace.
const countersMax = 64 << 20

// counterSize and entrySize are what a counter and each of its nodes and domains take, about.
const (
	counterSize = 800
	entrySize   = 16
)

// tally holds numbers of pods by node, and by domain for each topology in which somebody asked. Numbers that are 0 are left out:
// most selectors select few pods.
type tally struct {
	perNode map[int32]int32
	domains []*domainTally
}

// domainTally is a tally by the domains of one topology.
type domainTally struct {
	topology *topology
	of       *tally
	pods     map[int32]int32
}

func (d *domainTally) add(domain, pods int32) {
	if domain != none {
		bump(d.pods, domain, pods)
	}
}

func (y *tally) add(n *node, pods int32) {
	bump(y.perNode, n.slot, pods)
	for _, d := range y.domains {
		d.add(d.topology.of(n), pods)
	}
}

// entries is how many numbers it holds.
func (y *tally) entries() int {
	entries := len(y.perNode)
	for _, d := range y.domains {
		entries += len(d.pods)
	}
	return entries
}

// by finds or makes the tally by the domains of a topology.
func (c *Cluster) by(topologyKey string, y *tally) *domainTally {
	for _, d := range y.domains {
		if d.topology.key == topologyKey {
			return d
		}
	}
	d := &domainTally{topology: c.topology(topologyKey), of: y, pods: map[int32]int32{}}
	for slot, pods := range y.perNode {
		d.add(d.topology.of(c.nodes[slot]), pods)
	}
	y.domains = append(y.domains, d)
	d.topology.tallies[d] = struct{}{}
	return d
}

// forget ends a tally. A topology goes with its last one.
func (c *Cluster) forget(y *tally) {
	for _, d := range y.domains {
		delete(d.topology.tallies, d)
		if len(d.topology.tallies) == 0 {
			delete(c.topologies, d.topology.key)
		}
	}
}

// counter tallies the pods that all of its selectors select.
type counter struct {
	tally
	key       string
	selectors []*podSelector
	// counted is how many entries it had when they were counted last.
	counted int
	// recent is its position in the order of use.
	recent *list.Element
}

func (k *counter) matches(known namespaces, pod *corev1.Pod) bool {
	for _, s := range k.selectors {
		if !s.matches(known, pod) {
			return false
		}
	}
	return true
}

// counters by what they count.
type counters struct {
	byKey map[string]*counter
	index selectorIndex[*counter]
	// recent has those that were asked for last in front.
	recent list.List
	// entries of all of them; max is what they may take, in bytes.
	entries, max int
}

// counter finds or makes the one for the pods that all selectors select; there is at least one.
func (c *Cluster) counter(selectors ...*podSelector) *counter {
	t := &c.counters
	key := selectors[0].key
	if len(selectors) > 1 {
		keys := make([]string, len(selectors))
		for i, s := range selectors {
			keys[i] = s.key
		}
		key = strings.Join(keys, "\x01")
	}
	if k := t.byKey[key]; k != nil {
		t.recent.MoveToFront(k.recent)
		c.recount(k)
		return k
	}
	k := &counter{key: key, selectors: selectors, tally: tally{perNode: map[int32]int32{}}}
	c.eachPod(selectors[0], func(p *Pod) {
		if k.matches(c.namespaces, p.Object) {
			k.add(p.node, 1)
		}
	})
	t.byKey[key] = k
	t.index.add(selectors[0], k)
	k.recent = t.recent.PushFront(k)
	c.recount(k)
	return k
}

// recount keeps the counters within their bound when one is used.
func (c *Cluster) recount(k *counter) {
	t := &c.counters
	for t.recount(k); t.recent.Len() > 1 && t.recent.Len()*counterSize+t.entries*entrySize > t.max; {
		c.dropCounter(t.recent.Back().Value.(*counter))
	}
}

// eachPod visits the pods on nodes that the selector may select.
func (c *Cluster) eachPod(s *podSelector, visit func(*Pod)) {
	if namespace, one := s.oneNamespace(); one {
		if in := c.podsIn[namespace]; in != nil {
			for _, p := range in.pods {
				visit(p)
			}
		}
		return
	}
	for _, p := range c.pods {
		visit(p)
	}
}

func (t *counters) recount(k *counter) {
	entries := k.entries()
	t.entries += entries - k.counted
	k.counted = entries
}

func (c *Cluster) dropCounter(k *counter) {
	t := &c.counters
	delete(t.byKey, k.key)
	t.index.remove(k.selectors[0], k)
	t.recent.Remove(k.recent)
	t.entries -= k.counted
	c.forget(&k.tally)
}

// countPod keeps the counters current: by is 1 for a pod that comes to the node, -1 for one that goes.
func (c *Cluster) countPod(pod *corev1.Pod, n *node, by int32) {
	t := &c.counters
	t.index.find(pod, func(k *counter) {
		if k.matches(c.namespaces, pod) {
			k.add(n, by)
			t.recount(k)
		}
	})
}

// SetNamespace takes note of a namespace's labels, which namespace selectors look at. It tells whether they changed.
func (c *Cluster) SetNamespace(name string, l map[string]string) bool {
	if old, ok := c.namespaces[name]; ok && maps.Equal(old, l) {
		return false
	}
	c.namespaces[name] = l
	c.namespaceChanged()
	return true
}

// RemoveNamespace forgets a namespace.
func (c *Cluster) RemoveNamespace(name string) {
	delete(c.namespaces, name)
	c.namespaceChanged()
}

// namespaceChanged drops the counters that look at labels of namespaces.
func (c *Cluster) namespaceChanged() {
	for _, k := range c.counters.byKey {
		for _, s := range k.selectors {
			if s.namespaceSelector != nil {
				c.dropCounter(k)
				break
			}
		}
	}
}
