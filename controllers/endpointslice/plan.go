package endpointslice

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/wheelhouse-k8s/wheelhouse/controllers/internal/podstate"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/internal/serving"
)

const managedBy = "endpointslice-controller.k8s.io"

// world is what a plan is made from.
type world struct {
	service *corev1.Service
	// pods are those that the Service selects.
	pods []*corev1.Pod
	// slices are those that this controller made for a Service of this name.
	slices []*discoveryv1.EndpointSlice
	// node is nil and known if it is there and cannot be read.
	node func(name string) (n *corev1.Node, known bool)
	// hidden tells of pods that may be there and cannot be read.
	hidden func(name string) bool
	// max is how many endpoints one slice holds at most.
	max int
}

// plan is what is to be written. Updated slices are copies.
type plan struct {
	create, update, remove, unchanged []*discoveryv1.EndpointSlice
	// skipped is set when a pod was left out because its node is not known yet, or stayed because it cannot be read.
	skipped bool
}

// portGroup is what goes into slices with the same ports: on some pods a named port has another number.
type portGroup struct {
	ports     []discoveryv1.EndpointPort
	endpoints []discoveryv1.Endpoint
	slices    []*discoveryv1.EndpointSlice
}

// makePlan decides how the slices of one address type are to change, with as few writes as can be.
func makePlan(w world, family discoveryv1.AddressType) plan {
	var p plan
	groups := map[string]*portGroup{}
	group := func(ports []discoveryv1.EndpointPort) *portGroup {
		key := portsKey(ports)
		if groups[key] == nil {
			groups[key] = &portGroup{ports: ports}
		}
		return groups[key]
	}
	for _, pod := range w.pods {
		if !serving.Reachable(pod) {
			continue
		}
		node, known := w.node(pod.Spec.NodeName)
		if !known && !w.service.Spec.PublishNotReadyAddresses {
			p.skipped = true
			continue
		}
		g := group(portsOf(w.service, pod))
		if endpoint := endpointOf(pod, node, w.service, family); len(endpoint.Addresses) > 0 {
			g.endpoints = append(g.endpoints, endpoint)
		}
	}
	existing := 0
	for _, slice := range w.slices {
		if slice.AddressType != family {
			continue
		}
		existing++
		if !ownedBy(slice, w.service) {
			p.remove = append(p.remove, slice)
			continue
		}
		g := group(slice.Ports)
		g.slices = append(g.slices, slice)
		if hidden := w.hiddenIn(slice); len(hidden) > 0 {
			g.endpoints, p.skipped = append(g.endpoints, hidden...), true
		}
	}
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		w.fill(&p, groups[key], family)
	}
	w.placeholder(&p, existing, family)
	p.reuse(w.service)
	return p
}

// hiddenIn are the endpoints of a slice whose pods nobody sees because they cannot be read: they stay, as nobody knows better.
func (w world) hiddenIn(slice *discoveryv1.EndpointSlice) []discoveryv1.Endpoint {
	var found []discoveryv1.Endpoint
	for _, e := range slice.Endpoints {
		if e.TargetRef == nil || e.TargetRef.Kind != "Pod" || !w.hidden(e.TargetRef.Name) ||
			slices.ContainsFunc(w.pods, func(p *corev1.Pod) bool { return p.Name == e.TargetRef.Name }) {
			continue
		}
		found = append(found, e)
	}
	return found
}

// fill distributes a group's endpoints: those that have a place keep it, new ones go first into slices that change anyway,
// then into one unchanged slice if they all fit, else into new slices.
func (w world) fill(p *plan, g *portGroup, family discoveryv1.AddressType) {
	desired := map[string]discoveryv1.Endpoint{}
	var order []string
	for _, e := range g.endpoints {
		key := endpointKey(&e)
		if _, twice := desired[key]; !twice {
			order = append(order, key)
		}
		desired[key] = e
	}
	var changed, unchanged []*discoveryv1.EndpointSlice
	for _, slice := range g.slices {
		kept, differs := keep(slice, desired)
		labels, relabelled := labelsOf(w.service, slice)
		switch {
		case len(kept) == 0 && (differs || len(slice.Endpoints) > 0):
			p.remove = append(p.remove, slice)
		case len(kept) == 0 && len(g.endpoints) > 0 && len(desired) == 0:
			p.remove = append(p.remove, slice)
		case differs || relabelled:
			copied := slice.DeepCopy()
			copied.Endpoints, copied.Labels = kept, labels
			changed = append(changed, copied)
		default:
			unchanged = append(unchanged, slice)
		}
	}
	var left []discoveryv1.Endpoint
	for _, key := range order {
		if e, ok := desired[key]; ok {
			left = append(left, e)
		}
	}
	if len(g.endpoints) == 0 {
		// No pod has these ports any more: what is still there is a leftover, or the placeholder of a Service without pods.
		p.remove = append(p.remove, unchanged...)
		p.remove = append(p.remove, changed...)
		return
	}
	slices.SortStableFunc(changed, func(a, b *discoveryv1.EndpointSlice) int { return cmp.Compare(len(b.Endpoints), len(a.Endpoints)) })
	for _, slice := range changed {
		left = w.pour(slice, left)
	}
	for len(left) > 0 {
		var slice *discoveryv1.EndpointSlice
		if at := roomFor(unchanged, len(left), w.max); at >= 0 {
			slice = unchanged[at].DeepCopy()
			unchanged = slices.Delete(unchanged, at, at+1)
			changed = append(changed, slice)
		} else {
			slice = newSlice(w.service, g.ports, family)
			p.create = append(p.create, slice)
		}
		left = w.pour(slice, left)
	}
	p.update = append(p.update, changed...)
	p.unchanged = append(p.unchanged, unchanged...)
}

