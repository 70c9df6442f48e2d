package placement

import (
	"fmt"
	"math"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	part: func(_ *Cluster, b []byte, pod *corev1.Pod, _ *demand) []byte { return append(b, spreader(pod)...) },
	prepare: func(s *setup) prepared {
		if !s.part.more() {
			return prepared{}
		}
		return prepared{scaled: spreadByDefault(s.cluster, types.UID(s.part))}
	},
	read: func(p *PendingPod) { p.spread = newSpreadRules(p.pod) },
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
	tolerations []corev1.Toleration
}

type spreadRule struct {
	topologyKey    string
	namespace      string
	selector       labels.Selector
	skewMax        int64
	domainsMin     int
	honorSelection bool
	honorTaints    bool
	// self is 1 if the pod counts itself.
	self int64
	key  string
}

func newSpreadRules(pod *corev1.Pod) *spreadRules {
	constraints := pod.Spec.TopologySpreadConstraints
	if len(constraints) == 0 {
		return nil
	}
	r := &spreadRules{required: nodeaffinity.GetRequiredNodeAffinity(pod), tolerations: pod.Spec.Tolerations}
	for i := range constraints {
		if rule := newSpreadRule(&constraints[i], pod); constraints[i].WhenUnsatisfiable == corev1.DoNotSchedule {
			r.hard = append(r.hard, rule)
		} else {
			r.soft = append(r.soft, rule)
		}
	}
	return r
}

// refuses tells whether the rules can refuse a node.
func (r *spreadRules) refuses() bool { return r != nil && len(r.hard) > 0 }

func newSpreadRule(s *corev1.TopologySpreadConstraint, pod *corev1.Pod) spreadRule {
	selector, err := metav1.LabelSelectorAsSelector(s.LabelSelector)
	if err != nil {
		selector = labels.Nothing()
	}
	for _, key := range s.MatchLabelKeys {
		if value, ok := pod.Labels[key]; ok {
			if r, err := labels.NewRequirement(key, selection.In, []string{value}); err == nil {
				selector = selector.Add(*r)
			}
		}
	}
	r := spreadRule{topologyKey: s.TopologyKey, namespace: pod.Namespace, selector: selector, skewMax: int64(s.MaxSkew), domainsMin: 1,
		honorSelection: s.NodeAffinityPolicy == nil || *s.NodeAffinityPolicy == corev1.NodeInclusionPolicyHonor,
		honorTaints:    s.NodeTaintsPolicy != nil && *s.NodeTaintsPolicy == corev1.NodeInclusionPolicyHonor,
		key:            fmt.Sprintf("spread\x00%s\x00%s", pod.Namespace, selectorText(selector)),
	}
	if s.MinDomains != nil {
		r.domainsMin = int(*s.MinDomains)
	}
	if selector.Matches(labels.Set(pod.Labels)) {
		r.self = 1
	}
	return r
}

// spreadNow has the pods of a rule by domain, and the fewest.
type spreadNow struct {
	pods   map[string]int64
	fewest int64
}

func (r *spreadRules) filter(s *stock) func(n *node) uint16 {
	var counts []spreadNow
	for i := range r.hard {
		rule := &r.hard[i]
		k := rule.counter(s.cluster)
		now := spreadNow{pods: map[string]int64{}, fewest: math.MaxInt32}
		for _, n := range s.cluster.nodes {
			if n.object != nil && r.counts(r.hard, rule, n) {
				now.pods[n.object.Labels[rule.topologyKey]] += int64(k.perNode[n.slot])
			}
		}
		for _, pods := range now.pods {
			now.fewest = min(now.fewest, pods)
		}
		if len(now.pods) < rule.domainsMin {
			now.fewest = 0
		}
		counts = append(counts, now)
	}
	unlabeled, skewed := s.refusal, s.refusal+1
	return func(n *node) uint16 {
		for i := range r.hard {
			rule := &r.hard[i]
			domain, ok := n.object.Labels[rule.topologyKey]
			if !ok {
				return unlabeled
			}
			if counts[i].pods[domain]+rule.self-counts[i].fewest > rule.skewMax {
				return skewed
			}
		}
		return fits
	}
}

// counts tells whether the node's pods count for a rule, one of rules.
func (r *spreadRules) counts(rules []spreadRule, rule *spreadRule, n *node) bool {
	if !labeled(rules, n) {
		return false
	}
	if rule.honorSelection {
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

// counter of the pods that the rule counts.
func (r *spreadRule) counter(c *Cluster) *counter {
	namespace, selector := r.namespace, r.selector
	return c.counter(r.key, func(p *corev1.Pod) bool {
		return p.Namespace == namespace && p.DeletionTimestamp == nil && selector.Matches(labels.Set(p.Labels))
	})
}

// labeled tells whether the node is in a domain for each of the rules.
func labeled(rules []spreadRule, n *node) bool {
	for i := range rules {
		if _, ok := n.object.Labels[rules[i].topologyKey]; !ok {
			return false
		}
	}
	return true
}

func (r *spreadRules) addScores(s *stock, candidates []candidate, weight int64) {
	rules := r.soft
	crowds := make([]float64, len(candidates))
	inAll := 0
	for _, a := range candidates {
		if labeled(rules, a.n) {
			inAll++
		}
	}
	for i := range rules {
		rule := &rules[i]
		k := rule.counter(s.cluster)
		domains := map[string]int64{}
		if rule.topologyKey != corev1.LabelHostname {
			for _, a := range candidates {
				if labeled(rules, a.n) {
					domains[a.n.object.Labels[rule.topologyKey]] = 0
				}
			}
			for _, n := range s.cluster.nodes {
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
			candidates[i].among += weight * scoreMax
		default:
			candidates[i].among += weight * (scoreMax * (most + least - int64(math.Round(crowds[i]))) / most)
		}
	}
}
