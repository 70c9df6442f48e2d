package placement

// Bounds of the cached classes. Each keeps 16 bytes a node; past the bound the one unused longest is dropped.
const (
	classesMin     = 16
	classesMax     = 1024
	classNodesMax  = 2_000_000
	notInHeap      = int32(-1)
	initialVerdict = absent
)

// class is what is known of all nodes for pods of one shape.
//
// Invariant: for each node with stamp <= seen, entries holds the verdict and score of its present state, and the node
// is in the heap of its tier exactly if its verdict is fits.
type class struct {
	shape   *shape
	seen    uint64
	entries []entry
	// tiers, one for each level that occurs; few.
	tiers []tier
	// counts of nodes by verdict.
	counts []int32
	used   uint64
}

// entry of a node, by slot.
type entry struct {
	score int32
	// turn is the node's when it was evaluated; the heap needs a value that changes only with the heap.
	turn    uint32
	pos     int32
	tier    uint16
	verdict uint16
}

// tier is the heap of the feasible nodes of one level, the best first.
type tier struct {
	level level
	heap  []int32
}

// classes are the cached ones.
type classes struct {
	byKey map[string]*class
	clock uint64
}

// class finds or makes the class of a shape and brings it up to date.
func (c *Cluster) class(s *shape) *class {
	k := c.classes.byKey[s.key]
	if k == nil {
		c.classes.makeRoom(len(c.nodes))
		k = &class{shape: s}
		c.classes.byKey[s.key] = k
	}
	c.classes.clock++
	k.used = c.classes.clock
	k.refresh(c)
	return k
}

func (t *classes) makeRoom(nodes int) {
	limit := min(max(classNodesMax/max(nodes, 1), classesMin), classesMax)
	for len(t.byKey) >= limit {
		var oldest *class
		for _, k := range t.byKey {
			if oldest == nil || k.used < oldest.used {
				oldest = k
			}
		}
		delete(t.byKey, oldest.shape.key)
	}
}

// refresh evaluates the nodes that changed since the class was used last.
func (k *class) refresh(c *Cluster) {
	for len(k.entries) < len(c.nodes) {
		k.entries = append(k.entries, entry{pos: notInHeap, verdict: initialVerdict})
		k.count(initialVerdict, 1)
	}
	for slot := c.newest; slot != none; {
		n := c.nodes[slot]
		if n.stamp <= k.seen {
			break
		}
		k.evaluate(c, n)
		slot = n.older
	}
	k.seen = c.stamp
}

func (k *class) evaluate(c *Cluster, n *node) {
	e := &k.entries[n.slot]
	verdict := c.judge(k.shape, n)
	if verdict != e.verdict {
		k.count(e.verdict, -1)
		k.count(verdict, 1)
		e.verdict = verdict
	}
	if verdict != fits {
		k.remove(n.slot)
		return
	}
	tier := k.tierOf(c.levelOf(k.shape, n))
	if e.pos != notInHeap && e.tier != tier {
		k.remove(n.slot)
	}
	e.score, e.turn = c.localScore(k.shape, n), n.turn
	e.tier = tier
	t := &k.tiers[tier]
	if e.pos == notInHeap {
		e.pos = int32(len(t.heap))
		t.heap = append(t.heap, n.slot)
		k.up(t, e.pos)
		return
	}
	if !k.up(t, e.pos) {
		k.down(t, e.pos)
	}
}

func (k *class) count(verdict uint16, by int32) {
	for int(verdict) >= len(k.counts) {
		k.counts = append(k.counts, 0)
	}
	k.counts[verdict] += by
}

func (k *class) tierOf(l level) uint16 {
	for i := range k.tiers {
		if k.tiers[i].level == l {
			return uint16(i)
		}
	}
	for i := range k.tiers {
		if len(k.tiers[i].heap) == 0 {
			k.tiers[i].level = l
			return uint16(i)
		}
	}
	k.tiers = append(k.tiers, tier{level: l})
	return uint16(len(k.tiers) - 1)
}

// levels that occur among the feasible nodes, and how many nodes have each.
func (k *class) levels(yield func(level, int) bool) {
	for i := range k.tiers {
		if n := len(k.tiers[i].heap); n > 0 && !yield(k.tiers[i].level, n) {
			return
		}
	}
}

// best is the slot of the node with the highest score, the longest unused among equals; none if no node fits.
func (k *class) best(c *Cluster) (slot int32, score int64) {
	scale := c.scale(k.shape, k.levels)
	found, foundScore := none, int64(0)
	for i := range k.tiers {
		t := &k.tiers[i]
		if len(t.heap) == 0 {
			continue
		}
		slot := t.heap[0]
		score := int64(k.entries[slot].score) + scale.score(t.level)
		if found == none || score > foundScore || score == foundScore && k.waitedLonger(slot, found) {
			found, foundScore = slot, score
		}
	}
	return found, foundScore
}

func (k *class) feasible() int {
	return int(k.counts[fits])
}

func (k *class) waitedLonger(a, b int32) bool {
	if ta, tb := k.entries[a].turn, k.entries[b].turn; ta != tb {
		return ta < tb
	}
	return a < b
}

func (k *class) before(a, b int32) bool {
	if sa, sb := k.entries[a].score, k.entries[b].score; sa != sb {
		return sa > sb
	}
	return k.waitedLonger(a, b)
}

func (k *class) set(t *tier, pos, slot int32) {
	t.heap[pos] = slot
	k.entries[slot].pos = pos
}

func (k *class) up(t *tier, pos int32) (moved bool) {
	slot := t.heap[pos]
	for pos > 0 {
		parent := (pos - 1) / 2
		if !k.before(slot, t.heap[parent]) {
			break
		}
		k.set(t, pos, t.heap[parent])
		pos, moved = parent, true
	}
	k.set(t, pos, slot)
	return moved
}

func (k *class) down(t *tier, pos int32) {
	slot := t.heap[pos]
	for {
		child := 2*pos + 1
		if int(child) >= len(t.heap) {
			break
		}
		if right := child + 1; int(right) < len(t.heap) && k.before(t.heap[right], t.heap[child]) {
			child = right
		}
		if !k.before(t.heap[child], slot) {
			break
		}
		k.set(t, pos, t.heap[child])
		pos = child
	}
	k.set(t, pos, slot)
}

func (k *class) remove(slot int32) {
	e := &k.entries[slot]
	if e.pos == notInHeap {
		return
	}
	t := &k.tiers[e.tier]
	last := int32(len(t.heap) - 1)
	pos, moved := e.pos, t.heap[last]
	t.heap = t.heap[:last]
	e.pos = notInHeap
	if pos == last {
		return
	}
	k.set(t, pos, moved)
	if !k.up(t, pos) {
		k.down(t, pos)
	}
}
