package endpointslice

import (
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/endpointslice/topologycache"
	"k8s.io/endpointslice/trafficdist"
	"k8s.io/klog/v2"

	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/internal/nodestate"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/internal/serving"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
)

// hints says to consumers in which zones (or on which nodes) each endpoint is best used: by the Service's
// trafficDistribution, or by its older topology annotation, for which zones get shares by their CPUs.
type hints struct {
	cache *topologycache.TopologyCache
	nodes client.Live[*corev1.Node]

	mu sync.Mutex
	// stale: the nodes have changed since the cache was told of them.
	stale bool // guarded by mu
	// left are the zones of nodes that went: one that comes back registered anew may be elsewhere, with the pods that it runs.
	left map[string]string // guarded by mu
}

// leftMax bounds the nodes that are remembered; beyond, a pod's next change tells its zone.
const leftMax = 10000

func newHints(nodes client.Live[*corev1.Node]) *hints {
	return &hints{cache: topologycache.NewTopologyCache(), nodes: nodes, stale: true, left: map[string]string{}}
}

func (h *hints) nodesChanged() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stale = true
}

// nodeChanged looks again at Services whose endpoints are told by where nodes are: those with pods on a node that has moved to
// another zone, and, if that changes what zones have, those that share endpoints out among zones.
func (c *controller) nodeChanged(d client.Delta, enqueue func(reconcile.Key)) {
	node := client.Typed[*corev1.Node](d)
	moved := c.hints.moved(node.Old, node.New)
	if moved {
		look := serving.PodChanged(c.services.Live)
		for pod := range c.pods.Live.ByField("spec.nodeName", node.New.Name) {
			look(client.Delta{New: pod}, enqueue)
		}
	}
	if !moved && sameCapacity(node.Old, node.New) {
		return
	}
	c.hints.nodesChanged()
	for s := range c.services.Live.All("") {
		if byAnnotation(s) {
			enqueue(reconcile.KeyOf(s))
		}
	}
}

// moved tells that a node is in another zone than before, even if it had gone in between.
func (h *hints) moved(old, next *corev1.Node) bool {
	if old != nil && next != nil {
		return zone(old) != zone(next)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if next == nil {
		if len(h.left) >= leftMax {
			clear(h.left)
		}
		h.left[old.Name] = zone(old)
		return false
	}
	before, back := h.left[next.Name]
	delete(h.left, next.Name)
	return back && before != zone(next)
}

func zone(n *corev1.Node) string { return n.Labels[corev1.LabelTopologyZone] }

// sameCapacity: a node adds to its zone if it is ready and no control plane, and adds its CPUs.
func sameCapacity(old, next *corev1.Node) bool {
	adds := func(n *corev1.Node) (yes bool) {
		if n == nil {
			return false
		}
		for key := range n.Labels {
			if key == controlPlaneLabel || key == masterLabel {
				return false
			}
		}
		return nodestate.Ready(n) == corev1.ConditionTrue
	}
	was, is := adds(old), adds(next)
	return was == is && (!is || old.Status.Allocatable.Cpu().Equal(*next.Status.Allocatable.Cpu()))
}

// Nodes with these labels get no share of endpoints.
const (
	controlPlaneLabel = "node-role.kubernetes.io/control-plane"
	masterLabel       = "node-role.kubernetes.io/master"
)

// refresh tells the cache of the nodes, if a Service uses the annotation at all.
func (h *hints) refresh() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.stale {
		return
	}
	var nodes []*corev1.Node
	for n := range h.nodes.All("") {
		nodes = append(nodes, n)
	}
	h.cache.SetNodes(klog.Background(), nodes)
	h.stale = false
}

// byAnnotation tells whether the Service asks for hints by the annotation.
func byAnnotation(s *corev1.Service) bool {
	mode, ok := s.Annotations[corev1.AnnotationTopologyMode]
	if !ok {
		mode = s.Annotations[corev1.DeprecatedAnnotationTopologyAwareHints]
	}
	return mode == "Auto" || mode == "auto"
}

func byDistribution(s *corev1.Service) bool {
	if s.Spec.TrafficDistribution == nil || byAnnotation(s) {
		return false
	}
	switch *s.Spec.TrafficDistribution {
	case corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameZone, corev1.ServiceTrafficDistributionPreferSameNode:
		return true
	}
	return false
}

// apply puts hints into a plan, and returns what the Service's owner should hear.
func (h *hints) apply(s *corev1.Service, family discoveryv1.AddressType, p *plan) []*topologycache.EventBuilder {
	key := s.Namespace + "/" + s.Name
	info := &topologycache.SliceInfo{ServiceKey: key, AddressType: family, ToCreate: p.create, ToUpdate: p.update, Unchanged: p.unchanged}
	if byAnnotation(s) {
		h.refresh()
		var events []*topologycache.EventBuilder
		p.create, p.update, events = h.cache.AddHints(klog.Background(), info)
		return events
	}
	var events []*topologycache.EventBuilder
	if h.cache.HasPopulatedHints(key) {
		events = append(events, &topologycache.EventBuilder{
			EventType: corev1.EventTypeWarning, Reason: "TopologyAwareHintsDisabled",
			Message: topologycache.FormatWithAddressType(topologycache.TopologyAwareHintsDisabled, family),
		})
		h.cache.RemoveHints(key, family)
	}
	if byDistribution(s) {
		p.create, p.update, p.unchanged = trafficdist.ReconcileHints(s.Spec.TrafficDistribution, p.create, p.update, p.unchanged)
	} else {
		p.create, p.update = topologycache.RemoveHintsFromSlices(info)
	}
	return events
}
