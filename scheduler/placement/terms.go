package placement

import (
	"slices"
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
	// anti are the required anti-affinity terms of the pods on nodes. antiByNamespace finds those that concern one
	// namespace, wide are the others.
	anti            map[string]*antiTerm
	antiByNamespace map[string][]*antiTerm
	wide            []*antiTerm
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

// term is a pod affinity term.
type term struct {
	topologyKey string
	selector    labels.Selector
	namespaces  []string
	// namespaceSelector chooses further namespaces; nil for none.
	namespaceSelector labels.Selector
	key               string
}

// antiTerm is a required anti-affinity term of pods on nodes.
type antiTerm struct {
	term
	// perNode counts the pods that have the term, by slot.
	perNode map[int32]int32
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

// newTerm reads a term of a pod in the namespace.
func newTerm(t *corev1.PodAffinityTerm, namespace string) term {
	selector, err := metav1.LabelSelectorAsSelector(t.LabelSelector)
	if err != nil {
		selector = labels.Nothing()
	}
	made := term{topologyKey: t.TopologyKey, selector: selector, namespaces: t.Namespaces}
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
func (t *term) concerns(top *topology, pod *corev1.Pod) bool {
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

// addTerms takes note of the required anti-affinity of a pod that is on the node now.
func (t *topology) addTerms(pod *corev1.Pod, n *node) []*antiTerm {
	a := pod.Spec.Affinity
	if a == nil || a.PodAntiAffinity == nil {
		return nil
	}
	var terms []*antiTerm
	for i := range a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
		made := newTerm(&a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution[i], pod.Namespace)
		known := t.anti[made.key]
		if known == nil {
			known = &antiTerm{term: made, perNode: map[int32]int32{}}
			t.anti[made.key] = known
			if ns, one := known.oneNamespace(); one {
				t.antiByNamespace[ns] = append(t.antiByNamespace[ns], known)
			} else {
				t.wide = append(t.wide, known)
			}
		}
		known.perNode[n.slot]++
		terms = append(terms, known)
	}
	return terms
}

func (t *term) oneNamespace() (string, bool) {
	if len(t.namespaces) == 1 && t.namespaceSelector == nil {
		return t.namespaces[0], true
	}
	return "", false
}

func (t *topology) removeTerms(p *Pod) {
	for _, a := range p.terms {
		if a.perNode[p.node.slot]--; a.perNode[p.node.slot] == 0 {
			delete(a.perNode, p.node.slot)
		}
		if len(a.perNode) > 0 {
			continue
		}
		delete(t.anti, a.key)
		same := func(o *antiTerm) bool { return o == a }
		if ns, one := a.oneNamespace(); !one {
			t.wide = slices.DeleteFunc(t.wide, same)
		} else if left := slices.DeleteFunc(t.antiByNamespace[ns], same); len(left) > 0 {
			t.antiByNamespace[ns] = left
		} else {
			delete(t.antiByNamespace, ns)
		}
	}
}

// against are the anti-affinity terms of pods on nodes that keep this pod away.
func (t *topology) against(pod *corev1.Pod) []*antiTerm {
	var found []*antiTerm
	for _, list := range [2][]*antiTerm{t.antiByNamespace[pod.Namespace], t.wide} {
		for _, a := range list {
			if a.concerns(t, pod) {
				found = append(found, a)
			}
		}
	}
	return found
}
