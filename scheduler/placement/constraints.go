package placement

import (
	"fmt"
	"math"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// constraints are a pod's rules about where other pods are.
type constraints struct {
	spread         []spreadRule
	affinity, anti []term
	// softSpread and pulls only score.
	softSpread []spreadRule
	pulls      []pull
	// affinityKey names the counter of the pods that match all terms of affinity.
	affinityKey string
}

// spreadRule is a topology spread constraint with whenUnsatisfiable: DoNotSchedule.
type spreadRule struct {
	topologyKey    string
	selector       labels.Selector
	skewMax        int64
	domainsMin     int
	honorSelection bool
	honorTaints    bool
	// self is 1 if the pod counts itself.
	self int64
	key  string
}

// constraints reads a pod's rules; nil if it has none.
func (t *topology) constraints(pod *corev1.Pod) *constraints {
	a := pod.Spec.Affinity
	if len(pod.Spec.TopologySpreadConstraints) == 0 && (a == nil || a.PodAffinity == nil && a.PodAntiAffinity == nil) {
		return nil
	}
	var r constraints
	for i := range pod.Spec.TopologySpreadConstraints {
		s := &pod.Spec.TopologySpreadConstraints[i]
		if rule := newSpreadRule(s, pod); s.WhenUnsatisfiable == corev1.DoNotSchedule {
			r.spread = append(r.spread, rule)
		} else {
			r.softSpread = append(r.softSpread, rule)
		}
	}
	r.addPulls(pod)
	if a != nil && a.PodAffinity != nil {
		for i := range a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
			made := newTerm(&a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution[i], pod.Namespace)
			r.affinity = append(r.affinity, made)
			r.affinityKey += "\x01" + made.key
		}
	}
	if a != nil && a.PodAntiAffinity != nil {
		for i := range a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
			r.anti = append(r.anti, newTerm(&a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution[i], pod.Namespace))
		}
	}
	return &r
}

// hard tells whether rules can refuse a node.
func (r *constraints) hard() bool {
	return r != nil && len(r.spread)+len(r.affinity)+len(r.anti) > 0
}

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
	r := spreadRule{topologyKey: s.TopologyKey, selector: selector, skewMax: int64(s.MaxSkew), domainsMin: 1,
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

// rulesNow are a pod's constraints together with the counts of the moment.
type rulesNow struct {
	c   *Cluster
	w   *Want
	own *constraints
	// spread has for each spread rule the pods by domain, and the fewest.
	spread []spreadNow
	// together counts, for each affinity term, the pods by domain that match all terms.
	together []map[string]int64
	// nowhere: no pod matches the affinity terms.
	nowhere bool
	// apart and kept are the domains that the pod's own anti-affinity and that of others forbid, by topology key.
	apart, kept []forbidden
}

type spreadNow struct {
	pods   map[string]int64
	fewest int64
}

type forbidden struct {
	topologyKey string
	domains     map[string]bool
}

// rules takes stock for one pod. Its work grows with the number of nodes.
func (c *Cluster) rules(w *Want, against []*heldTerm) *rulesNow {
	r := &rulesNow{c: c, w: w, own: w.constraints}
	if r.own == nil {
		r.own = &constraints{}
	}
	r.countSpread()
	r.countAffinity()
	for i := range r.own.anti {
		t := &r.own.anti[i]
		k := c.termCounter(t)
		f := forbidden{t.topologyKey, map[string]bool{}}
		for slot, pods := range k.perNode {
			if pods > 0 {
				f.forbid(c.nodes[slot])
			}
		}
		r.apart = append(r.apart, f)
	}
	for _, t := range against {
		f := forbidden{t.topologyKey, map[string]bool{}}
		for slot := range t.perNode {
			f.forbid(c.nodes[slot])
		}
		r.kept = append(r.kept, f)
	}
	return r
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

func (r *rulesNow) countSpread() {
	for i := range r.own.spread {
		rule := &r.own.spread[i]
		k := r.counter(rule)
		now := spreadNow{pods: map[string]int64{}, fewest: math.MaxInt32}
		for _, n := range r.c.nodes {
			if n.object != nil && r.counts(r.own.spread, rule, n) {
				now.pods[n.object.Labels[rule.topologyKey]] += int64(k.perNode[n.slot])
			}
		}
		for _, pods := range now.pods {
			now.fewest = min(now.fewest, pods)
		}
		if len(now.pods) < rule.domainsMin {
			now.fewest = 0
		}
		r.spread = append(r.spread, now)
	}
}

// counts tells whether the node's pods count for a spread rule, one of rules.
func (r *rulesNow) counts(rules []spreadRule, rule *spreadRule, n *node) bool {
	if !labeled(rules, n) {
		return false
	}
	s := r.w.shape
	if rule.honorSelection && s.selects {
		if match, err := s.selector.Match(n.object); err == nil && !match {
			return false
		}
	}
	if rule.honorTaints {
		for i := range n.refusing {
			if !s.tolerates(&n.refusing[i]) {
				return false
			}
		}
	}
	return true
}

// counter of the pods that a spread rule counts.
func (r *rulesNow) counter(rule *spreadRule) *counter {
	namespace, selector := r.w.pod.Namespace, rule.selector
	return r.c.counter(rule.key, func(p *corev1.Pod) bool {
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

func (r *rulesNow) countAffinity() {
	terms := r.own.affinity
	if len(terms) == 0 {
		return
	}
	top := &r.c.topology
	matchesAll := func(p *corev1.Pod) bool {
		for i := range terms {
			if !terms[i].concerns(top, p) {
				return false
			}
		}
		return true
	}
	k := r.c.counter("affinity"+r.own.affinityKey, matchesAll)
	r.together = make([]map[string]int64, len(terms))
	r.nowhere = true
	for i := range terms {
		r.together[i] = map[string]int64{}
		for slot, pods := range k.perNode {
			n := r.c.nodes[slot]
			if pods == 0 || n.object == nil {
				continue
			}
			if domain, ok := n.object.Labels[terms[i].topologyKey]; ok {
				r.together[i][domain] += int64(pods)
				r.nowhere = false
			}
		}
	}
	// The first pod of a group that wants to be together is let in anywhere.
	r.nowhere = r.nowhere && matchesAll(r.w.pod)
}

// judge gives the verdict on a node that the filters of a class let pass.
func (r *rulesNow) judge(n *node) uint16 {
	for i := range r.own.spread {
		rule := &r.own.spread[i]
		domain, ok := n.object.Labels[rule.topologyKey]
		if !ok {
			return spreadUnlabeled
		}
		if r.spread[i].pods[domain]+rule.self-r.spread[i].fewest > rule.skewMax {
			return spreadSkewed
		}
	}
	met := true
	for i := range r.own.affinity {
		domain, ok := n.object.Labels[r.own.affinity[i].topologyKey]
		if !ok {
			return affinityUnmet
		}
		met = met && r.together[i][domain] > 0
	}
	if !met && !r.nowhere {
		return affinityUnmet
	}
	for i := range r.apart {
		if r.apart[i].holds(n) {
			return antiAffinityUnmet
		}
	}
	for i := range r.kept {
		if r.kept[i].holds(n) {
			return existingAntiAffinity
		}
	}
	return fits
}
