package core

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// Service is the kind of services. Addresses and ports are given by registry/allocate when it is written.
var Service = kind.Kind[*corev1.Service]{
	Version: "v1", Kind: "Service", Plural: "services", ShortNames: []string{"svc"}, Categories: []string{"all"},
	Namespaced: true, StoragePath: "services/specs",
	New:     func() *corev1.Service { return &corev1.Service{} },
	NewList: func() runtime.Object { return &corev1.ServiceList{} },

	Default:   defaultService,
	ValidName: apivalidation.NameIsDNSLabel,
	PrepareCreate: func(s *corev1.Service) {
		s.Status = corev1.ServiceStatus{}
		NormalizeClusterIPs(s, nil)
	},
	PrepareUpdate: func(new, old *corev1.Service) {
		new.Status = old.Status
		KeepAllocated(new, old)
		NormalizeClusterIPs(new, old)
		dropServiceTypeFields(new, old)
	},
	Validate:            validateServiceCreate,
	ValidateUpdate:      validateServiceUpdate,
	Warnings:            warnService,
	CreateOnUpdate:      true,
	DeleteReturnsObject: true,

	Fields: []kind.Field[*corev1.Service]{
		{Name: "spec.clusterIP", Value: func(s *corev1.Service) string { return s.Spec.ClusterIP }},
		{Name: "spec.type", Value: func(s *corev1.Service) string { return string(s.Spec.Type) }},
	},
	Columns: serviceColumns,
	Status: &kind.Part[*corev1.Service]{
		Prepare:        func(new, old *corev1.Service) { new.Spec = old.Spec },
		ValidateUpdate: validateServiceStatus,
	},
	Actions: []kind.Action{{
		Name: "proxy", Verbs: []kind.Verb{kind.Create, kind.Delete, kind.Get, kind.Patch, kind.Update},
		Kind: schema.GroupVersionKind{Version: "v1", Kind: "ServiceProxyOptions"},
	}},
}

var serviceColumns = []kind.Column[*corev1.Service]{
	kind.NameColumn[*corev1.Service](),
	{Name: "Type", Type: "string", Description: kind.Doc(corev1.ServiceSpec{}, "type"),
		Cell: func(s *corev1.Service, _ time.Time) any { return string(s.Spec.Type) }},
	{Name: "Cluster-IP", Type: "string", Description: kind.Doc(corev1.ServiceSpec{}, "clusterIP"),
		Cell: func(s *corev1.Service, _ time.Time) any {
			if len(s.Spec.ClusterIPs) == 0 {
				return "<none>"
			}
			return s.Spec.ClusterIPs[0]
		}},
	{Name: "External-IP", Type: "string", Description: kind.Doc(corev1.ServiceSpec{}, "externalIPs"),
		Cell: func(s *corev1.Service, _ time.Time) any { return serviceExternalIP(s) }},
	{Name: "Port(s)", Type: "string", Description: kind.Doc(corev1.ServiceSpec{}, "ports"),
		Cell: func(s *corev1.Service, _ time.Time) any { return servicePorts(s.Spec.Ports) }},
	kind.AgeColumn[*corev1.Service](),
	{Name: "Selector", Type: "string", Priority: 1, Description: kind.Doc(corev1.ServiceSpec{}, "selector"),
		Cell: func(s *corev1.Service, _ time.Time) any {
			return metav1.FormatLabelSelector(metav1.SetAsLabelSelector(s.Spec.Selector))
		}},
}

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
