package placement

import (
	"iter"
	"math"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Upstream's default spreading: a pod of a replica set, a stateful set or a replication controller rather goes where
// few of its siblings are, counted by node and by zone.
const (
	hostSkew = 3
	zoneSkew = 5
)

// owners count the pods of each owner that spreads.
type owners map[types.UID]*siblings

// siblings are the pods of one owner that are on nodes and not about to end.
type siblings struct {
	perNode, perZone map[int32]int32
}

// spreader is the owner whose pods the pod keeps its distance from, empty if there is none. A pod with constraints of
// its own follows those.
func spreader(pod *corev1.Pod) types.UID {
	if len(pod.Spec.TopologySpreadConstraints) > 0 {
		return ""
	}
	return sibling(pod)
}

func sibling(pod *corev1.Pod) types.UID {
	if len(pod.OwnerReferences) == 0 {
		return ""
	}
	o := metav1.GetControllerOfNoCopy(pod)
	if o == nil {
		return ""
	}
	switch o.Kind {
	case "ReplicaSet", "StatefulSet", "ReplicationController":
		return o.UID
	}
	return ""
}

// count a pod that comes to the node (by is 1) or goes (-1). It tells whether the pod counts.
func (t owners) count(pod *corev1.Pod, n *node, by int32) bool {
	owner := sibling(pod)
	if owner == "" || pod.DeletionTimestamp != nil {
		return false
	}
	s := t[owner]
	if s == nil {
		s = &siblings{map[int32]int32{}, map[int32]int32{}}
		t[owner] = s
	}
	bump(s.perNode, n.slot, by)
	if n.zone != none {
		bump(s.perZone, n.zone, by)
	}
	if len(s.perNode) == 0 {
		delete(t, owner)
	}
	return true
}

func bump(counts map[int32]int32, key, by int32) {
	if n := counts[key] + by; n != 0 {
		counts[key] = n
	} else {
		delete(counts, key)
	}
}

// rezone moves a node's pods from one zone to another.
func (t owners) rezone(n *node, from, to int32) {
	if from == to {
		return
	}
	for _, s := range t {
		pods := s.perNode[n.slot]
		if pods == 0 {
			continue
		}
		if from != none {
			bump(s.perZone, from, -pods)
		}
		if to != none {
			bump(s.perZone, to, pods)
		}
	}
}

// zones gives each zone's name a number.
type zones map[string]int32

func (t zones) of(n *corev1.Node) int32 {
	name, ok := n.Labels[corev1.LabelTopologyZone]
	if !ok {
		return none
	}
	id, ok := t[name]
	if !ok {
		id = int32(len(t))
		t[name] = id
	}
	return id
}

// level is what a node has in the scores that upstream normalises by the extremes among feasible nodes. A class keeps
// one heap for each level, so that new extremes change no heap.
type level struct {
	// taints: PreferNoSchedule taints that the pod does not tolerate.
	taints int32
	// affinity: the weights of the preferred terms that the node matches.
	affinity int32
	// siblings on the node, none if it has no hostname; zone it is in. Both 0 if the pod does not spread.
	siblings, zone int32
}

func (c *Cluster) levelOf(s *shape, n *node) level {
	var l level
	for i := range n.unloved {
		if !s.tolerates(&n.unloved[i]) {
			l.taints++
		}
	}
	if s.preferred != nil {
		l.affinity = int32(s.preferred.Score(n.object))
	}
	if s.owner != "" {
		l.zone, l.siblings = n.zone, none
		if n.hostnamed {
			l.siblings = 0
			if o := c.owners[s.owner]; o != nil {
				l.siblings = o.perNode[n.slot]
			}
		}
	}
	return l
}

// scale turns levels into scores, given which levels the feasible nodes have.
type scale struct {
	taintsMax, affinityMax int64
	prefers, spreads       bool
	hostWeight, zoneWeight float64
	perZone                map[int32]int32
	// the extremes of crowd.
	crowdMin, crowdMax int64
}

// scale takes the levels of the feasible nodes, each with the number of nodes that have it.
func (c *Cluster) scale(s *shape, levels iter.Seq2[level, int]) scale {
	m := scale{prefers: s.preferred != nil, spreads: s.owner != ""}
	nodes := 0
	var zones []int32
	for l, n := range levels {
		m.taintsMax = max(m.taintsMax, int64(l.taints))
		m.affinityMax = max(m.affinityMax, int64(l.affinity))
		if !m.spreads {
			continue
		}
		nodes += n
		seen := false
		for _, z := range zones {
			seen = seen || z == l.zone
		}
		if !seen {
			zones = append(zones, l.zone)
		}
	}
	if !m.spreads {
		return m
	}
	m.hostWeight, m.zoneWeight = math.Log(float64(nodes+2)), math.Log(float64(len(zones)+2))
	if o := c.owners[s.owner]; o != nil {
		m.perZone = o.perZone
	}
	m.crowdMin = math.MaxInt64
	for l := range levels {
		crowd := m.crowd(l)
		m.crowdMin, m.crowdMax = min(m.crowdMin, crowd), max(m.crowdMax, crowd)
	}
	return m
}

// crowd is how many siblings are near, weighted by how many nodes and zones there are to spread over.
func (m *scale) crowd(l level) int64 {
	var sum float64
	if l.zone != none {
		sum += float64(m.perZone[l.zone])*m.zoneWeight + zoneSkew - 1
	}
	if l.siblings != none {
		sum += float64(l.siblings)*m.hostWeight + hostSkew - 1
	}
	return int64(math.Round(sum))
}

// score is the weighted sum of the normalised scores of a level.
func (m *scale) score(l level) int64 {
	taints, affinity, apart := int64(scoreMax), int64(0), int64(0)
	if m.taintsMax > 0 {
		taints = scoreMax - scoreMax*int64(l.taints)/m.taintsMax
	}
	if m.prefers && m.affinityMax > 0 {
		affinity = scoreMax * int64(l.affinity) / m.affinityMax
	}
	if m.spreads {
		apart = scoreMax
		if m.crowdMax > 0 {
			apart = scoreMax * (m.crowdMax + m.crowdMin - m.crowd(l)) / m.crowdMax
		}
	}
	return weightTaints*taints + weightAffinity*affinity + weightSpread*apart
}
