package placement

import (
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// interPodAffinity keeps pods near to others or away from them, by their own affinity and anti-affinity and by that of pods that
// are on nodes already.
var interPodAffinity = plugin{
	reads: NodeLabels,
	refusals: []Verdict{
		{Reasons: []string{"node(s) didn't match pod affinity rules"}, Unresolvable: true, HelpedBy: PodArrived | affinityEvents},
		{Reasons: []string{"node(s) didn't match pod anti-affinity rules"}, HelpedBy: affinityEvents},
		{Reasons: []string{"node(s) didn't satisfy existing pods anti-affinity rules"}, HelpedBy: affinityEvents},
	},
	read: func(p *PendingPod) bool {
		p.affinity = newAffinityRules(p.pod)
		return p.affinity != nil && p.affinity.hard()
	},
	among: func(s stock) (a among) {
		c, own := s.cluster, s.pod.affinity
		repelling, attracting := c.repelling.concerning(c.namespaces, s.pod.pod), c.attracting.concerning(c.namespaces, s.pod.pod)
		s.pod.repelled = len(repelling) > 0
		if own == nil {
			own = &noAffinity
		}
		if own.hard() || len(repelling) > 0 || s.trial != nil {
			a.filter = own.filter(&s, repelling)
		}
		if len(own.preferred)+len(attracting) > 0 {
			a.score = func(candidates []candidate, weight int64) { own.addScores(&s, attracting, candidates, weight) }
		}
		return a
	},
}

// affinityEvents help against any rule about other pods: these leave, or the domains are others.
const affinityEvents = PodDeparted | NodeRemoved | NodeLabels | NamespaceLabels

// affinityRules are the affinity and anti-affinity of a pod.
type affinityRules struct {
	affinity, antiAffinity []affinityTerm
	preferred              []preferredAffinity
}

var noAffinity affinityRules

// preferredAffinity is a preferred affinity term; the weight of anti-affinity is negative.
type preferredAffinity struct {
	affinityTerm
	weight int64
}

// newAffinityRules reads a pod's rules; nil if it has none.
func newAffinityRules(pod *corev1.Pod) *affinityRules {
	a := pod.Spec.Affinity
	if a == nil || a.PodAffinity == nil && a.PodAntiAffinity == nil {
		return nil
	}
	r := &affinityRules{}
	prefer := func(affinityTerms []corev1.WeightedPodAffinityTerm, sign int64) {
		for i := range affinityTerms {
			r.preferred = append(r.preferred, preferredAffinity{newAffinityTerm(&affinityTerms[i].PodAffinityTerm, pod.Namespace), sign * int64(affinityTerms[i].Weight)})
		}
	}
	if near := a.PodAffinity; near != nil {
		prefer(near.PreferredDuringSchedulingIgnoredDuringExecution, 1)
		for i := range near.RequiredDuringSchedulingIgnoredDuringExecution {
			r.affinity = append(r.affinity, newAffinityTerm(&near.RequiredDuringSchedulingIgnoredDuringExecution[i], pod.Namespace))
		}
	}
	if apart := a.PodAntiAffinity; apart != nil {
		prefer(apart.PreferredDuringSchedulingIgnoredDuringExecution, -1)
		for i := range apart.RequiredDuringSchedulingIgnoredDuringExecution {
			r.antiAffinity = append(r.antiAffinity, newAffinityTerm(&apart.RequiredDuringSchedulingIgnoredDuringExecution[i], pod.Namespace))
		}
	}
	return r
}

func requiredAntiAffinity(pod *corev1.Pod) []corev1.PodAffinityTerm {
	if pod.Spec.Affinity == nil || pod.Spec.Affinity.PodAntiAffinity == nil {
		return nil
	}
	return pod.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution
}

// hard tells whether the rules can refuse a node.
func (r *affinityRules) hard() bool { return len(r.affinity)+len(r.antiAffinity) > 0 }

// domainNumbers are numbers by the domains of one topology.
type domainNumbers struct {
	topology *topology
	of       []int64
}

// at is the number of the node's domain, 0 if it is in none.
func (d *domainNumbers) at(n *node) int64 {
	if domain := d.topology.of(n); domain != none {
		return d.of[domain]
	}
	return 0
}

// add adds to the number of the node's domain.
func (d *domainNumbers) add(n *node, more int64) {
	if domain := d.topology.of(n); domain != none {
		d.of[domain] += more
	}
}

// topologyNumbers are numbers by the domains of several topologies, few.
type topologyNumbers []domainNumbers

// at finds or makes the numbers of a topology.
func (l *topologyNumbers) at(room *numbers, t *topology) *domainNumbers {
	at := slices.IndexFunc(*l, func(d domainNumbers) bool { return d.topology == t })
	if at < 0 {
		at = len(*l)
		*l = append(*l, domainNumbers{t, room.take(len(t.nodes))})
	}
	return &(*l)[at]
}

// add adds a tally, each of its pods worth weight.
func (l *topologyNumbers) add(room *numbers, tally *domainTally, weight int64) *domainNumbers {
	to := l.at(room, tally.topology)
	for domain, pods := range tally.pods {
		to.of[domain] += weight * int64(pods)
	}
	return to
}

// any tells whether the node is in a domain with a number other than 0.
func (l topologyNumbers) any(n *node) bool {
	for i := range l {
		if l[i].at(n) != 0 {
			return true
		}
	}
	return false
}

func (r *affinityRules) filter(s *stock, repelling []*heldAffinity) func(n *node) uint16 {
	c := s.cluster
	var own, others topologyNumbers
	for i := range r.antiAffinity {
		to := own.add(&c.numbers, c.selected(&r.antiAffinity[i]), 1)
		if s.trial != nil {
			to.add(&s.trial.node, s.trial.selected(&r.antiAffinity[i].podSelector))
		}
	}
	for _, held := range repelling {
		others.add(&c.numbers, held.byDomain(), 1)
	}
	s.trial.repelling(&others, s.pod.pod)
	near, unmet := r.near(s), s.refusal // the three refusals in the order of the plugin's list
	return func(n *node) uint16 {
		switch {
		case near != nil && !near(n):
			return unmet
		case own.any(n):
			return unmet + 1
		case others.any(n):
			return unmet + 2
		}
		return fits
	}
}

// selected tallies the pods that an affinity term selects by the domains of its topology.
func (c *Cluster) selected(t *affinityTerm) *domainTally {
	return c.by(t.topologyKey, &c.counter(&t.podSelector).tally)
}

// near tells whether a node meets the required affinity; nil if there is none.
func (r *affinityRules) near(s *stock) func(n *node) bool {
	if len(r.affinity) == 0 {
		return nil
	}
	c, selectors := s.cluster, make([]*podSelector, len(r.affinity))
	matches := true
	for i := range r.affinity {
		selectors[i] = &r.affinity[i].podSelector
		matches = matches && selectors[i].matches(c.namespaces, s.pod.pod)
	}
	together, nowhere := make([]domainNumbers, len(r.affinity)), true
	counter := c.counter(selectors...) // of the pods that match all affinity terms
	for i := range r.affinity {
		tally := c.by(r.affinity[i].topologyKey, &counter.tally)
		together[i] = domainNumbers{tally.topology, c.numbers.take(len(tally.topology.nodes))}
		for domain, pods := range tally.pods {
			together[i].of[domain] = int64(pods)
		}
		if s.trial != nil {
			together[i].add(&s.trial.node, s.trial.selected(selectors...))
		}
		nowhere = nowhere && !slices.ContainsFunc(together[i].of, func(pods int64) bool { return pods != 0 })
	}
	// The first pod of a group that wants to be together is let in anywhere.
	first := nowhere && matches
	return func(n *node) bool {
		met := true
		for i := range together {
			if together[i].topology.of(n) == none {
				return false
			}
			met = met && together[i].at(n) > 0
		}
		return met || first
	}
}

// addScores adds to each candidate what the pods near it are worth: by the pod's own preferences and by those of pods on nodes.
func (r *affinityRules) addScores(s *stock, attracting []*heldAffinity, candidates []candidate, weight int64) {
	c := s.cluster
	var worth topologyNumbers
	for i := range r.preferred {
		worth.add(&c.numbers, c.selected(&r.preferred[i].affinityTerm), r.preferred[i].weight)
	}
	for _, held := range attracting {
		worth.add(&c.numbers, held.byDomain(), held.weight)
	}
	sums := c.numbers.take(len(candidates))
	least, most := int64(math.MaxInt64), int64(math.MinInt64)
	for i, a := range candidates {
		for j := range worth {
			sums[i] += worth[j].at(a.n)
		}
		least, most = min(least, sums[i]), max(most, sums[i])
	}
	if most == least { // nothing tells the candidates apart
		return
	}
	for i := range candidates {
		candidates[i].among += weight * int64(scoreMax*(float64(sums[i]-least)/float64(most-least)))
	}
}
