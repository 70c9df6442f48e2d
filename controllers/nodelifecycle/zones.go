package nodelifecycle

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// disruption is how badly a zone is off.
type disruption int

const (
	normal disruption = iota
	// partial: many nodes are not ready; it may be a fault of the zone's network rather than of the nodes.
	partial
	// full: no node is ready.
	full
)

// labelExcluded is on nodes that do not count when a zone is judged. They are tainted as others are.
const labelExcluded = "node.kubernetes.io/exclude-disruption"

// zoneOf is the failure domain of a node.
func zoneOf(node *corev1.Node) string {
	region, zone := node.Labels[corev1.LabelTopologyRegion], node.Labels[corev1.LabelTopologyZone]
	if region == "" && zone == "" {
		return ""
	}
	return region + ":\x00:" + zone
}

// disruptionOf judges a zone by how many of its nodes are ready.
func disruptionOf(ready, unready int, threshold float64) disruption {
	switch {
	case ready == 0 && unready > 0:
		return full
	case unready > 2 && float64(unready)/float64(unready+ready) >= threshold:
		return partial
	}
	return normal
}

// rates are the settings of how fast nodes are tainted.
type rates struct {
	normal, secondary float64 // nodes a second
	threshold         float64
	largeCluster      int
}

// zone limits how fast its nodes are tainted NoExecute.
type zone struct {
	ready, unready int
	state          disruption
	// rate is in nodes a second; 0 taints none.
	rate float64
	// next is when the next node may be tainted.
	next time.Time
}

// take is 0 if a node may be tainted now, else how long to wait before asking again.
func (z *zone) take(now time.Time) time.Duration {
	if z.rate <= 0 {
		return recheck
	}
	if wait := z.next.Sub(now); wait > 0 {
		return min(wait, recheck)
	}
	z.next = now.Add(time.Duration(float64(time.Second) / z.rate))
	return 0
}

// judgeZones sets each zone's state and rate. When every zone is fully disrupted it is more likely that this process is cut
// off than that all nodes failed: then nothing is tainted anywhere.
func judgeZones(zones map[string]*zone, r rates) (allDisrupted bool) {
	counted := false
	allDisrupted = true
	for _, z := range zones {
		z.state = disruptionOf(z.ready, z.unready, r.threshold)
		if z.ready+z.unready == 0 {
			continue // all of its nodes are left out: it tells nothing
		}
		counted = true
		allDisrupted = allDisrupted && z.state == full
	}
	allDisrupted = allDisrupted && counted
	for _, z := range zones {
		switch {
		case allDisrupted:
			z.rate = 0
		case z.state != partial:
			z.rate = r.normal
		case z.ready+z.unready > r.largeCluster:
			z.rate = r.secondary
		default:
			z.rate = 0
		}
	}
	return allDisrupted
}
