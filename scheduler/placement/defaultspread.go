package placement

import (
	"math"
	"slices"

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

// spreadByDefault scores for the pods of one owner: upstream's default constraints.
func spreadByDefault(c *Cluster, owner types.UID) scaled {
	d := &defaultSpread{owners: c.owners, owner: owner}
	return scaled{level: d.level, scale: d.scale}
}

type defaultSpread struct {
	owners owners
	owner  types.UID
	// zones is room for the zones of one decision.
	zones []int32
}

// level is the number of siblings on the node, none if it has no hostname, and its zone.
func (d *defaultSpread) level(n *node) levelPart {
	onNode := none
	if n.hostnamed {
		onNode = 0
		if s := d.owners[d.owner]; s != nil {
			onNode = s.perNode[n.slot]
		}
	}
	// The zone stands for the number of siblings in it, which changes with every pod that any of its nodes gets: with the zone in the
	// level, such a pod changes the level of its own node alone.
	return levelPart{onNode, n.zone}
}

// scale: the fewer siblings are near, weighted by how many nodes and zones there are to spread over, the better.
func (d *defaultSpread) scale(of []occurrence, at int, weight int64) {
	nodes := 0
	d.zones = d.zones[:0]
	for i := range of {
		nodes += of[i].nodes
		if zone := of[i].level[at][1]; !slices.Contains(d.zones, zone) {
			d.zones = append(d.zones, zone)
		}
	}
	hostWeight, zoneWeight := math.Log(float64(nodes+2)), math.Log(float64(len(d.zones)+2))
	var perZone map[int32]int32
	if s := d.owners[d.owner]; s != nil {
		perZone = s.perZone
	}
	// Upstream's formula: the larger a topology, the fewer pods are in one of its domains, and the more each of them weighs.
	crowd := func(l levelPart) int64 {
		var sum float64
		if l[1] != none {
			sum += float64(perZone[l[1]])*zoneWeight + zoneSkew - 1
		}
		if l[0] != none {
			sum += float64(l[0])*hostWeight + hostSkew - 1
		}
		return int64(math.Round(sum))
	}
	least, most := int64(math.MaxInt64), int64(0)
	for i := range of {
		l := crowd(of[i].level[at])
		least, most = min(least, l), max(most, l)
	}
	for i := range of {
		score := int64(scoreMax)
		if most > 0 {
			score = scoreMax * (most + least - crowd(of[i].level[at])) / most
		}
		of[i].score += weight * score
	}
}
