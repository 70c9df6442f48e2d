package endpoints

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/wheelhouse-k8s/wheelhouse/controllers/internal/podstate"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/internal/serving"
)

const (
	// capacity is how many addresses an Endpoints object holds; a Service with more is truncated.
	capacity           = 1000
	overCapacity       = corev1.EndpointsOverCapacity
	truncated          = "truncated"
	labelManagedBy     = "endpoints.kubernetes.io/managed-by"
	managedBy          = "endpoint-controller"
	annotationModified = corev1.EndpointsLastChangeTriggerTime
)

// makePlan is the Endpoints object that a Service should have, made from the one that it has (nil if none); nil if that is as
// it should be.
func makePlan(s *corev1.Service, pods []*corev1.Pod, have *corev1.Endpoints) *corev1.Endpoints {
	subsets, cut := truncate(subsetsOf(s, pods))
	labels := labelsOf(s)
	if have != nil && equality.Semantic.DeepEqual(have.Subsets, subsets) && maps.Equal(have.Labels, labels) &&
		cut == (have.Annotations[overCapacity] == truncated) {
		return nil
	}
	want := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name}}
	if have != nil {
		want = have.DeepCopy()
	}
	want.Subsets, want.Labels = subsets, labels
	if want.Annotations == nil {
		want.Annotations = map[string]string{}
	}
	if cut {
		want.Annotations[overCapacity] = truncated
	} else {
		delete(want.Annotations, overCapacity)
	}
	return want
}