// keep takes the slice's endpoints that are still desired out of desired; differs tells that the slice must be written.
func keep(slice *discoveryv1.EndpointSlice, desired map[string]discoveryv1.Endpoint) (kept []discoveryv1.Endpoint, differs bool) {
	for i := range slice.Endpoints {
		have := &slice.Endpoints[i]
		key := endpointKey(have)
		want, ok := desired[key]
		if !ok {
			differs = true
			continue
		}
		delete(desired, key)
		want.Hints = have.Hints
		differs = differs || !equality.Semantic.DeepEqual(want, *have)
		kept = append(kept, want)
	}
	return kept, differs
}

func (w world) pour(slice *discoveryv1.EndpointSlice, left []discoveryv1.Endpoint) []discoveryv1.Endpoint {
	n := min(w.max-len(slice.Endpoints), len(left))
	if n <= 0 {
		return left
	}
	slice.Endpoints = append(slice.Endpoints, left[:n]...)
	return left[n:]
}

// roomFor is the slice that n more endpoints fill best without overflowing, -1 if there is none.
func roomFor(candidates []*discoveryv1.EndpointSlice, n, max int) int {
	best, bestLeft := -1, max
	for i, slice := range candidates {
		if left := max - n - len(slice.Endpoints); left >= 0 && left < bestLeft {
			best, bestLeft = i, left
		}
	}
	return best
}

// placeholder keeps one empty slice for a Service that has no endpoints, so that consumers see that it was handled.
func (w world) placeholder(p *plan, existing int, family discoveryv1.AddressType) {
	if existing != len(p.remove) || len(p.create) > 0 {
		return
	}
	empty := newSlice(w.service, nil, family)
	if len(p.remove) == 1 {
		have := p.remove[0]
		if len(have.Endpoints) == 0 && len(have.Ports) == 0 && ownedBy(have, w.service) && maps.Equal(have.Labels, empty.Labels) {
			p.remove, p.unchanged = nil, append(p.unchanged, have)
			return
		}
	}
	p.create = append(p.create, empty)
}

// reuse turns a removal and a creation into one update.
func (p *plan) reuse(s *corev1.Service) {
	var remove []*discoveryv1.EndpointSlice
	for _, old := range p.remove {
		if len(p.create) == 0 || old.AddressType != p.create[len(p.create)-1].AddressType || !ownedBy(old, s) {
			remove = append(remove, old)
			continue
		}
		slice := p.create[len(p.create)-1]
		p.create = p.create[:len(p.create)-1]
		slice.Name, slice.GenerateName = old.Name, old.GenerateName
		slice.UID, slice.ResourceVersion = old.UID, old.ResourceVersion
		p.update = append(p.update, slice)
	}
	p.remove = remove
}

// families are the address types that a Service has slices for.
func families(s *corev1.Service) []discoveryv1.AddressType {
	var types []discoveryv1.AddressType
	for _, f := range s.Spec.IPFamilies {
		switch f {
		case corev1.IPv4Protocol:
			types = append(types, discoveryv1.AddressTypeIPv4)
		case corev1.IPv6Protocol:
			types = append(types, discoveryv1.AddressTypeIPv6)
		}
	}
	if len(types) > 0 {
		return types
	}
	if !serving.IsHeadless(s) {
		if ip, err := netip.ParseAddr(s.Spec.ClusterIP); err == nil && ip.Is6() {
			return []discoveryv1.AddressType{discoveryv1.AddressTypeIPv6}
		}
		return []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4}
	}
	return []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6}
}

