package placement

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// affinityTerm is a PodAffinityTerm, of affinity or anti-affinity, that is ready to select pods.
type affinityTerm struct {
	podSelector
	topologyKey string
}

// newAffinityTerm reads an affinity term of a pod in the namespace.
func newAffinityTerm(t *corev1.PodAffinityTerm, namespace string) affinityTerm {
	in := t.Namespaces
	if t.NamespaceSelector == nil && len(in) == 0 {
		in = []string{namespace}
	}
	return affinityTerm{newPodSelector(t.LabelSelector, in, t.NamespaceSelector), t.TopologyKey}
}

// heldAffinity is an affinity term that pods on nodes have, and a tally of these pods.
type heldAffinity struct {
	affinityTerm
	tally
	weight int64
	key    string
	in     *heldAffinities
}

// byDomain is the tally by the domains of its topology.
func (h *heldAffinity) byDomain() *domainTally { return h.domains[0] }

// heldAffinities are found by what they say, and by the pods that they select.
type heldAffinities struct {
	byKey map[string]*heldAffinity
	index selectorIndex[*heldAffinity]
}

// podAffinities are those that one pod on a node holds.
type podAffinities []*heldAffinity

// requiredWeight is what a required affinity term of a pod on a node weighs for the pods that it selects.
const requiredWeight = 1

// hold takes note of the affinity terms of a pod that is on the node now; nil if it has none.
func (c *Cluster) hold(pod *corev1.Pod, n *node) *podAffinities {
	a := pod.Spec.Affinity
	if a == nil || a.PodAffinity == nil && a.PodAntiAffinity == nil {
		return nil
	}
	var held podAffinities
	hold := func(in *heldAffinities, t *corev1.PodAffinityTerm, weight int64) {
		held = append(held, c.holdOne(in, newAffinityTerm(t, pod.Namespace), weight, n))
	}
	if anti := a.PodAntiAffinity; anti != nil {
		for i := range anti.RequiredDuringSchedulingIgnoredDuringExecution {
			hold(&c.repelling, &anti.RequiredDuringSchedulingIgnoredDuringExecution[i], 0)
		}
		for i := range anti.PreferredDuringSchedulingIgnoredDuringExecution {
			p := &anti.PreferredDuringSchedulingIgnoredDuringExecution[i]
			hold(&c.attracting, &p.PodAffinityTerm, -int64(p.Weight))
		}
	}
	if near := a.PodAffinity; near != nil {
		for i := range near.RequiredDuringSchedulingIgnoredDuringExecution {
			hold(&c.attracting, &near.RequiredDuringSchedulingIgnoredDuringExecution[i], requiredWeight)
		}
		for i := range near.PreferredDuringSchedulingIgnoredDuringExecution {
			p := &near.PreferredDuringSchedulingIgnoredDuringExecution[i]
			hold(&c.attracting, &p.PodAffinityTerm, int64(p.Weight))
		}
	}
	return &held
}

func (c *Cluster) holdOne(in *heldAffinities, t affinityTerm, weight int64, n *node) *heldAffinity {
	// The copies of a pod hold the same terms: one tally stands for all of them.
	key := strconv.FormatInt(weight, 10) + "\x00" + t.topologyKey + "\x00" + t.key
	held := in.byKey[key]
	if held == nil {
		held = &heldAffinity{affinityTerm: t, weight: weight, key: key, tally: tally{perNode: map[int32]int32{}}, in: in}
		c.by(t.topologyKey, &held.tally)
		if in.byKey == nil {
			in.byKey = map[string]*heldAffinity{}
		}
		in.byKey[key] = held
		in.index.add(&held.podSelector, held)
	}
	held.add(n, 1)
	return held
}

// letGo forgets the affinity terms of a pod that leaves its node.
func (c *Cluster) letGo(held *podAffinities, n *node) {
	if held == nil {
		return
	}
	for _, h := range *held {
		if h.add(n, -1); len(h.perNode) == 0 {
			delete(h.in.byKey, h.key)
			h.in.index.remove(&h.podSelector, h)
			c.forget(&h.tally)
		}
	}
}

// concerning are the affinity terms that select the pod.
func (h *heldAffinities) concerning(known namespaces, pod *corev1.Pod) (found []*heldAffinity) {
	if len(h.byKey) == 0 {
		return nil
	}
	h.index.find(pod, func(held *heldAffinity) {
		if held.matches(known, pod) {
			found = append(found, held)
		}
	})
	return found
}
