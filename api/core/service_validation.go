package core

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

var (
	serviceTypes = []corev1.ServiceType{corev1.ServiceTypeClusterIP, corev1.ServiceTypeExternalName,
		corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort}
	serviceAffinities = []corev1.ServiceAffinity{corev1.ServiceAffinityClientIP, corev1.ServiceAffinityNone}
	serviceProtocols  = []corev1.Protocol{corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP}
	externalPolicies  = []corev1.ServiceExternalTrafficPolicy{corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal}
	internalPolicies  = []corev1.ServiceInternalTrafficPolicy{corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceInternalTrafficPolicyLocal}
	distributions     = []string{corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameNode,
		corev1.ServiceTrafficDistributionPreferSameZone}
)

// affinitySecondsMax is one day.
const affinitySecondsMax = 86400

// validateService judges a service as it will be stored, with its addresses and ports given. Addresses that old held
// may keep an old form.
func validateService(s, old *corev1.Service) field.ErrorList {
	spec, path := &s.Spec, field.NewPath("spec")
	var ps kind.Problems
	ps.Add(validateTopologyAnnotations(s))
	if len(spec.Ports) == 0 && !IsHeadless(s) && spec.Type != corev1.ServiceTypeExternalName {
		ps.Required(path, "ports", "")
	}
	ps.Add(validateServiceType(s, path))
	ps.Add(validateServicePorts(s, path.Child("ports")))
	ps.Add(metav1validation.ValidateLabels(spec.Selector, path.Child("selector")))
	ps.Add(validateAffinity(spec, path))
	ps.Add(ValidateServiceAddresses(s, old))
	var oldExternal []string
	if old != nil {
		oldExternal = old.Spec.ExternalIPs
	}
	for n, ip := range spec.ExternalIPs {
		at := path.Child("externalIPs").Index(n)
		if invalid := validation.IsValidIPForLegacyField(at, ip, true, oldExternal); len(invalid) > 0 {
			ps.Add(invalid)
		} else {
			ps.Add(validateReachableIP(ip, at))
		}
	}
	ps.Add(validateLoadBalancerFields(s, old, path))
	ps.Add(validateTraffic(s, path))
	return ps.List
}

// validateTopologyAnnotations refuses two annotations that mean the same and disagree.
func validateTopologyAnnotations(s *corev1.Service) field.ErrorList {
	var ps kind.Problems
	hints, hasHints := s.Annotations[corev1.DeprecatedAnnotationTopologyAwareHints]
	mode, hasMode := s.Annotations[corev1.AnnotationTopologyMode]
	if hasHints && hasMode && hints != mode {
		ps.Invalid(field.NewPath("metadata", "annotations").Key(corev1.AnnotationTopologyMode), "", mode, "must match annotations["+corev1.DeprecatedAnnotationTopologyAwareHints+"] when both are given")
		return ps.List
	}
	return nil
}

// validateServiceType asks of each type what it needs, and refuses what nobody would act on.
func validateServiceType(s *corev1.Service, path *field.Path) field.ErrorList {
	var ps kind.Problems
	spec := &s.Spec
	switch spec.Type {
	case "":
		ps.Required(path, "type", "")
	case corev1.ServiceTypeClusterIP:
		for n, p := range spec.Ports {
			if p.NodePort != 0 {
				ps.Forbidden(path.Child("ports").Index(n), "nodePort", "may not be used when `type` is 'ClusterIP'")
			}
		}
	case corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort:
		if IsHeadless(s) { // what comes in at a node is handed to the cluster address
			ps.Invalid(path.Child("clusterIPs").Index(0), "", spec.ClusterIPs, "may not be 'None' for services of type "+string(spec.Type))
		}
	case corev1.ServiceTypeExternalName:
		ps.Add(validateExternalName(spec, path))
	default:
		kind.Unsupported(&ps, path, "type", spec.Type, serviceTypes...)
	}
	return ps.List
}

// validateExternalName: such a service is an alias in DNS, and has no addresses.
func validateExternalName(spec *corev1.ServiceSpec, path *field.Path) field.ErrorList {
	var ps kind.Problems
	forbid := func(child string) {
		ps.Forbidden(path, child, "may not be set for ExternalName services")
	}
	if len(spec.ClusterIPs) > 0 {
		forbid("clusterIPs")
	}
	if len(spec.IPFamilies) > 0 {
		forbid("ipFamilies")
	}
	if spec.IPFamilyPolicy != nil {
		forbid("ipFamilyPolicy")
	}
	name := strings.TrimSuffix(spec.ExternalName, ".") // as DNS writes a name that is complete
	if name == "" {
		ps.Required(path, "externalName", "")
		return ps.List
	}
	ps.Messages(path, "externalName", name, validation.IsDNS1123Subdomain(name))
	return ps.List
}

