package core

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// Service is the kind of services. Addresses and ports are given by registry/allocate when it is written.
var Service = kind.Define(kind.Resource{
	GroupVersion: corev1.SchemeGroupVersion, Plural: "services", ShortNames: []string{"svc"}, Categories: []string{"all"}, Namespaced: true,
	StoragePath: "services/specs",
	List:        kind.ListOf[corev1.ServiceList], CreateOnUpdate: true, DeleteReturnsObject: true, ValidName: apivalidation.NameIsDNSLabel,
	Actions: []kind.Action{{
		Name: "proxy", Verbs: []kind.Verb{kind.Create, kind.Delete, kind.Get, kind.Patch, kind.Update},
		Kind: schema.GroupVersionKind{Version: "v1", Kind: "ServiceProxyOptions"},
	}},
}, kind.Rules[corev1.Service]{
	Default: defaultService,
	Halves:  kind.SpecAndStatus[corev1.Service](),
	Prepare: func(next, old *corev1.Service) {
		if old == nil {
			NormalizeClusterIPs(next, nil)
			return
		}
		KeepAllocated(next, old)
		NormalizeClusterIPs(next, old)
		dropServiceTypeFields(next, old)
	},
	Validate:       validateService,
	ValidateUpdate: validateServiceUpdate,
	Warnings:       warnService,
	Fields: []kind.Field[corev1.Service]{
		{Name: "spec.clusterIP", Value: func(s *corev1.Service) string { return s.Spec.ClusterIP }},
		{Name: "spec.type", Value: func(s *corev1.Service) string { return string(s.Spec.Type) }},
	},
	Columns: serviceColumns,
	Status:  &kind.Part[corev1.Service]{ValidateUpdate: validateServiceStatus},
})

var serviceColumns = kind.Columns([]kind.Column[corev1.Service]{
	kind.Text("Type", kind.Doc(corev1.ServiceSpec{}, "type"), func(s *corev1.Service) string { return string(s.Spec.Type) }),
	kind.Text("Cluster-IP", kind.Doc(corev1.ServiceSpec{}, "clusterIP"), func(s *corev1.Service) string {
		if len(s.Spec.ClusterIPs) == 0 {
			return "<none>"
		}
		return s.Spec.ClusterIPs[0]
	}),
	kind.Text("External-IP", kind.Doc(corev1.ServiceSpec{}, "externalIPs"), func(s *corev1.Service) string { return serviceExternalIP(s) }),
	kind.Text("Port(s)", kind.Doc(corev1.ServiceSpec{}, "ports"), func(s *corev1.Service) string { return servicePorts(s.Spec.Ports) }),
},
	kind.Text("Selector", kind.Doc(corev1.ServiceSpec{}, "selector"), func(s *corev1.Service) string {
		return metav1.FormatLabelSelector(metav1.SetAsLabelSelector(s.Spec.Selector))
	}).Wide(),
)

func serviceExternalIP(s *corev1.Service) string {
	const none = "<none>"
	switch s.Spec.Type {
	case corev1.ServiceTypeExternalName:
		return s.Spec.ExternalName
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort:
		if len(s.Spec.ExternalIPs) > 0 {
			return strings.Join(s.Spec.ExternalIPs, ",")
		}
		return none
	case corev1.ServiceTypeLoadBalancer:
		balancers := loadBalancerAddresses(s.Status.LoadBalancer)
		if len(s.Spec.ExternalIPs) > 0 {
			if balancers == "" {
				return strings.Join(s.Spec.ExternalIPs, ",")
			}
			return strings.Join(append([]string{balancers}, s.Spec.ExternalIPs...), ",")
		}
		if balancers == "" {
			return "<pending>"
		}
		return balancers
	}
	return "<unknown>"
}

func loadBalancerAddresses(status corev1.LoadBalancerStatus) string {
	found := sets.New[string]()
	for _, in := range status.Ingress {
		if in.IP != "" {
			found.Insert(in.IP)
		} else if in.Hostname != "" {
			found.Insert(in.Hostname)
		}
	}
	return strings.Join(sets.List(found), ",")
}

func servicePorts(ports []corev1.ServicePort) string {
	if len(ports) == 0 {
		return "<none>"
	}
	out := make([]string, len(ports))
	for n, p := range ports {
		out[n] = fmt.Sprintf("%d/%s", p.Port, p.Protocol)
		if p.NodePort > 0 {
			out[n] = fmt.Sprintf("%d:%d/%s", p.Port, p.NodePort, p.Protocol)
		}
	}
	return strings.Join(out, ",")
}

// NeedsClusterIP tells whether services of this type have cluster addresses (or are headless).
func NeedsClusterIP(s *corev1.Service) bool {
	return s.Spec.Type != corev1.ServiceTypeExternalName
}

// HasNodePorts tells whether services of this type may have ports on every node.
func HasNodePorts(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeNodePort || s.Spec.Type == corev1.ServiceTypeLoadBalancer
}

// WantsNodePorts tells whether ports without a node port are to be given one.
func WantsNodePorts(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeNodePort ||
		s.Spec.Type == corev1.ServiceTypeLoadBalancer && (s.Spec.AllocateLoadBalancerNodePorts == nil || *s.Spec.AllocateLoadBalancerNodePorts)
}

// NeedsHealthCheckPort tells whether a load balancer is to ask each node if it has local endpoints.
func NeedsHealthCheckPort(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

// IsHeadless tells whether the service is without a virtual address on purpose.
func IsHeadless(s *corev1.Service) bool {
	return len(s.Spec.ClusterIPs) > 0 && s.Spec.ClusterIPs[0] == corev1.ClusterIPNone ||
		len(s.Spec.ClusterIPs) == 0 && s.Spec.ClusterIP == corev1.ClusterIPNone
}

// externallyAccessible tells whether traffic may come from outside the cluster.
func externallyAccessible(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer || s.Spec.Type == corev1.ServiceTypeNodePort ||
		s.Spec.Type == corev1.ServiceTypeClusterIP && len(s.Spec.ExternalIPs) > 0
}

func sameClusterIPs(a, b *corev1.Service) bool {
	return a.Spec.ClusterIP == b.Spec.ClusterIP && slices.Equal(a.Spec.ClusterIPs, b.Spec.ClusterIPs)
}
