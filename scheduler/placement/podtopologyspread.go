package placement

import (
	"math"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// podTopologySpread spreads pods over the domains of a topology, as their constraints say; pods that have none and are of a replica
// set and the like keep their distance by upstream's default constraints (defaultspread.go), which are part of the class.
var podTopologySpread = plugin{
	reads: NodeLabels | NodeTaints,
	refusals: []Verdict{
		{Reasons: []string{"node(s) didn't match pod topology spread constraints (missing required label)"}, Unresolvable: true, HelpedBy: NodeLabels},
		{Reasons: []string{"node(s) didn't match pod topology spread constraints"},
			HelpedBy: PodArrived | PodDeparted | NodeRemoved | NodeLabels | NodeTaints},
	},
	keyPart: func(_ *Cluster, b []byte, pod *corev1.Pod, _ *demand) []byte { return append(b, spreader(pod)...) },
	prepare: func(s *setup) prepared {
		if !s.keyPart.more() {
			return prepared{}
		}
		return prepared{scaled: spreadByDefault(s.cluster, types.UID(s.keyPart))}
	},
	read: func(p *PendingPod) bool {
		p.spread = newSpreadRules(p.pod)
		return p.spread != nil && len(p.spread.hard) > 0
	},
	among: func(s stock) (a among) {
		rules := s.pod.spread
		if rules == nil {
			return among{}
		}
		if len(rules.hard) > 0 {
			a.filter = rules.filter(&s)
		}
		if len(rules.soft) > 0 {
			a.score = func(candidates []candidate, weight int64) { rules.addScores(&s, candidates, weight) }
		}
		return a
	},
}

// spreadRules are the topology spread constraints of a pod.
type spreadRules struct {
	// hard ones have whenUnsatisfiable: DoNotSchedule; soft ones only score.
	hard, soft []spreadRule
	// required and tolerations say which nodes the pod can go to.
	required    nodeaffinity.RequiredNodeAffinity
	selects     bool
	tolerations []corev1.Toleration
}

type spreadRule struct {
	podSelector
	topologyKey    string
	skewMax        int64
	domainsMin     int
	honorSelection bool
	honorTaints    bool
	// self is 1 if the pod counts itself.
	self int64
}

func newSpreadRules(pod *corev1.Pod) *spreadRules {
	constraints := pod.Spec.TopologySpreadConstraints
	if len(constraints) == 0 {
		return nil
	}
	r := &spreadRules{tolerations: pod.Spec.Tolerations,
		selects: len(pod.Spec.NodeSelector) > 0 || pod.Spec.Affinity != nil && pod.Spec.Affinity.NodeAffinity != nil}
	if r.selects {
		r.required = nodeaffinity.GetRequiredNodeAffinity(pod)
	}
	for i := range constraints {
		if rule := newSpreadRule(&constraints[i], pod); constraints[i].WhenUnsatisfiable == corev1.DoNotSchedule {
			r.hard = append(r.hard, rule)
		} else {
			r.soft = append(r.soft, rule)
		}
	}
	return r
}

func newSpreadRule(s *corev1.TopologySpreadConstraint, pod *corev1.Pod) spreadRule {
	r := spreadRule{podSelector: newPodSelector(s.LabelSelector, []string{pod.Namespace}, nil),
		topologyKey: s.TopologyKey, skewMax: int64(s.MaxSkew), domainsMin: 1,
		honorSelection: s.NodeAffinityPolicy == nil || *s.NodeAffinityPolicy == corev1.NodeInclusionPolicyHonor,
		honorTaints:    s.NodeTaintsPolicy != nil && *s.NodeTaintsPolicy == corev1.NodeInclusionPolicyHonor,
	}
	for _, key := range s.MatchLabelKeys {
		if value, ok := pod.Labels[key]; ok {
			if one, err := labels.NewRequirement(key, selection.In, []string{value}); err == nil {
				r.selector = r.selector.Add(*one)
			}
		}
	}
	r.staying = true
	r.name()
	if s.MinDomains != nil {
		r.domainsMin = int(*s.MinDomains)
	}
	if r.selector.Matches(labels.Set(pod.Labels)) {
		r.self = 1
	}
	return r
}

// spreadCount is a rule with its counts of the moment.
type spreadCount struct {
	*spreadRule
	topology *topology
	// pods by domain, and the fewest in one of them.
	pods   []int64
	fewest int64
}

func (r *spreadRules) filter(s *stock) func(n *node) uint16 {
	topologies := s.cluster.spreadTopologies(r.hard)
	counts := make([]spreadCount, len(r.hard))
	for i := range r.hard {
		counts[i] = r.count(s, topologies, i)
	}
	unlabeled, skewed := s.refusal, s.refusal+1
	return func(n *node) uint16 {
		for i := range counts {
			k := &counts[i]
			domain := k.topology.of(n)
			if domain == none {
				return unlabeled
			}
			// As if the pod were there already, if its own labels are among those that the rule counts.
			if k.pods[domain]+k.self-k.fewest > k.skewMax {
				return skewed
			}
		}
		return fits
	}
}

// count has the pods of a hard rule by domain. Where all nodes with the label count, the tally has the numbers already.
func (r *spreadRules) count(s *stock, topologies []*topology, i int) spreadCount {
	rule, t := &r.hard[i], topologies[i]
	tally := s.cluster.by(rule.topologyKey, &s.cluster.counter(&rule.podSelector).tally)
	k := spreadCount{spreadRule: rule, topology: t, pods: s.cluster.numbers.take(len(t.nodes)), fewest: math.MaxInt32}
	nodes, domains := t.nodes, t.count()
	if r.countsAll(s.cluster, rule, topologies) {
		for domain, pods := range tally.pods {
			k.pods[domain] = int64(pods)
		}
	} else {
		nodes, domains = make([]int32, len(t.nodes)), 0
		for _, n := range s.cluster.nodes {
			if n.object == nil || !r.counts(rule, topologies, n) {
				continue
			}
			domain := t.of(n)
			k.pods[domain] += int64(tally.of.perNode[n.slot])
			if nodes[domain]++; nodes[domain] == 1 {
				domains++
			}
		}
	}
	if s.trial != nil && t.of(&s.trial.node) != none && r.counts(rule, topologies, &s.trial.node) {
		k.pods[t.of(&s.trial.node)] += s.trial.selected(&rule.podSelector)
	}
	for domain, pods := range k.pods {
		if nodes[domain] > 0 { // a number whose last node went is nobody's
			k.fewest = min(k.fewest, pods)
		}
	}
	if domains < rule.domainsMin { // a domain that is still to come has none
		k.fewest = 0
	}
	return k
}

// spreadTopologies are those of the rules, in their order.
func (c *Cluster) spreadTopologies(rules []spreadRule) []*topology {
	found := make([]*topology, len(rules))
	for i := range rules {
		found[i] = c.by(rules[i].topologyKey, &c.counter(&rules[i].podSelector).tally).topology
	}
	return found
}

// countsAll tells whether all nodes in the rule's topology count: neither the pod's own choice of nodes nor a label that other rules
// want leaves any out.
func (r *spreadRules) countsAll(c *Cluster, rule *spreadRule, topologies []*topology) bool {
	if rule.honorSelection && r.selects || rule.honorTaints {
		return false
	}
	for _, t := range topologies {
		if t.key != rule.topologyKey && t.labeled < c.count {
			return false
		}
	}
	return true
}

// counts tells whether a node's pods count for a rule: the node is in a domain of each topology, and the pod may go to it.
func (r *spreadRules) counts(rule *spreadRule, topologies []*topology, n *node) bool {
	if !inAll(topologies, n) {
		return false
	}
	if rule.honorSelection && r.selects {
		if match, err := r.required.Match(n.object); err == nil && !match {
			return false
		}
	}
	if rule.honorTaints {
		for i := range n.refusing {
			if !tolerates(r.tolerations, &n.refusing[i]) {
				return false
			}
		}
	}
	return true
}

func inAll(topologies []*topology, n *node) bool {
	for _, t := range topologies {
		if t.of(n) == none {
			return false
		}
	}
	return true
}

// addScores: the fewer pods the rules count near a node, the better. A candidate that is not in a domain for each gets nothing.
func (r *spreadRules) addScores(s *stock, candidates []candidate, weight int64) {
	topologies := s.cluster.spreadTopologies(r.soft)
	crowds, labeled := make([]float64, len(candidates)), 0
	for _, a := range candidates {
		if inAll(topologies, a.n) {
			labeled++
		}
	}
	for i := range r.soft {
		rule := &r.soft[i]
		pods, size := r.crowd(s, topologies, i, candidates)
		if rule.topologyKey == corev1.LabelHostname { // each node is a domain of its own, and nobody has to tell them apart
			size = labeled
		}
		factor := math.Log(float64(size + 2))
		for j, a := range candidates {
			if inAll(topologies, a.n) {
				crowds[j] += float64(pods(a.n))*factor + float64(rule.skewMax-1)
			}
		}
	}
	least, most := int64(math.MaxInt64), int64(0)
	for i, a := range candidates {
		if inAll(topologies, a.n) {
			crowd := int64(math.Round(crowds[i]))
			least, most = min(least, crowd), max(most, crowd)
		}
	}
	for i, a := range candidates {
		switch {
		case !inAll(topologies, a.n):
		case most == 0:
			candidates[i].among += weight * scoreMax
		default:
			candidates[i].among += weight * (scoreMax * (most + least - int64(math.Round(crowds[i]))) / most)
		}
	}
}

// crowd is how many pods a soft rule counts near a node: on it if the topology is hostname, and else in its domain. Domains are how
// many there are: those of the candidates, and others with such pods.
func (r *spreadRules) crowd(s *stock, topologies []*topology, i int, candidates []candidate) (pods func(n *node) int64, domains int) {
	rule, t, c := &r.soft[i], topologies[i], s.cluster
	counter := c.counter(&rule.podSelector)
	if rule.topologyKey == corev1.LabelHostname {
		onNode := c.numbers.take(len(c.nodes))
		for slot, pods := range counter.perNode {
			onNode[slot] = int64(pods)
		}
		return func(n *node) int64 { return onNode[n.slot] }, 0
	}
	inDomain, seen := c.numbers.take(len(t.nodes)), c.numbers.take(len(t.nodes))
	for _, a := range candidates {
		if inAll(topologies, a.n) {
			seen[t.of(a.n)] = 1
		}
	}
	for slot, pods := range counter.perNode {
		if n := c.nodes[slot]; n.object != nil && r.counts(rule, topologies, n) {
			inDomain[t.of(n)] += int64(pods)
			seen[t.of(n)] = 1
		}
	}
	for _, one := range seen {
		domains += int(one)
	}
	return func(n *node) int64 { return inDomain[t.of(n)] }, domains
}