// validateServicePorts: ports are told apart by name, for endpoints and for those who ask for one, and by protocol and number, for who
// sends something to the service. A single one needs no name.
func validateServicePorts(s *corev1.Service, path *field.Path) field.ErrorList {
	type identity struct {
		protocol corev1.Protocol
		port     int32
	}
	var ps kind.Problems
	names := map[string]bool{}
	ports, nodePorts := map[identity]bool{}, map[identity]bool{}
	for n := range s.Spec.Ports {
		p, at := &s.Spec.Ports[n], path.Index(n)
		if p.Name == "" {
			if len(s.Spec.Ports) > 1 {
				ps.Required(at, "name", "")
			}
		} else {
			ps.Messages(at, "name", p.Name, validation.IsDNS1123Label(p.Name))
			if names[p.Name] {
				ps.Duplicate(at, "name", p.Name)
			}
			names[p.Name] = true
		}
		ps.Add(validateServicePort(p, at))
		if id := (identity{p.Protocol, p.NodePort}); p.NodePort != 0 {
			if nodePorts[id] {
				ps.Duplicate(at, "nodePort", p.NodePort)
			}
			nodePorts[id] = true
		}
		id := identity{p.Protocol, p.Port}
		if ports[id] {
			ps.Duplicate(at, "", p.Port)
		}
		ports[id] = true
	}
	return ps.List
}

func validateServicePort(p *corev1.ServicePort, path *field.Path) field.ErrorList {
	var ps kind.Problems
	for _, msg := range validation.IsValidPortNum(int(p.Port)) {
		ps.Invalid(path, "port", p.Port, msg)
	}
	kind.RequiredOneOf(&ps, path, "protocol", p.Protocol, serviceProtocols...)
	target := path.Child("targetPort") // a name is looked up in each pod, where its number may differ
	if p.TargetPort.Type == intstr.Int {
		for _, msg := range validation.IsValidPortNum(p.TargetPort.IntValue()) {
			ps.Invalid(target, "", p.TargetPort.IntValue(), msg)
		}
	} else {
		ps.Messages(target, "", p.TargetPort.StrVal, validation.IsValidPortName(p.TargetPort.StrVal))
	}
	ps.Add(validateAppProtocol(p.AppProtocol, path.Child("appProtocol")))
	return ps.List
}

func validateAppProtocol(p *string, path *field.Path) field.ErrorList {
	var ps kind.Problems
	if p != nil {
		ps.Messages(path, "", *p, kind.QualifiedName(*p))
	}
	return ps.List
}

func validateAffinity(spec *corev1.ServiceSpec, path *field.Path) field.ErrorList {
	var ps kind.Problems
	at := path.Child("sessionAffinity")
	kind.RequiredOneOf(&ps, at, "", spec.SessionAffinity, serviceAffinities...)
	at = path.Child("sessionAffinityConfig")
	switch c := spec.SessionAffinityConfig; spec.SessionAffinity {
	case corev1.ServiceAffinityNone:
		if c != nil {
			ps.Forbidden(at, "", "may not be set when session affinity is None")
		}
	case corev1.ServiceAffinityClientIP:
		if c == nil || c.ClientIP == nil || c.ClientIP.TimeoutSeconds == nil {
			ps.Required(at, "", "needed for session affinity ClientIP")
		} else if t := *c.ClientIP.TimeoutSeconds; t <= 0 || t > affinitySecondsMax {
			ps.Invalid(at.Child("clientIP", "timeoutSeconds"), "", t, "must be from 1 to 86400")
		}
	}
	return ps.List
}

func validateLoadBalancerFields(s, old *corev1.Service, path *field.Path) field.ErrorList {
	var ps kind.Problems
	spec := &s.Spec
	balanced := spec.Type == corev1.ServiceTypeLoadBalancer
	onlyBalanced := func(at *field.Path) {
		if !balanced {
			ps.Forbidden(at, "", "may only be used when `type` is 'LoadBalancer'")
		}
	}
	var oldRanges []string
	if old != nil {
		oldRanges = old.Spec.LoadBalancerSourceRanges
	}
	if len(spec.LoadBalancerSourceRanges) > 0 {
		// The capital letter is what clients of upstream see.
		at := path.Child("LoadBalancerSourceRanges")
		onlyBalanced(at)
		for n, block := range spec.LoadBalancerSourceRanges {
			ps.Add(validation.IsValidCIDRForLegacyField(at.Index(n), strings.TrimSpace(block), true, trimAll(oldRanges)))
		}
	} else if text, ok := s.Annotations[corev1.AnnotationLoadBalancerSourceRangesKey]; ok { // older than the field, which counts before it
		at := field.NewPath("metadata", "annotations").Key(corev1.AnnotationLoadBalancerSourceRangesKey)
		onlyBalanced(at)
		if text = strings.TrimSpace(text); text != "" {
			for block := range strings.SplitSeq(text, ",") {
				ps.Add(validation.IsValidCIDRForLegacyField(at, strings.TrimSpace(block), false, nil))
			}
		}
	}
	if spec.AllocateLoadBalancerNodePorts != nil {
		onlyBalanced(path.Child("allocateLoadBalancerNodePorts"))
	} else if balanced {
		ps.Required(nil, "allocateLoadBalancerNodePorts", "")
	}
	if spec.LoadBalancerClass != nil {
		at := path.Child("loadBalancerClass")
		onlyBalanced(at)
		if balanced {
			ps.Messages(at, "", *spec.LoadBalancerClass, kind.QualifiedName(*spec.LoadBalancerClass))
		}
	}
	return ps.List
}

