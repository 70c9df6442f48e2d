package placement

import (
	"math"

	corev1 "k8s.io/api/core/v1"
)

// pull is a preferred affinity term of a pod; one of anti-affinity has a negative weight.
type pull struct {
	term
	weight int64
}

func (r *constraints) addPulls(pod *corev1.Pod) {
	a := pod.Spec.Affinity
	if a == nil {
		return
	}
	add := func(terms []corev1.WeightedPodAffinityTerm, sign int64) {
		for i := range terms {
			r.pulls = append(r.pulls, pull{newTerm(&terms[i].PodAffinityTerm, pod.Namespace), sign * int64(terms[i].Weight)})
		}
	}
	if a.PodAffinity != nil {
		add(a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution, 1)
	}
	if a.PodAntiAffinity != nil {
		add(a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution, -1)
	}
}

// termCounter counts the pods that a term selects.
func (c *Cluster) termCounter(t *term) *counter {
	own := *t
	return c.counter("term\x00"+t.key, func(p *corev1.Pod) bool { return own.concerns(&c.topology, p) })
}

// addSoftScores adds to each candidate what the pods near it are worth: by the pod's own preferences, by those of pods
// on nodes, and by its soft spread constraints.
func (r *rulesNow) addSoftScores(candidates []candidate, pulling []*heldTerm) {
	if len(r.own.pulls)+len(pulling) > 0 {
		r.addPullScores(candidates, pulling)
	}
	if len(r.own.softSpread) > 0 {
		r.addSpreadScores(candidates)
	}
}

func (r *rulesNow) addPullScores(candidates []candidate, pulling []*heldTerm) {
	worth := map[string]map[string]int64{}
	add := func(topologyKey string, slot int32, amount int64) {
		n := r.c.nodes[slot]
		if n.object == nil {
			return
		}
		if domain, ok := n.object.Labels[topologyKey]; ok {
			if worth[topologyKey] == nil {
				worth[topologyKey] = map[string]int64{}
			}
			worth[topologyKey][domain] += amount
		}
	}
	for i := range r.own.pulls {
		p := &r.own.pulls[i]
		for slot, pods := range r.c.termCounter(&p.term).perNode {
			if pods > 0 {
				add(p.topologyKey, int32(slot), p.weight*int64(pods))
			}
		}
	}
	for _, held := range pulling {
		for slot, pods := range held.perNode {
			add(held.topologyKey, slot, held.weight*int64(pods))
		}
	}
	sums := make([]int64, len(candidates))
	least, most := int64(math.MaxInt64), int64(math.MinInt64)
	for i, a := range candidates {
		for key, domains := range worth {
			if domain, ok := a.n.object.Labels[key]; ok {
				sums[i] += domains[domain]
			}
		}
		least, most = min(least, sums[i]), max(most, sums[i])
	}
	if most == least {
		return
	}
	for i := range candidates {
		candidates[i].soft += weightPodAffinity * int64(scoreMax*(float64(sums[i]-least)/float64(most-least)))
	}
}

func (r *rulesNow) addSpreadScores(candidates []candidate) {
	rules := r.own.softSpread
	crowds := make([]float64, len(candidates))
	inAll := 0
	for _, a := range candidates {
		if labeled(rules, a.n) {
			inAll++
		}
	}
	for i := range rules {
		rule := &rules[i]
		k := r.counter(rule)
		domains := map[string]int64{}
		if rule.topologyKey != corev1.LabelHostname {
			for _, a := range candidates {
				if labeled(rules, a.n) {
					domains[a.n.object.Labels[rule.topologyKey]] = 0
				}
			}
			for _, n := range r.c.nodes {
				if n.object == nil || k.perNode[n.slot] == 0 || !r.counts(rules, rule, n) {
					continue
				}
				domains[n.object.Labels[rule.topologyKey]] += int64(k.perNode[n.slot])
			}
		}
		for j, a := range candidates {
			pods, size := int64(k.perNode[a.n.slot]), inAll
			if rule.topologyKey != corev1.LabelHostname {
				pods, size = domains[a.n.object.Labels[rule.topologyKey]], len(domains)
			}
			crowds[j] += float64(pods)*math.Log(float64(size+2)) + float64(rule.skewMax-1)
		}
	}
	least, most := int64(math.MaxInt64), int64(0)
	for i, a := range candidates {
		if labeled(rules, a.n) {
			crowd := int64(math.Round(crowds[i]))
			least, most = min(least, crowd), max(most, crowd)
		}
	}
	for i, a := range candidates {
		switch {
		case !labeled(rules, a.n):
		case most == 0:
			candidates[i].soft += weightSpread * scoreMax
		default:
			candidates[i].soft += weightSpread * (scoreMax * (most + least - int64(math.Round(crowds[i]))) / most)
		}
	}
}
