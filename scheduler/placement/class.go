package placement

// # Classes
//
// Most pods are copies of others: a thousand pods of a deployment ask for the same, and what a node is to one it is to all. Pods
// whose keys are equal (plugins.go) form a class, and the cluster keeps for a class what the plugins say of every node: the verdict
// of the filters, and the score. To place one more pod costs only what changed since the last one:
//
//   - Every change of a node gives it a new stamp and moves it to the front of the list of changes (nodes.go). A class remembers the
//     stamp up to which it has seen. Before it is used it walks the list from the front to there and evaluates just those nodes.
//     Placing a pod changes one node, so the next pod of the class costs one evaluation. A class that nobody uses costs nothing.
//   - The feasible nodes stand in heaps, the best first, so that an evaluation moves one node by O(log nodes) steps.
//
// # Levels
//
// Upstream normalises some scores: it scales them by their extremes among the feasible nodes of this one pod. A new extreme, from
// one node that is full or has its taint removed, changes the scores of all nodes. If they stood in one heap, it would have to be
// built anew.
//
// But these scores are made of few distinct values: the number of untolerated taints, the weights of the preferred affinity terms that match,
// the number of sibling pods and the zone. All of them together are a node's level, and a class has one heap, a tier, for each level
// that occurs. Within a tier the scaled scores are equal, whatever the extremes are; so the order of its nodes is that of the other
// scores, which change only with the node. The best node is the best of the tiers' first ones: a placement takes the extremes from
// the levels that occur, scales each level once, and compares as many nodes as there are tiers. The numbers are exactly upstream's.

// Bounds of the cached classes. Each keeps 16 bytes a node; past the bound the one unused longest is dropped.
const (
	classesMin     = 16
	classesMax     = 1024
	classNodesMax  = 2_000_000
	notInHeap      = int32(-1)
	initialVerdict = absent
)

// scaledMax is how many plugins with a scaled score can have something to say on one class.
const scaledMax = 4

// levelPart is what one plugin makes of a node before it scales: one number or two.
type levelPart [2]int32

// level is what a node has in the scaled scores of a class, in the order of checks.scaled.
type level [scaledMax]levelPart

// occurrence is a level that occurs among the feasible nodes.
type occurrence struct {
	level level
	// nodes have the level; tier is their heap.
	nodes, tier int
	// score is the weighted sum of the scaled scores.
	score int64
}

// highest is the highest first number in one plugin's part of the levels.
func highest(of []occurrence, at int) int64 {
	most := int32(0)
	for i := range of {
		most = max(most, of[i].level[at][0])
	}
	return int64(most)
}

// class is what is known of all nodes for pods of one key.
//
// Invariant: for each node with stamp <= seen, entries holds the verdict and score of its present state, and the node
// is in the heap of its tier exactly if its verdict is fits.
type class struct {
	checks  *checks
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
	// occurring is room for the levels of one decision.
	occurring []occurrence
}

// checksOf are the plugins' checks for pods of a key.
func (c *Cluster) checksOf(key string) *checks {
	if k := c.classes.byKey[key]; k != nil {
		return k.checks
	}
	return c.prepare(key)
}

// class finds or makes the class of a key and brings it up to date.
func (c *Cluster) class(of *checks) *class {
	k := c.classes.byKey[of.key]
	if k == nil {
		c.classes.makeRoom(len(c.nodes))
		k = &class{checks: of}
		c.classes.byKey[of.key] = k
	}
	c.classes.clock++
	k.used = c.classes.clock
	k.refresh(c)
	return k
}

// forgetWide has all nodes evaluated anew for classes in which the score of one depends on others.
func (t *classes) forgetWide() {
	for _, k := range t.byKey {
		if k.checks.wide {
			k.seen = 0 // as if every node had changed; until then the heaps stay in the order of the old scores
		}
	}
}

func (t *classes) makeRoom(nodes int) {
	limit := min(max(classNodesMax/max(nodes, 1), classesMin), classesMax)
	// It goes over all of them, which only a new class does: it costs far less than to evaluate every node for that.
	for len(t.byKey) >= limit {
		var oldest *class
		for _, k := range t.byKey {
			if oldest == nil || k.used < oldest.used {
				oldest = k
			}
		}
		delete(t.byKey, oldest.checks.key)
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
			break // and so are the stamps of all behind it
		}
		k.evaluate(n)
		slot = n.older
	}
	k.seen = c.stamp
}

func (k *class) evaluate(n *node) {
	e := &k.entries[n.slot]
	verdict := k.checks.judge(n)
	if verdict != e.verdict {
		k.count(e.verdict, -1)
		k.count(verdict, 1)
		e.verdict = verdict
	}
	if verdict != fits {
		k.remove(n.slot)
		return
	}
	// The node leaves its old heap before its score changes: heaps are ordered by what stands in the entries.
	tier := k.tierOf(k.checks.level(n))
	if e.pos != notInHeap && e.tier != tier {
		k.remove(n.slot)
	}
	e.score, e.turn = k.checks.score(n), n.turn
	e.tier = tier
	t := &k.tiers[tier]
	if e.pos == notInHeap {
		e.pos = int32(len(t.heap))
		t.heap = append(t.heap, n.slot)
		k.up(t, e.pos)
		return
	}
	if !k.up(t, e.pos) { // only this node may be out of order, so one way is enough
		k.down(t, e.pos)
	}
}

func (k *class) count(verdict uint16, by int32) {
	for int(verdict) >= len(k.counts) {
		k.counts = append(k.counts, 0)
	}
	k.counts[verdict] += by
}

// tierOf finds or makes the tier of a level. One that no feasible node is in is given to another level: many levels come and go, few are
// there at a time, and to look through these is quicker than a map. Entries may still name it, but only those of nodes that are in no
// heap, and those are given a tier before they enter one.
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

// occurring are the levels of the feasible nodes with their scaled scores, in room that is used again.
func (k *class) occurring(room []occurrence) []occurrence {
	for i := range k.tiers {
		if n := len(k.tiers[i].heap); n > 0 {
			room = append(room, occurrence{level: k.tiers[i].level, nodes: n, tier: i})
		}
	}
	k.checks.scale(room)
	return room
}

// best is the slot of the node with the highest score, the longest unused among equals; none if no node fits.
func (k *class) best(c *Cluster) (slot int32, score int64) {
	levels := k.occurring(c.classes.occurring[:0])
	c.classes.occurring = levels
	found, foundScore := none, int64(0)
	for i := range levels {
		slot := k.tiers[levels[i].tier].heap[0]
		score := int64(k.entries[slot].score) + levels[i].score
		if found == none || score > foundScore || score == foundScore && k.waitedLonger(slot, found) {
			found, foundScore = slot, score
		}
	}
	return found, foundScore
}

func (k *class) feasible() int {
	return int(k.counts[fits])
}

// waitedLonger breaks ties, so that equal nodes fill evenly and the same history gives the same decisions.
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

// The heaps are binary ones in slices, as in container/heap; each node's entry says where in its heap it stands, so that a node that
// changed is found without a search.

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
