package placement

// Decision is where a pod goes, or why it goes nowhere.
type Decision struct {
	// Node is empty if no node can take the pod.
	Node string
	// Feasible is the number of nodes that could have taken it.
	Feasible int
	// Score of the chosen node, for tests and explanations.
	Score int64
	// Why is set if Node is empty.
	Why *Explanation
}

// Place chooses a node for the pod. It changes nothing that placement sees: Assume does.
func (c *Cluster) Place(w *Want) Decision {
	if c.count == 0 || w.refused != "" {
		return Decision{Why: c.explain(w, nil)}
	}
	near := neighbours{c.topology.repelling.concerning(&c.topology, w.pod), c.topology.pulling.concerning(&c.topology, w.pod)}
	w.kept = len(near.repelling) > 0
	if w.constraints != nil || near.any() || w.shape.pinned {
		return c.placeAmongAll(w, near)
	}
	k := c.class(w.shape)
	slot, score := k.best(c)
	if slot == none {
		return Decision{Why: c.explain(w, k.counts)}
	}
	return Decision{Node: c.nodes[slot].name, Feasible: k.feasible(), Score: score}
}

// candidate is a node that can take the pod.
type candidate struct {
	n     *node
	score int32
	level level
	// soft is what the pods near are worth.
	soft int64
}

// neighbours are the terms of pods on nodes that concern a pod.
type neighbours struct {
	repelling, pulling []*heldTerm
}

func (n *neighbours) any() bool { return len(n.repelling)+len(n.pulling) > 0 }

// placeAmongAll looks at every node (or at those that the pod names): the way of pods whose chances depend on other pods.
func (c *Cluster) placeAmongAll(w *Want, near neighbours) Decision {
	candidates, counts := c.candidates(w)
	if w.constraints != nil || near.any() {
		rules := c.rules(w, near.repelling)
		left := candidates[:0]
		for _, a := range candidates {
			verdict := rules.judge(a.n)
			counts[verdict]++
			if verdict == fits {
				left = append(left, a)
			}
		}
		candidates = left
		rules.addSoftScores(candidates, near.pulling)
	}
	if len(candidates) == 0 {
		return Decision{Why: c.explain(w, counts)}
	}
	scale := c.scale(w.shape, func(yield func(level, int) bool) {
		for _, a := range candidates {
			if !yield(a.level, 1) {
				return
			}
		}
	})
	var best candidate
	bestScore := int64(-1)
	for _, a := range candidates {
		score := int64(a.score) + scale.score(a.level) + a.soft
		if score > bestScore || score == bestScore && waitedLonger(a.n, best.n) {
			best, bestScore = a, score
		}
	}
	return Decision{Node: best.n.name, Feasible: len(candidates), Score: bestScore}
}

func waitedLonger(a, b *node) bool {
	if a.turn != b.turn {
		return a.turn < b.turn
	}
	return a.slot < b.slot
}

// candidates are the nodes that pass the filters of the pod's shape, and the number of nodes by the verdict that refused them.
func (c *Cluster) candidates(w *Want) ([]candidate, []int32) {
	s := w.shape
	counts := make([]int32, len(c.verdicts.all))
	var found []candidate
	if s.pinned {
		counts[unnamed] = int32(c.count)
		for _, name := range s.names {
			n, ok := c.byName[name]
			if !ok || n.object == nil {
				continue
			}
			counts[unnamed]--
			verdict := c.judge(s, n)
			for int(verdict) >= len(counts) {
				counts = append(counts, 0)
			}
			if verdict != fits {
				counts[verdict]++
				continue
			}
			found = append(found, candidate{n: n, score: c.localScore(s, n), level: c.levelOf(s, n)})
		}
		return found, counts
	}
	k := c.class(s)
	counts = append(counts[:0], k.counts...)
	for len(counts) < len(c.verdicts.all) {
		counts = append(counts, 0)
	}
	counts[fits] = 0
	for i := range k.tiers {
		t := &k.tiers[i]
		for _, slot := range t.heap {
			found = append(found, candidate{n: c.nodes[slot], score: k.entries[slot].score, level: t.level})
		}
	}
	return found, counts
}