func labelsOf(s *corev1.Service) map[string]string {
	labels := maps.Clone(s.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[labelManagedBy] = managedBy
	if serving.IsHeadless(s) {
		labels[corev1.IsHeadlessService] = ""
	} else {
		delete(labels, corev1.IsHeadlessService)
	}
	return labels
}

// podAddress is what an Endpoints object says of a pod. Ports with the same addresses become one subset.
type podAddress struct {
	address corev1.EndpointAddress
	ready   bool
}

// subsetsOf groups the pods' addresses: each subset is a set of ports and the addresses that have them all.
func subsetsOf(s *corev1.Service, pods []*corev1.Pod) []corev1.EndpointSubset {
	addresses := map[corev1.EndpointPort][]podAddress{}
	var order []corev1.EndpointPort
	appProtocols := map[string]*string{}
	for _, pod := range pods {
		p, ok := podAddressOf(s, pod)
		if !ok {
			continue
		}
		for _, port := range portsOf(s, pod) {
			// Pointers would make equal ports different keys.
			key := port
			key.AppProtocol = nil
			appProtocols[portText(port)] = port.AppProtocol
			if _, seen := addresses[key]; !seen {
				order = append(order, key)
			}
			addresses[key] = append(addresses[key], p)
		}
	}
	byAddresses := map[string]*corev1.EndpointSubset{}
	var keys []string
	for _, port := range order {
		key := addressesKey(addresses[port])
		if byAddresses[key] == nil {
			byAddresses[key] = subset(addresses[port])
			keys = append(keys, key)
		}
		port.AppProtocol = appProtocols[portText(port)]
		byAddresses[key].Ports = append(byAddresses[key].Ports, port)
	}
	slices.Sort(keys)
	var subsets []corev1.EndpointSubset
	for _, key := range keys {
		sub := byAddresses[key]
		slices.SortFunc(sub.Ports, func(a, b corev1.EndpointPort) int { return strings.Compare(portText(a), portText(b)) })
		if len(sub.Ports) == 1 && sub.Ports[0] == (corev1.EndpointPort{}) {
			sub.Ports = nil // a headless Service without ports
		}
		subsets = append(subsets, *sub)
	}
	return subsets
}

func portText(p corev1.EndpointPort) string {
	return fmt.Sprintf("%s|%d|%s", p.Name, p.Port, p.Protocol)
}

// portsOf are the Service's ports on a pod; one empty port stands for none, of a headless Service without ports.
func portsOf(s *corev1.Service, pod *corev1.Pod) []corev1.EndpointPort {
	if len(s.Spec.Ports) == 0 && s.Spec.ClusterIP == corev1.ClusterIPNone {
		return []corev1.EndpointPort{{}}
	}
	var ports []corev1.EndpointPort
	for i := range s.Spec.Ports {
		port := &s.Spec.Ports[i]
		if number, ok := serving.Port(pod, port); ok {
			ports = append(ports, corev1.EndpointPort{Name: port.Name, Port: number, Protocol: port.Protocol, AppProtocol: port.AppProtocol})
		}
	}
	return ports
}

func podAddressOf(s *corev1.Service, pod *corev1.Pod) (podAddress, bool) {
	if !serving.Reachable(pod) || pod.DeletionTimestamp != nil && !s.Spec.PublishNotReadyAddresses {
		return podAddress{}, false
	}
	ip := addressOf(s, pod)
	if ip == "" {
		return podAddress{}, false
	}
	p := podAddress{
		address: corev1.EndpointAddress{
			IP: ip, Hostname: serving.Hostname(pod, s),
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		},
		ready: s.Spec.PublishNotReadyAddresses || podstate.Ready(pod) != nil,
	}
	if pod.Spec.NodeName != "" {
		p.address.NodeName = ptr.To(pod.Spec.NodeName)
	}
	return p, true
}

// addressOf is the pod's address of the Service's family: an Endpoints object has one family only.
func addressOf(s *corev1.Service, pod *corev1.Pod) string {
	want6 := false
	switch {
	case len(s.Spec.IPFamilies) > 0:
		want6 = s.Spec.IPFamilies[0] == corev1.IPv6Protocol
	case serving.IsHeadless(s):
		return pod.Status.PodIP
	default:
		cluster, err := netip.ParseAddr(s.Spec.ClusterIP)
		want6 = err == nil && cluster.Is6()
	}
	for _, ip := range pod.Status.PodIPs {
		if address, err := netip.ParseAddr(ip.IP); err == nil && address.Is6() == want6 {
			return ip.IP
		}
	}
	return ""
}

func subset(addresses []podAddress) *corev1.EndpointSubset {
	var sub corev1.EndpointSubset
	for _, p := range sorted(addresses) {
		if p.ready {
			sub.Addresses = append(sub.Addresses, p.address)
		} else {
			sub.NotReadyAddresses = append(sub.NotReadyAddresses, p.address)
		}
	}
	return &sub
}

func sorted(addresses []podAddress) []podAddress {
	return slices.SortedFunc(slices.Values(addresses), func(a, b podAddress) int {
		return cmp.Or(strings.Compare(a.address.IP, b.address.IP), strings.Compare(string(a.address.TargetRef.UID), string(b.address.TargetRef.UID)))
	})
}

func addressesKey(addresses []podAddress) string {
	var b strings.Builder
	for _, p := range sorted(addresses) {
		fmt.Fprintf(&b, "%s|%s|%t,", p.address.IP, p.address.TargetRef.UID, p.ready)
	}
	return b.String()
}

// truncate keeps at most capacity addresses, ready ones first, each subset in proportion.
func truncate(subsets []corev1.EndpointSubset) ([]corev1.EndpointSubset, bool) {
	ready, unready := 0, 0
	for _, s := range subsets {
		ready += len(s.Addresses)
		unready += len(s.NotReadyAddresses)
	}
	if ready+unready <= capacity {
		return subsets, false
	}
	keepReady := min(ready, capacity)
	keepUnready := capacity - keepReady
	for i := range subsets {
		s := &subsets[i]
		s.Addresses = s.Addresses[:share(len(s.Addresses), keepReady, ready)]
		s.NotReadyAddresses = s.NotReadyAddresses[:share(len(s.NotReadyAddresses), keepUnready, unready)]
	}
	return slices.DeleteFunc(subsets, func(s corev1.EndpointSubset) bool { return len(s.Addresses)+len(s.NotReadyAddresses) == 0 }), true
}

func share(n, keep, of int) int {
	if of == 0 {
		return 0
	}
	return n * keep / of
}
