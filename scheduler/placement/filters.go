package placement

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Verdict is why a node cannot take a pod.
type Verdict struct {
	// Filter is the plugin that refused.
	Filter  string
	Reasons []string
	// Unresolvable: the node would refuse the pod even if it were empty, so that no preemption would help.
	Unresolvable bool
}

// Verdicts that do not depend on names of resources; a verdict's number is its place in this list.
const (
	fits uint16 = iota
	absent
	unschedulable
	otherName
	tainted
	unselected
	portTaken
	unnamed
	spreadUnlabeled
	spreadSkewed
	affinityUnmet
	antiAffinityUnmet
	existingAntiAffinity
	short
)

var fixedVerdicts = []Verdict{
	fits:                 {},
	absent:               {Filter: "none"},
	unschedulable:        {"NodeUnschedulable", []string{"node(s) were unschedulable"}, true},
	otherName:            {"NodeName", []string{"node(s) didn't match the requested node name"}, true},
	tainted:              {"TaintToleration", []string{"node(s) had untolerated taint(s)"}, true},
	unselected:           {"NodeAffinity", []string{"node(s) didn't match Pod's node affinity/selector"}, true},
	portTaken:            {"NodePorts", []string{"node(s) didn't have free ports for the requested pod ports"}, false},
	unnamed:              {"NodeAffinity", []string{"node(s) didn't satisfy plugin(s) [NodeAffinity]"}, true},
	spreadUnlabeled:      {"PodTopologySpread", []string{"node(s) didn't match pod topology spread constraints (missing required label)"}, true},
	spreadSkewed:         {"PodTopologySpread", []string{"node(s) didn't match pod topology spread constraints"}, false},
	affinityUnmet:        {"InterPodAffinity", []string{"node(s) didn't match pod affinity rules"}, true},
	antiAffinityUnmet:    {"InterPodAffinity", []string{"node(s) didn't match pod anti-affinity rules"}, false},
	existingAntiAffinity: {"InterPodAffinity", []string{"node(s) didn't satisfy existing pods anti-affinity rules"}, false},
	short:                {"NodeResourcesFit", []string{"Insufficient resources"}, false},
}

// filters in upstream's order: the first that refuses a node gives the verdict. PodTopologySpread and
// InterPodAffinity follow (constraints.go), for the few pods that have such rules.
var filters = []struct {
	name   string
	refuse func(v *verdicts, s *shape, n *node) uint16
}{
	{"NodeUnschedulable", func(_ *verdicts, s *shape, n *node) uint16 {
		if n.object.Spec.Unschedulable && !s.tolerates(&unschedulableTaint) {
			return unschedulable
		}
		return fits
	}},
	{"NodeName", func(_ *verdicts, s *shape, n *node) uint16 {
		if s.nodeName != "" && s.nodeName != n.name {
			return otherName
		}
		return fits
	}},
	{"TaintToleration", func(_ *verdicts, s *shape, n *node) uint16 {
		for i := range n.refusing {
			if !s.tolerates(&n.refusing[i]) {
				return tainted
			}
		}
		return fits
	}},
	{"NodeAffinity", func(_ *verdicts, s *shape, n *node) uint16 {
		if s.selects {
			if match, err := s.selector.Match(n.object); err != nil || !match {
				return unselected
			}
		}
		return fits
	}},
	{"NodePorts", func(_ *verdicts, s *shape, n *node) uint16 {
		for _, wanted := range s.demand.ports {
			for _, taken := range n.ports {
				if wanted.conflicts(taken) {
					return portTaken
				}
			}
		}
		return fits
	}},
	{"NodeResourcesFit", fitResources},
}

var unschedulableTaint = corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}

// What is short, as bits. Scalars follow from shortScalar on, in the demand's order.
const (
	shortPods = 1 << iota
	shortCPU
	shortMemory
	shortEphemeral
	shortScalar
	// never: even the empty node is too small.
	never = 1 << 63
)

func fitResources(v *verdicts, s *shape, n *node) uint16 {
	d, u := s.demand, &n.used
	var lack uint64
	if u.pods+1 > n.podsMax {
		lack |= shortPods
	}
	if d.milliCPU > 0 && d.milliCPU > n.milliCPU-u.milliCPU {
		lack |= lacking(shortCPU, d.milliCPU > n.milliCPU)
	}
	if d.memory > 0 && d.memory > n.memory-u.memory {
		lack |= lacking(shortMemory, d.memory > n.memory)
	}
	if d.ephemeral > 0 && d.ephemeral > n.ephemeral-u.ephemeral {
		lack |= lacking(shortEphemeral, d.ephemeral > n.ephemeral)
	}
	for i, want := range d.scalars {
		if has := n.scalars[want.name]; want.amount > has-u.scalars[want.name] {
			lack |= lacking(shortScalar<<min(i, 50), want.amount > has)
		}
	}
	if lack == 0 {
		return fits
	}
	id, ok := s.fits[lack]
	if !ok {
		id = v.id(lackVerdict(d, lack))
		s.fits[lack] = id
	}
	return id
}

func lacking(bit uint64, hopeless bool) uint64 {
	if hopeless {
		return bit | never
	}
	return bit
}

func lackVerdict(d *demand, lack uint64) Verdict {
	v := Verdict{Filter: "NodeResourcesFit", Unresolvable: lack&never != 0}
	add := func(bit uint64, reason string) {
		if lack&bit != 0 {
			v.Reasons = append(v.Reasons, reason)
		}
	}
	add(shortPods, "Too many pods")
	add(shortCPU, "Insufficient cpu")
	add(shortMemory, "Insufficient memory")
	add(shortEphemeral, "Insufficient ephemeral-storage")
	for i, s := range d.scalars {
		if i <= 50 {
			add(shortScalar<<i, "Insufficient "+string(s.name))
		}
	}
	return v
}

// verdicts gives each verdict a number.
type verdicts struct {
	all   []Verdict
	byKey map[string]uint16
}

// verdictsMax bounds the table; past it a new combination of missing resources is not told apart.
const verdictsMax = 1<<16 - 1

func (t *verdicts) id(v Verdict) uint16 {
	key := v.Filter + "\n" + strings.Join(v.Reasons, "\n")
	if v.Unresolvable {
		key += "\n!"
	}
	if id, ok := t.byKey[key]; ok {
		return id
	}
	if len(t.all) == verdictsMax {
		return short
	}
	id := uint16(len(t.all))
	t.all = append(t.all, v)
	t.byKey[key] = id
	return id
}

// judge runs the filters that depend on the node and its sums alone.
func (c *Cluster) judge(s *shape, n *node) uint16 {
	if n.object == nil {
		return absent
	}
	for i := range filters {
		if id := filters[i].refuse(&c.verdicts, s, n); id != fits {
			return id
		}
	}
	return fits
}

// Fits tells whether the named node passes the filters that depend on the node alone for a pod like w.
func (c *Cluster) Fits(w *Want, name string) bool {
	n, ok := c.byName[name]
	return ok && c.judge(w.shape, n) == fits
}
