package placement

import (
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// countersMax bounds the kept counters; past it the one unused longest is dropped.
const countersMax = 256

// topology knows which pods match the selectors of rules about other pods, and which pods keep others away.
type topology struct {
	// counters by the text of what they count.
	counters map[string]*counter
	clock    uint64
	// repelling are the required anti-affinity terms of the pods on nodes; attracting are the terms of theirs that draw
	// other pods near or, with a negative weight, rather away.
	repelling, attracting heldTerms
	// namespaces and their labels.
	namespaces map[string]labels.Set
}

// counter holds how many pods on each node match, and is kept current as pods come and go.
type counter struct {
	key     string
	matches func(*corev1.Pod) bool
	perNode []int32
	used    uint64
}

// affinityTerm is a term of pod affinity or anti-affinity.
type affinityTerm struct {
	topologyKey string
	selector    labels.Selector
	namespaces  []string
	// namespaceSelector chooses further namespaces; nil for none.
	namespaceSelector labels.Selector
	key               string
}

// heldTerm is an affinity term of pods on nodes.
type heldTerm struct {
	affinityTerm
	weight int64
	// perNode counts the pods that have the term, by slot.
	perNode map[int32]int32
	in      *heldTerms
}

// heldTerms are held terms, by what they say. byNamespace finds those that concern one namespace, wide are the others.
type heldTerms struct {
	byKey       map[string]*heldTerm
	byNamespace map[string][]*heldTerm
	wide        []*heldTerm
}

func newHeldTerms() heldTerms {
	return heldTerms{byKey: map[string]*heldTerm{}, byNamespace: map[string][]*heldTerm{}}
}

// SetNamespace takes note of a namespace's labels, which namespace selectors look at. It tells whether they changed.
func (c *Cluster) SetNamespace(name string, l map[string]string) bool {
	t := &c.topology
	if old, ok := t.namespaces[name]; ok && labels.Equals(old, l) {
		return false
	}
	t.namespaces[name] = l
	clear(t.counters)
	return true
}

// RemoveNamespace forgets a namespace.
func (c *Cluster) RemoveNamespace(name string) {
	delete(c.topology.namespaces, name)
	clear(c.topology.counters)
}

// newAffinityTerm reads a term of a pod in the namespace.
func newAffinityTerm(t *corev1.PodAffinityTerm, namespace string) affinityTerm {
	selector, err := metav1.LabelSelectorAsSelector(t.LabelSelector)
	if err != nil {
		selector = labels.Nothing()
	}
	made := affinityTerm{topologyKey: t.TopologyKey, selector: selector, namespaces: t.Namespaces}
	if t.NamespaceSelector != nil {
		if made.namespaceSelector, err = metav1.LabelSelectorAsSelector(t.NamespaceSelector); err != nil {
			made.namespaceSelector = nil
		}
	} else if len(t.Namespaces) == 0 {
		made.namespaces = []string{namespace}
	}
	made.key = made.topologyKey + "\x00" + selectorText(selector) + "\x00" + strings.Join(made.namespaces, ",") +
		"\x00" + selectorText(made.namespaceSelector)
	return made
}

// selectorText tells the selector that matches nothing from the one that matches everything: both print as "".
func selectorText(s labels.Selector) string {
	if s == nil {
		return "-"
	}
	if text := s.String(); text != "" || s.Empty() {
		return text
	}
	return "!"
}

// concerns tells whether the term selects the pod.
func (t *affinityTerm) concerns(top *topology, pod *corev1.Pod) bool {
	if !slices.Contains(t.namespaces, pod.Namespace) &&
		(t.namespaceSelector == nil || !t.namespaceSelector.Matches(top.namespaces[pod.Namespace])) {
		return false
	}
	return t.selector.Matches(labels.Set(pod.Labels))
}

// counter finds or makes the counter for what the key says and matches tests.
func (c *Cluster) counter(key string, matches func(*corev1.Pod) bool) *counter {
	t := &c.topology
	t.clock++
	k := t.counters[key]
	if k == nil {
		t.dropOldest()
		k = &counter{key: key, matches: matches, perNode: make([]int32, len(c.nodes))}
		for _, p := range c.pods {
			k.count(p.Object, p.node.slot, 1)
		}
		t.counters[key] = k
	}
	for len(k.perNode) < len(c.nodes) {
		k.perNode = append(k.perNode, 0)
	}
	k.used = t.clock
	return k
}

func (t *topology) dropOldest() {
	if len(t.counters) < countersMax {
		return
	}
	var oldest *counter
	for _, k := range t.counters {
		if oldest == nil || k.used < oldest.used {
			oldest = k
		}
	}
	delete(t.counters, oldest.key)
}

func (k *counter) count(pod *corev1.Pod, slot, by int32) {
	if !k.matches(pod) {
		return
	}
	for int(slot) >= len(k.perNode) {
		k.perNode = append(k.perNode, 0)
	}
	k.perNode[slot] += by
}

// count keeps the counters current: by is 1 for a pod that comes to the node, -1 for one that goes.
func (t *topology) count(pod *corev1.Pod, n *node, by int32) {
	for _, k := range t.counters {
		k.count(pod, n.slot, by)
	}
}

// requiredWeight is what a required affinity term of a pod on a node weighs for the pods that it selects.
const requiredWeight = 1

// addTerms takes note of the affinity terms of a pod that is on the node now.
func (t *topology) addTerms(pod *corev1.Pod, n *node) []*heldTerm {
	a := pod.Spec.Affinity
	if a == nil || a.PodAffinity == nil && a.PodAntiAffinity == nil {
		return nil
	}
	var held []*heldTerm
	if anti := a.PodAntiAffinity; anti != nil {
		for i := range anti.RequiredDuringSchedulingIgnoredDuringExecution {
			held = append(held, t.repelling.add(&anti.RequiredDuringSchedulingIgnoredDuringExecution[i], 0, pod, n))
		}
		for i := range anti.PreferredDuringSchedulingIgnoredDuringExecution {
			p := &anti.PreferredDuringSchedulingIgnoredDuringExecution[i]
			held = append(held, t.attracting.add(&p.PodAffinityTerm, -int64(p.Weight), pod, n))
		}
	}
	if near := a.PodAffinity; near != nil {
		for i := range near.RequiredDuringSchedulingIgnoredDuringExecution {
			held = append(held, t.attracting.add(&near.RequiredDuringSchedulingIgnoredDuringExecution[i], requiredWeight, pod, n))
		}
		for i := range near.PreferredDuringSchedulingIgnoredDuringExecution {
			p := &near.PreferredDuringSchedulingIgnoredDuringExecution[i]
			held = append(held, t.attracting.add(&p.PodAffinityTerm, int64(p.Weight), pod, n))
		}
	}
	return held
}

func (h *heldTerms) add(t *corev1.PodAffinityTerm, weight int64, pod *corev1.Pod, n *node) *heldTerm {
	made := newAffinityTerm(t, pod.Namespace)
	made.key = strconv.FormatInt(weight, 10) + "\x00" + made.key
	known := h.byKey[made.key]
	if known == nil {
		known = &heldTerm{affinityTerm: made, weight: weight, perNode: map[int32]int32{}, in: h}
		h.byKey[made.key] = known
		if ns, one := known.oneNamespace(); one {
			h.byNamespace[ns] = append(h.byNamespace[ns], known)
		} else {
			h.wide = append(h.wide, known)
		}
	}
	known.perNode[n.slot]++
	return known
}

// removeTerms forgets the terms of a pod that leaves its node.
func (t *topology) removeTerms(p *Pod) {
	for _, held := range p.terms {
		bump(held.perNode, p.node.slot, -1)
		if len(held.perNode) == 0 {
			held.in.remove(held)
		}
	}
}

func (h *heldTerms) remove(held *heldTerm) {
	delete(h.byKey, held.key)
	same := func(o *heldTerm) bool { return o == held }
	if ns, one := held.oneNamespace(); !one {
		h.wide = slices.DeleteFunc(h.wide, same)
	} else if left := slices.DeleteFunc(h.byNamespace[ns], same); len(left) > 0 {
		h.byNamespace[ns] = left
	} else {
		delete(h.byNamespace, ns)
	}
}

func (t *affinityTerm) oneNamespace() (string, bool) {
	if len(t.namespaces) == 1 && t.namespaceSelector == nil {
		return t.namespaces[0], true
	}
	return "", false
}

// concerning are the terms that select the pod.
func (h *heldTerms) concerning(t *topology, pod *corev1.Pod) []*heldTerm {
	var found []*heldTerm
	for _, list := range [2][]*heldTerm{h.byNamespace[pod.Namespace], h.wide} {
		for _, held := range list {
			if held.concerns(t, pod) {
				found = append(found, held)
			}
		}
	}
	return found
}

// termCounter counts the pods that a term selects.
func (c *Cluster) termCounter(t *affinityTerm) *counter {
	own := *t
	return c.counter("term\x00"+t.key, func(p *corev1.Pod) bool { return own.concerns(&c.topology, p) })
}
