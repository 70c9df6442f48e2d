package core

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

func defaultService(s *corev1.Service) {
	spec := &s.Spec
	defaultAffinity(spec)
	kind.Fill(&spec.Type, corev1.ServiceTypeClusterIP)
	for n := range spec.Ports {
		p := &spec.Ports[n]
		kind.Fill(&p.Protocol, corev1.ProtocolTCP)
		if p.TargetPort == intstr.FromInt32(0) || p.TargetPort == intstr.FromString("") {
			p.TargetPort = intstr.FromInt32(p.Port)
		}
	}
	if externallyAccessible(s) && spec.ExternalTrafficPolicy == "" {
		spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster
	}
	switch spec.Type {
	case corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeClusterIP:
		kind.FillPointer(&spec.InternalTrafficPolicy, corev1.ServiceInternalTrafficPolicyCluster)
	}
	if spec.Type == corev1.ServiceTypeLoadBalancer {
		kind.FillPointer(&spec.AllocateLoadBalancerNodePorts, true)
		for n := range s.Status.LoadBalancer.Ingress {
			if in := &s.Status.LoadBalancer.Ingress[n]; in.IP != "" {
				kind.FillPointer(&in.IPMode, corev1.LoadBalancerIPModeVIP)
			}
		}
	}
}

func defaultAffinity(spec *corev1.ServiceSpec) {
	kind.Fill(&spec.SessionAffinity, corev1.ServiceAffinityNone)
	if spec.SessionAffinity == corev1.ServiceAffinityNone {
		spec.SessionAffinityConfig = nil // left by a patch that changed the affinity alone
	}
	if spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		return
	}
	if c := spec.SessionAffinityConfig; c == nil || c.ClientIP == nil || c.ClientIP.TimeoutSeconds == nil {
		seconds := corev1.DefaultClientIPServiceAffinitySeconds
		spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &seconds}}
	}
}

// NormalizeClusterIPs makes the singular clusterIP and clusterIPs agree when a client that knows only the singular has
// written; who writes the list must write both. old is nil on create.
func NormalizeClusterIPs(s, old *corev1.Service) {
	spec := &s.Spec
	if old == nil {
		if spec.ClusterIP != "" && len(spec.ClusterIPs) == 0 {
			spec.ClusterIPs = []string{spec.ClusterIP}
		}
		return
	}
	// The list is gone and the singular stays: the client did not know the list.
	if len(old.Spec.ClusterIPs) > 0 && len(spec.ClusterIPs) == 0 && old.Spec.ClusterIP == spec.ClusterIP {
		spec.ClusterIPs = slices.Clone(old.Spec.ClusterIPs)
	}
	// The singular has changed and the list has not: again the client knew only the singular, and means it.
	if old.Spec.ClusterIP == spec.ClusterIP || !slices.Equal(old.Spec.ClusterIPs, spec.ClusterIPs) {
		return
	}
	if spec.ClusterIP == "" {
		spec.ClusterIPs = nil
	} else {
		spec.ClusterIPs = []string{spec.ClusterIP}
	}
}

// KeepAllocated gives an update what the server had allocated and the client has left out, so that a manifest without
// addresses can be written again.
func KeepAllocated(next, old *corev1.Service) {
	if NeedsClusterIP(old) && NeedsClusterIP(next) {
		if next.Spec.ClusterIP == "" {
			next.Spec.ClusterIP = old.Spec.ClusterIP
		}
		if len(next.Spec.ClusterIPs) == 0 && len(old.Spec.ClusterIPs) > 0 {
			next.Spec.ClusterIPs = slices.Clone(old.Spec.ClusterIPs)
		}
		keepFamilies(next, old)
	}
	if HasNodePorts(old) && HasNodePorts(next) {
		keepNodePorts(next, old)
	}
	if NeedsHealthCheckPort(old) && NeedsHealthCheckPort(next) && next.Spec.HealthCheckNodePort == 0 {
		next.Spec.HealthCheckNodePort = old.Spec.HealthCheckNodePort
	}
}

