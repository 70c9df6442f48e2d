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
	against := c.topology.against(w.pod)
	w.kept = len(against) > 0
	if w.constraints != nil || w.kept || w.shape.pinned {
		return c.placeAmongAll(w, against)
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
}

// placeAmongAll looks at every node (or at those that the pod names): the way of pods whose chances depend on other pods.
func (c *Cluster) placeAmongAll(w *Want, against []*antiTerm) Decision {
	candidates, counts := c.candidates(w)
	if w.constraints != nil || len(against) > 0 {
		rules := c.rules(w, against)
		left := candidates[:0]
		for _, a := range candidates {
			verdict := rules.judge(a.n)
			counts[verdict]++
			if verdict == fits {
				left = append(left, a)
			}
		}
		candidates = left
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
		score := int64(a.score) + scale.score(a.level)
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
			found = append(found, candidate{n, c.localScore(s, n), c.levelOf(s, n)})
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
			found = append(found, candidate{c.nodes[slot], k.entries[slot].score, t.level})
		}
	}
	return found, counts
}
