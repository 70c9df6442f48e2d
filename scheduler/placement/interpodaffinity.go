package placement

import (
	"math"

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
	read: func(p *PendingPod) { p.affinity = newAffinityRules(p.pod) },
	among: func(s stock) (a among) {
		own, t := s.pod.affinity, &s.cluster.topology
		repelling, attracting := t.repelling.concerning(t, s.pod.pod), t.attracting.concerning(t, s.pod.pod)
		s.pod.repelled = len(repelling) > 0
		if own == nil {
			own = &noAffinity
		}
		if own.refuses() || len(repelling) > 0 {
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
	preferred              []preferredTerm
	// affinityKey names the counter of the pods that match all terms of affinity.
	affinityKey string
}

var noAffinity affinityRules

// preferredTerm is a preferred term of affinity, or of anti-affinity with a negative weight.
type preferredTerm struct {
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
	prefer := func(terms []corev1.WeightedPodAffinityTerm, sign int64) {
		for i := range terms {
			r.preferred = append(r.preferred, preferredTerm{newAffinityTerm(&terms[i].PodAffinityTerm, pod.Namespace), sign * int64(terms[i].Weight)})
		}
	}
	if near := a.PodAffinity; near != nil {
		prefer(near.PreferredDuringSchedulingIgnoredDuringExecution, 1)
		for i := range near.RequiredDuringSchedulingIgnoredDuringExecution {
			made := newAffinityTerm(&near.RequiredDuringSchedulingIgnoredDuringExecution[i], pod.Namespace)
			r.affinity = append(r.affinity, made)
			r.affinityKey += "\x01" + made.key
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

// refuses tells whether the rules can refuse a node.
func (r *affinityRules) refuses() bool { return r != nil && len(r.affinity)+len(r.antiAffinity) > 0 }

// forbidden are the domains of a topology that anti-affinity keeps the pod from.
type forbidden struct {
	topologyKey string
	domains     map[string]bool
}

func (f *forbidden) forbid(n *node) {
	if n.object == nil {
		return
	}
	if domain, ok := n.object.Labels[f.topologyKey]; ok {
		f.domains[domain] = true
	}
}

func (f *forbidden) holds(n *node) bool {
	domain, ok := n.object.Labels[f.topologyKey]
	return ok && f.domains[domain]
}

func (r *affinityRules) filter(s *stock, repelling []*heldTerm) func(n *node) uint16 {
	var own, others []forbidden
	for i := range r.antiAffinity {
		t := &r.antiAffinity[i]
		f := forbidden{t.topologyKey, map[string]bool{}}
		for slot, pods := range s.cluster.termCounter(t).perNode {
			if pods > 0 {
				f.forbid(s.cluster.nodes[slot])
			}
		}
		own = append(own, f)
	}
	for _, t := range repelling {
		f := forbidden{t.topologyKey, map[string]bool{}}
		for slot := range t.perNode {
			f.forbid(s.cluster.nodes[slot])
		}
		others = append(others, f)
	}
	near, unmet := r.near(s), s.refusal
	return func(n *node) uint16 {
		if near != nil && !near(n) {
			return unmet
		}
		for i := range own {
			if own[i].holds(n) {
				return unmet + 1
			}
		}
		for i := range others {
			if others[i].holds(n) {
				return unmet + 2
			}
		}
		return fits
	}
}

// near tells whether a node meets the required affinity; nil if there is none.
func (r *affinityRules) near(s *stock) func(n *node) bool {
	terms := r.affinity
	if len(terms) == 0 {
		return nil
	}
	top := &s.cluster.topology
	matchesAll := func(p *corev1.Pod) bool {
		for i := range terms {
			if !terms[i].concerns(top, p) {
				return false
			}
		}
		return true
	}
	k := s.cluster.counter("affinity"+r.affinityKey, matchesAll)
	together, nowhere := make([]map[string]int64, len(terms)), true
	for i := range terms {
		together[i] = map[string]int64{}
		for slot, pods := range k.perNode {
			n := s.cluster.nodes[slot]
			if pods == 0 || n.object == nil {
				continue
			}
			if domain, ok := n.object.Labels[terms[i].topologyKey]; ok {
				together[i][domain] += int64(pods)
				nowhere = false
			}
		}
	}
	// The first pod of a group that wants to be together is let in anywhere.
	first := nowhere && matchesAll(s.pod.pod)
	return func(n *node) bool {
		met := true
		for i := range terms {
			domain, ok := n.object.Labels[terms[i].topologyKey]
			if !ok {
				return false
			}
			met = met && together[i][domain] > 0
		}
		return met || first
	}
}

// addScores adds to each candidate what the pods near it are worth: by the pod's own preferences and by those of pods on nodes.
func (r *affinityRules) addScores(s *stock, attracting []*heldTerm, candidates []candidate, weight int64) {
	worth := map[string]map[string]int64{}
	add := func(topologyKey string, slot int32, amount int64) {
		n := s.cluster.nodes[slot]
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
	for i := range r.preferred {
		p := &r.preferred[i]
		for slot, pods := range s.cluster.termCounter(&p.affinityTerm).perNode {
			if pods > 0 {
				add(p.topologyKey, int32(slot), p.weight*int64(pods))
			}
		}
	}
	for _, held := range attracting {
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
		candidates[i].among += weight * int64(scoreMax*(float64(sums[i]-least)/float64(most-least)))
	}
}