// keepFamilies fills in the policy, and the families of the addresses, that an update leaves out.
func keepFamilies(next, old *corev1.Service) {
	if next.Spec.IPFamilyPolicy == nil && old.Spec.IPFamilyPolicy != nil {
		policy := *old.Spec.IPFamilyPolicy
		next.Spec.IPFamilyPolicy = &policy
	}
	for n := len(next.Spec.IPFamilies); n < len(next.Spec.ClusterIPs); n++ {
		if ip := next.Spec.ClusterIPs[n]; isIP(ip) {
			next.Spec.IPFamilies = append(next.Spec.IPFamilies, FamilyOf(ip))
		}
	}
}

// keepNodePorts gives each port without a node port that of the old port with the same name, unless the new service
// uses it for another.
func keepNodePorts(next, old *corev1.Service) {
	before := make(map[string]int32, len(old.Spec.Ports))
	for _, p := range old.Spec.Ports {
		before[p.Name] = p.NodePort
	}
	used := make(map[int32]bool, len(next.Spec.Ports))
	for _, p := range next.Spec.Ports {
		if p.NodePort != 0 {
			used[p.NodePort] = true
		}
	}
	for n := range next.Spec.Ports {
		if p := &next.Spec.Ports[n]; p.NodePort == 0 && !used[before[p.Name]] {
			p.NodePort = before[p.Name]
		}
	}
}

// dropServiceTypeFields clears what the server had filled in for the old type and the new type has no use for, where the
// client left it unchanged; what the client changed is left for validation to refuse.
func dropServiceTypeFields(next, old *corev1.Service) {
	if NeedsClusterIP(old) && !NeedsClusterIP(next) {
		if sameClusterIPs(old, next) {
			next.Spec.ClusterIP, next.Spec.ClusterIPs = "", nil
		}
		if slices.Equal(old.Spec.IPFamilies, next.Spec.IPFamilies) {
			next.Spec.IPFamilies = nil
		}
		if same(old.Spec.IPFamilyPolicy, next.Spec.IPFamilyPolicy) {
			next.Spec.IPFamilyPolicy = nil
		}
		if same(old.Spec.InternalTrafficPolicy, next.Spec.InternalTrafficPolicy) {
			next.Spec.InternalTrafficPolicy = nil
		}
	}
	if HasNodePorts(old) && !HasNodePorts(next) && noNewNodePorts(next, old) {
		for n := range next.Spec.Ports {
			next.Spec.Ports[n].NodePort = 0
		}
	}
	if NeedsHealthCheckPort(old) && !NeedsHealthCheckPort(next) && old.Spec.HealthCheckNodePort == next.Spec.HealthCheckNodePort {
		next.Spec.HealthCheckNodePort = 0
	}
	if old.Spec.Type == corev1.ServiceTypeLoadBalancer && next.Spec.Type != corev1.ServiceTypeLoadBalancer {
		if same(old.Spec.AllocateLoadBalancerNodePorts, next.Spec.AllocateLoadBalancerNodePorts) {
			next.Spec.AllocateLoadBalancerNodePorts = nil
		}
		if same(old.Spec.LoadBalancerClass, next.Spec.LoadBalancerClass) {
			next.Spec.LoadBalancerClass = nil
		}
	}
	if externallyAccessible(old) && !externallyAccessible(next) && old.Spec.ExternalTrafficPolicy == next.Spec.ExternalTrafficPolicy {
		next.Spec.ExternalTrafficPolicy = ""
	}
	if next.Spec.Type != corev1.ServiceTypeLoadBalancer {
		next.Status.LoadBalancer = corev1.LoadBalancerStatus{}
	}
}

// noNewNodePorts tells whether every node port of next is one of old's.
func noNewNodePorts(next, old *corev1.Service) bool {
	for _, p := range next.Spec.Ports {
		if p.NodePort != 0 && !slices.ContainsFunc(old.Spec.Ports, func(o corev1.ServicePort) bool { return o.NodePort == p.NodePort }) {
			return false
		}
	}
	return true
}

func same[T comparable](a, b *T) bool { return a == b || a != nil && b != nil && *a == *b }
