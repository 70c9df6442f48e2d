package endpointslice

import (
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/endpointslice/topologycache"
	"k8s.io/endpointslice/trafficdist"
	"k8s.io/klog/v2"

	"github.com/wheelhouse-k8s/wheelhouse/client"
)

// hints says to consumers in which zones (or on which nodes) each endpoint is best used: by the Service's
// trafficDistribution, or by its older topology annotation, for which zones get shares by their CPUs.
type hints struct {
	cache *topologycache.TopologyCache
	nodes client.Live[*corev1.Node]

	mu sync.Mutex
	// stale: the nodes have changed since the cache was told of them.
	stale bool // guarded by mu
}

func newHints(nodes client.Live[*corev1.Node]) *hints {
	return &hints{cache: topologycache.NewTopologyCache(), nodes: nodes, stale: true}
}

func (h *hints) nodesChanged() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stale = true
}

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