func trimAll(list []string) []string {
	out := make([]string, len(list))
	for n, s := range list {
		out[n] = strings.TrimSpace(s)
	}
	return out
}

func validateTraffic(s *corev1.Service, path *field.Path) field.ErrorList {
	var ps kind.Problems
	spec := &s.Spec
	at := path.Child("externalTrafficPolicy")
	switch {
	case !externallyAccessible(s):
		if spec.ExternalTrafficPolicy != "" {
			ps.Invalid(at, "", spec.ExternalTrafficPolicy, "may only be set for services that are accessible from outside")
		}
	case spec.ExternalTrafficPolicy == "":
		ps.Required(at, "", "")
	case !slices.Contains(externalPolicies, spec.ExternalTrafficPolicy):
		kind.Unsupported(&ps, at, "", spec.ExternalTrafficPolicy, externalPolicies...)
	}
	at = path.Child("healthCheckNodePort")
	if !NeedsHealthCheckPort(s) && spec.HealthCheckNodePort != 0 {
		// Where it may be set, the allocator fills it in and judges it.
		ps.Invalid(at, "", spec.HealthCheckNodePort, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'")
	}
	at = path.Child("internalTrafficPolicy")
	if p := spec.InternalTrafficPolicy; p == nil {
		if slices.Contains(serviceTypes, spec.Type) && spec.Type != corev1.ServiceTypeExternalName {
			ps.Required(at, "", "")
		}
	} else {
		kind.OneOf(&ps, at, "", *p, internalPolicies...)
	}
	if d := spec.TrafficDistribution; d != nil {
		kind.OneOf(&ps, path, "trafficDistribution", *d, distributions...)
	}
	return ps.List
}

func validateServiceStatus(next, old *corev1.Service) field.ErrorList {
	var ps kind.Problems
	path := field.NewPath("status", "loadBalancer", "ingress")
	balancer := &next.Status.LoadBalancer
	if len(balancer.Ingress) > 0 && next.Spec.Type != corev1.ServiceTypeLoadBalancer {
		ps.Forbidden(path, "", "may only be used when `spec.type` is 'LoadBalancer'")
		return ps.List
	}
	var before []string
	for _, in := range old.Status.LoadBalancer.Ingress {
		before = append(before, in.IP)
	}
	for n, in := range balancer.Ingress {
		at := path.Index(n)
		if in.IP != "" {
			ps.Add(validation.IsValidIPForLegacyField(at.Child("ip"), in.IP, true, before))
		}
		ps.Add(validateIPMode(in, at.Child("ipMode")))
		if in.Hostname != "" {
			ps.Add(validateBalancerHost(in.Hostname, at.Child("hostname")))
		}
	}
	return ps.List
}

// validateIPMode: the mode says how packets for an address arrive, so it belongs to one.
func validateIPMode(in corev1.LoadBalancerIngress, path *field.Path) field.ErrorList {
	var ps kind.Problems
	modes := []corev1.LoadBalancerIPMode{corev1.LoadBalancerIPModeProxy, corev1.LoadBalancerIPModeVIP}
	switch {
	case in.IP != "" && in.IPMode == nil:
		ps.Required(path, "", "must be given together with `ip`")
		return ps.List
	case in.IPMode == nil:
		return nil
	case in.IP == "":
		ps.Forbidden(path, "", "may not be given without `ip`")
		return ps.List
	case !slices.Contains(modes, *in.IPMode):
		kind.Unsupported(&ps, path, "", *in.IPMode, modes...)
		return ps.List
	}
	return nil
}

func validateBalancerHost(name string, path *field.Path) field.ErrorList {
	var ps kind.Problems
	ps.Messages(path, "", name, validation.IsDNS1123Subdomain(name))
	if isIP(name) {
		ps.Invalid(path, "", name, "must be a DNS name, not an IP address")
	}
	return ps.List
}
