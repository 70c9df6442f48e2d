package placement

import "slices"

// scoreMax is the best score of one plugin.
const scoreMax = 100

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

// Decide chooses a node for the pod. It changes nothing that later decisions depend on: Assume does.
func (c *Cluster) Decide(p *PendingPod) Decision {
	if c.count == 0 || p.refused != "" {
		return Decision{Why: c.explain(p, nil)}
	}
	rules, k := c.amongOthers(p, nil), c.classChecks(p)
	if len(rules) > 0 || k.named {
		return c.decideAmong(p, rules)
	}
	class := c.class(k)
	slot, score := class.best(c)
	if slot == none {
		return Decision{Why: c.explain(p, class.counts)}
	}
	return Decision{Node: c.nodes[slot].name, Feasible: class.feasible(), Score: score}
}

// rule is what one plugin says of nodes by the pods on them.
type rule struct {
	among
	weight int64
}

// amongOthers asks the plugins that look at other pods, as they are in the cluster or in a trial; nearly always none has anything to say.
func (c *Cluster) amongOthers(p *PendingPod, t *Trial) (rules []rule) {
	p.repelled = false
	c.numbers.reset()
	for i := range plugins {
		if plugins[i].among == nil {
			continue
		}
		if a := plugins[i].among(stock{cluster: c, pod: p, trial: t, refusal: c.refusals[i]}); a.filter != nil || a.score != nil {
			rules = append(rules, rule{a, plugins[i].weight})
		}
	}
	return rules
}

// candidate is a node that can take the pod.
type candidate struct {
	n     *node
	score int32
	// level is the position of the node's level among those that occur.
	level int32
	// among is what the pods near are worth.
	among int64
}

// candidates are those nodes, and what is common to them.
type candidates struct {
	list   []candidate
	levels []occurrence
	// counts of the other nodes by verdict.
	counts []int32
}

// decideAmong looks at every node that passes the filters of the pod's class (or at those that the pod names): the way of pods
// whose chances depend on other pods.
func (c *Cluster) decideAmong(p *PendingPod, rules []rule) Decision {
	found := c.candidates(p.checks)
	for i := range rules {
		if rules[i].filter != nil {
			found.filter(rules[i].filter)
		}
	}
	if len(found.list) == 0 {
		return Decision{Why: c.explain(p, found.counts)}
	}
	for i := range rules {
		if rules[i].score != nil {
			rules[i].score(found.list, rules[i].weight)
		}
	}
	found.scale(p.checks)
	best, bestScore := candidate{}, int64(-1)
	for _, a := range found.list {
		score := int64(a.score) + found.levels[a.level].score + a.among
		if score > bestScore || score == bestScore && waitedLonger(a.n, best.n) {
			best, bestScore = a, score
		}
	}
	return Decision{Node: best.n.name, Feasible: len(found.list), Score: bestScore}
}

func waitedLonger(a, b *node) bool {
	if a.turn != b.turn {
		return a.turn < b.turn
	}
	return a.slot < b.slot
}

// candidates are the nodes that pass the filters of the class.
func (c *Cluster) candidates(k *checks) *candidates {
	if k.named {
		return c.namedCandidates(k)
	}
	class := c.class(k)
	f := &candidates{counts: make([]int32, len(c.verdicts.all)), list: slices.Grow(c.candidateRoom[:0], class.feasible())}
	copy(f.counts, class.counts)
	f.counts[fits] = 0 // those are the candidates, and counts is of the others
	for i := range class.tiers {
		t := &class.tiers[i]
		if len(t.heap) == 0 {
			continue
		}
		for _, slot := range t.heap {
			f.list = append(f.list, candidate{n: c.nodes[slot], score: class.entries[slot].score, level: int32(len(f.levels))})
		}
		f.levels = append(f.levels, occurrence{level: t.level})
	}
	c.candidateRoom = f.list // one decision at a time: its list is over when the next begins
	return f
}

// namedCandidates are those of the few nodes that the pod names. They need no class.
func (c *Cluster) namedCandidates(k *checks) *candidates {
	f := &candidates{}
	f.count(k.unnamed, int32(c.count))
	for _, name := range k.names {
		n, ok := c.byName[name]
		if !ok || n.object == nil {
			continue
		}
		f.count(k.unnamed, -1)
		if verdict := k.judge(n); verdict != fits {
			f.count(verdict, 1)
			continue
		}
		f.list = append(f.list, candidate{n: n, score: k.score(n), level: int32(len(f.levels))})
		f.levels = append(f.levels, occurrence{level: k.level(n)})
	}
	return f
}

func (f *candidates) count(verdict uint16, by int32) {
	for int(verdict) >= len(f.counts) {
		f.counts = append(f.counts, 0)
	}
	f.counts[verdict] += by
}

// filter leaves the candidates that one more filter lets pass.
func (f *candidates) filter(judge func(n *node) uint16) {
	left := f.list[:0]
	for _, a := range f.list {
		if verdict := judge(a.n); verdict != fits {
			f.count(verdict, 1)
			continue
		}
		left = append(left, a)
	}
	f.list = left
}

// scale scales the levels by those that the candidates have.
func (f *candidates) scale(k *checks) {
	for i := range f.list {
		f.levels[f.list[i].level].nodes++
	}
	// Levels that the filters left no candidate of must not count among the extremes.
	now := make([]int32, len(f.levels))
	occurring := f.levels[:0]
	for i, o := range f.levels {
		if now[i] = int32(len(occurring)); o.nodes > 0 {
			occurring = append(occurring, o)
		}
	}
	for i := range f.list {
		f.list[i].level = now[f.list[i].level]
	}
	f.levels = occurring
	k.scale(occurring)
}