func portsOf(s *corev1.Service, pod *corev1.Pod) []discoveryv1.EndpointPort {
	var ports []discoveryv1.EndpointPort
	for i := range s.Spec.Ports {
		port := &s.Spec.Ports[i]
		if number, ok := serving.Port(pod, port); ok {
			ports = append(ports, discoveryv1.EndpointPort{
				Name: ptr.To(port.Name), Port: ptr.To(number), Protocol: ptr.To(port.Protocol), AppProtocol: port.AppProtocol,
			})
		}
	}
	return ports
}

func portsKey(ports []discoveryv1.EndpointPort) string {
	keys := make([]string, len(ports))
	for i, p := range ports {
		keys[i] = fmt.Sprintf("%s|%d|%s|%s", ptr.Deref(p.Name, ""), ptr.Deref(p.Port, -1), ptr.Deref(p.Protocol, ""), ptr.Deref(p.AppProtocol, ""))
	}
	slices.Sort(keys)
	return strings.Join(keys, ",")
}

// endpointKey is what makes an endpoint the same as before: who and where, not how it fares.
func endpointKey(e *discoveryv1.Endpoint) string {
	addresses := slices.Sorted(slices.Values(e.Addresses))
	key := strings.Join(addresses, ",") + "|" + ptr.Deref(e.Hostname, "")
	if e.TargetRef != nil {
		key += "|" + e.TargetRef.Namespace + "/" + e.TargetRef.Name
	}
	return key
}

func endpointOf(pod *corev1.Pod, node *corev1.Node, s *corev1.Service, family discoveryv1.AddressType) discoveryv1.Endpoint {
	serves := podstate.Ready(pod) != nil
	terminating := pod.DeletionTimestamp != nil
	e := discoveryv1.Endpoint{
		Addresses: addressesOf(pod, family),
		Conditions: discoveryv1.EndpointConditions{
			Ready: ptr.To(s.Spec.PublishNotReadyAddresses || serves && !terminating), Serving: &serves, Terminating: &terminating,
		},
		TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
	}
	if pod.Spec.NodeName != "" {
		e.NodeName = ptr.To(pod.Spec.NodeName)
	}
	if node != nil && node.Labels[corev1.LabelTopologyZone] != "" {
		e.Zone = ptr.To(node.Labels[corev1.LabelTopologyZone])
	}
	if h := serving.Hostname(pod, s); h != "" {
		e.Hostname = &h
	}
	return e
}

func addressesOf(pod *corev1.Pod, family discoveryv1.AddressType) []string {
	var addresses []string
	for _, ip := range pod.Status.PodIPs {
		address, err := netip.ParseAddr(ip.IP)
		if err == nil && (address.Is4() || address.Is4In6()) == (family == discoveryv1.AddressTypeIPv4) {
			addresses = append(addresses, address.Unmap().String())
		}
	}
	return addresses
}

func newSlice(s *corev1.Service, ports []discoveryv1.EndpointPort, family discoveryv1.AddressType) *discoveryv1.EndpointSlice {
	prefix := s.Name + "-"
	if len(validation.NameIsDNSSubdomain(prefix, true)) > 0 {
		prefix = s.Name
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: prefix, Namespace: s.Namespace,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(s, corev1.SchemeGroupVersion.WithKind("Service"))},
		},
		AddressType: family, Ports: ports, Endpoints: []discoveryv1.Endpoint{},
	}
	slice.Labels, _ = labelsOf(s, slice)
	return slice
}

func reserved(label string) bool {
	return label == discoveryv1.LabelServiceName || label == discoveryv1.LabelManagedBy || label == corev1.IsHeadlessService
}

// labelsOf are the Service's labels and this controller's own; changed tells that the slice has others.
func labelsOf(s *corev1.Service, slice *discoveryv1.EndpointSlice) (labels map[string]string, changed bool) {
	labels = map[string]string{}
	for k, v := range s.Labels {
		if !reserved(k) {
			labels[k] = v
		}
	}
	have := maps.Clone(slice.Labels)
	maps.DeleteFunc(have, func(k, _ string) bool { return reserved(k) })
	changed = !maps.Equal(have, labels)
	if serving.IsHeadless(s) {
		labels[corev1.IsHeadlessService] = ""
	}
	labels[discoveryv1.LabelServiceName] = s.Name
	labels[discoveryv1.LabelManagedBy] = managedBy
	return labels, changed
}

func ownedBy(slice *discoveryv1.EndpointSlice, s *corev1.Service) bool {
	return slices.ContainsFunc(slice.OwnerReferences, func(ref metav1.OwnerReference) bool {
		return ref.UID == s.UID && ref.Kind == "Service" && ref.APIVersion == "v1"
	})
}
