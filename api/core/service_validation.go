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
	errs := validateTopologyAnnotations(s)
	if len(spec.Ports) == 0 && !IsHeadless(s) && spec.Type != corev1.ServiceTypeExternalName {
		errs = append(errs, field.Required(path.Child("ports"), ""))
	}
	errs = append(errs, validateServiceType(s, path)...)
	errs = append(errs, validateServicePorts(s, path.Child("ports"))...)
	errs = append(errs, metav1validation.ValidateLabels(spec.Selector, path.Child("selector"))...)
	errs = append(errs, validateAffinity(spec, path)...)
	errs = append(errs, ValidateServiceAddresses(s, old)...)
	var oldExternal []string
	if old != nil {
		oldExternal = old.Spec.ExternalIPs
	}
	for n, ip := range spec.ExternalIPs {
		at := path.Child("externalIPs").Index(n)
		if invalid := validation.IsValidIPForLegacyField(at, ip, true, oldExternal); len(invalid) > 0 {
			errs = append(errs, invalid...)
		} else {
			errs = append(errs, validateReachableIP(ip, at)...)
		}
	}
	errs = append(errs, validateLoadBalancerFields(s, old, path)...)
	return append(errs, validateTraffic(s, path)...)
}

// validateTopologyAnnotations refuses two annotations that mean the same and disagree.
func validateTopologyAnnotations(s *corev1.Service) field.ErrorList {
	hints, hasHints := s.Annotations[corev1.DeprecatedAnnotationTopologyAwareHints]
	mode, hasMode := s.Annotations[corev1.AnnotationTopologyMode]
	if hasHints && hasMode && hints != mode {
		return field.ErrorList{field.Invalid(field.NewPath("metadata", "annotations").Key(corev1.AnnotationTopologyMode), mode,
			"must match annotations["+corev1.DeprecatedAnnotationTopologyAwareHints+"] when both are given")}
	}
	return nil
}

func validateServiceType(s *corev1.Service, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	spec := &s.Spec
	switch spec.Type {
	case "":
		errs = append(errs, field.Required(path.Child("type"), ""))
	case corev1.ServiceTypeClusterIP:
		for n, p := range spec.Ports {
			if p.NodePort != 0 {
				errs = append(errs, field.Forbidden(path.Child("ports").Index(n).Child("nodePort"), "may not be used when `type` is 'ClusterIP'"))
			}
		}
	case corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort:
		if IsHeadless(s) {
			errs = append(errs, field.Invalid(path.Child("clusterIPs").Index(0), spec.ClusterIPs,
				"may not be 'None' for services of type "+string(spec.Type)))
		}
	case corev1.ServiceTypeExternalName:
		errs = append(errs, validateExternalName(spec, path)...)
	default:
		errs = append(errs, field.NotSupported(path.Child("type"), spec.Type, serviceTypes))
	}
	return errs
}

func validateExternalName(spec *corev1.ServiceSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	forbid := func(child string) {
		errs = append(errs, field.Forbidden(path.Child(child), "may not be set for ExternalName services"))
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
	name := strings.TrimSuffix(spec.ExternalName, ".")
	if name == "" {
		return append(errs, field.Required(path.Child("externalName"), ""))
	}
	for _, msg := range validation.IsDNS1123Subdomain(name) {
		errs = append(errs, field.Invalid(path.Child("externalName"), name, msg))
	}
	return errs
}

func validateServicePorts(s *corev1.Service, path *field.Path) field.ErrorList {
	type identity struct {
		protocol corev1.Protocol
		port     int32
	}
	var errs field.ErrorList
	names := map[string]bool{}
	ports, nodePorts := map[identity]bool{}, map[identity]bool{}
	for n := range s.Spec.Ports {
		p, at := &s.Spec.Ports[n], path.Index(n)
		if p.Name == "" {
			if len(s.Spec.Ports) > 1 {
				errs = append(errs, field.Required(at.Child("name"), ""))
			}
		} else {
			for _, msg := range validation.IsDNS1123Label(p.Name) {
				errs = append(errs, field.Invalid(at.Child("name"), p.Name, msg))
			}
			if names[p.Name] {
				errs = append(errs, field.Duplicate(at.Child("name"), p.Name))
			}
			names[p.Name] = true
		}
		errs = append(errs, validateServicePort(p, at)...)
		if id := (identity{p.Protocol, p.NodePort}); p.NodePort != 0 {
			if nodePorts[id] {
				errs = append(errs, field.Duplicate(at.Child("nodePort"), p.NodePort))
			}
			nodePorts[id] = true
		}
		id := identity{p.Protocol, p.Port}
		if ports[id] {
			errs = append(errs, field.Duplicate(at, p.Port))
		}
		ports[id] = true
	}
	return errs
}

func validateServicePort(p *corev1.ServicePort, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range validation.IsValidPortNum(int(p.Port)) {
		errs = append(errs, field.Invalid(path.Child("port"), p.Port, msg))
	}
	errs = append(errs, validatePortProtocol(p.Protocol, path.Child("protocol"))...)
	target := path.Child("targetPort")
	if p.TargetPort.Type == intstr.Int {
		for _, msg := range validation.IsValidPortNum(p.TargetPort.IntValue()) {
			errs = append(errs, field.Invalid(target, p.TargetPort.IntValue(), msg))
		}
	} else {
		for _, msg := range validation.IsValidPortName(p.TargetPort.StrVal) {
			errs = append(errs, field.Invalid(target, p.TargetPort.StrVal, msg))
		}
	}
	return append(errs, validateAppProtocol(p.AppProtocol, path.Child("appProtocol"))...)
}

func validatePortProtocol(p corev1.Protocol, path *field.Path) field.ErrorList {
	if p == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	if !slices.Contains(serviceProtocols, p) {
		return field.ErrorList{field.NotSupported(path, p, serviceProtocols)}
	}
	return nil
}

func validateAppProtocol(p *string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if p != nil {
		for _, msg := range kind.QualifiedName(*p) {
			errs = append(errs, field.Invalid(path, *p, msg))
		}
	}
	return errs
}

func validateAffinity(spec *corev1.ServiceSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	at := path.Child("sessionAffinity")
	if spec.SessionAffinity == "" {
		errs = append(errs, field.Required(at, ""))
	} else if !slices.Contains(serviceAffinities, spec.SessionAffinity) {
		errs = append(errs, field.NotSupported(at, spec.SessionAffinity, serviceAffinities))
	}
	at = path.Child("sessionAffinityConfig")
	switch c := spec.SessionAffinityConfig; spec.SessionAffinity {
	case corev1.ServiceAffinityNone:
		if c != nil {
			errs = append(errs, field.Forbidden(at, "may not be set when session affinity is None"))
		}
	case corev1.ServiceAffinityClientIP:
		if c == nil || c.ClientIP == nil || c.ClientIP.TimeoutSeconds == nil {
			errs = append(errs, field.Required(at, "needed for session affinity ClientIP"))
		} else if t := *c.ClientIP.TimeoutSeconds; t <= 0 || t > affinitySecondsMax {
			errs = append(errs, field.Invalid(at.Child("clientIP", "timeoutSeconds"), t, "must be from 1 to 86400"))
		}
	}
	return errs
}

func validateLoadBalancerFields(s, old *corev1.Service, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	spec := &s.Spec
	balanced := spec.Type == corev1.ServiceTypeLoadBalancer
	onlyBalanced := func(at *field.Path) {
		if !balanced {
			errs = append(errs, field.Forbidden(at, "may only be used when `type` is 'LoadBalancer'"))
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
			errs = append(errs, validation.IsValidCIDRForLegacyField(at.Index(n), strings.TrimSpace(block), true, trimAll(oldRanges))...)
		}
	} else if text, ok := s.Annotations[corev1.AnnotationLoadBalancerSourceRangesKey]; ok {
		at := field.NewPath("metadata", "annotations").Key(corev1.AnnotationLoadBalancerSourceRangesKey)
		onlyBalanced(at)
		if text = strings.TrimSpace(text); text != "" {
			for block := range strings.SplitSeq(text, ",") {
				errs = append(errs, validation.IsValidCIDRForLegacyField(at, strings.TrimSpace(block), false, nil)...)
			}
		}
	}
	if spec.AllocateLoadBalancerNodePorts != nil {
		onlyBalanced(path.Child("allocateLoadBalancerNodePorts"))
	} else if balanced {
		errs = append(errs, field.Required(field.NewPath("allocateLoadBalancerNodePorts"), ""))
	}
	if spec.LoadBalancerClass != nil {
		at := path.Child("loadBalancerClass")
		onlyBalanced(at)
		if balanced {
			for _, msg := range kind.QualifiedName(*spec.LoadBalancerClass) {
				errs = append(errs, field.Invalid(at, *spec.LoadBalancerClass, msg))
			}
		}
	}
	return errs
}

func trimAll(list []string) []string {
	out := make([]string, len(list))
	for n, s := range list {
		out[n] = strings.TrimSpace(s)
	}
	return out
}

func validateTraffic(s *corev1.Service, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	spec := &s.Spec
	at := path.Child("externalTrafficPolicy")
	switch {
	case !externallyAccessible(s):
		if spec.ExternalTrafficPolicy != "" {
			errs = append(errs, field.Invalid(at, spec.ExternalTrafficPolicy, "may only be set for services that are accessible from outside"))
		}
	case spec.ExternalTrafficPolicy == "":
		errs = append(errs, field.Required(at, ""))
	case !slices.Contains(externalPolicies, spec.ExternalTrafficPolicy):
		errs = append(errs, field.NotSupported(at, spec.ExternalTrafficPolicy, externalPolicies))
	}
	at = path.Child("healthCheckNodePort")
	if !NeedsHealthCheckPort(s) && spec.HealthCheckNodePort != 0 {
		// Where it may be set, the allocator fills it in and judges it.
		errs = append(errs, field.Invalid(at, spec.HealthCheckNodePort,
			"may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"))
	}
	at = path.Child("internalTrafficPolicy")
	if p := spec.InternalTrafficPolicy; p == nil {
		if slices.Contains(serviceTypes, spec.Type) && spec.Type != corev1.ServiceTypeExternalName {
			errs = append(errs, field.Required(at, ""))
		}
	} else if !slices.Contains(internalPolicies, *p) {
		errs = append(errs, field.NotSupported(at, *p, internalPolicies))
	}
	if d := spec.TrafficDistribution; d != nil && !slices.Contains(distributions, *d) {
		errs = append(errs, field.NotSupported(path.Child("trafficDistribution"), *d, distributions))
	}
	return errs
}

func validateServiceStatus(new, old *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("status", "loadBalancer", "ingress")
	balancer := &new.Status.LoadBalancer
	if len(balancer.Ingress) > 0 && new.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return field.ErrorList{field.Forbidden(path, "may only be used when `spec.type` is 'LoadBalancer'")}
	}
	var before []string
	for _, in := range old.Status.LoadBalancer.Ingress {
		before = append(before, in.IP)
	}
	for n, in := range balancer.Ingress {
		at := path.Index(n)
		if in.IP != "" {
			errs = append(errs, validation.IsValidIPForLegacyField(at.Child("ip"), in.IP, true, before)...)
		}
		errs = append(errs, validateIPMode(in, at.Child("ipMode"))...)
		if in.Hostname != "" {
			errs = append(errs, validateBalancerHost(in.Hostname, at.Child("hostname"))...)
		}
	}
	return errs
}

func validateIPMode(in corev1.LoadBalancerIngress, path *field.Path) field.ErrorList {
	modes := []corev1.LoadBalancerIPMode{corev1.LoadBalancerIPModeProxy, corev1.LoadBalancerIPModeVIP}
	switch {
	case in.IP != "" && in.IPMode == nil:
		return field.ErrorList{field.Required(path, "must be given together with `ip`")}
	case in.IPMode == nil:
		return nil
	case in.IP == "":
		return field.ErrorList{field.Forbidden(path, "may not be given without `ip`")}
	case !slices.Contains(modes, *in.IPMode):
		return field.ErrorList{field.NotSupported(path, *in.IPMode, modes)}
	}
	return nil
}

func validateBalancerHost(name string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range validation.IsDNS1123Subdomain(name) {
		errs = append(errs, field.Invalid(path, name, msg))
	}
	if isIP(name) {
		errs = append(errs, field.Invalid(path, name, "must be a DNS name, not an IP address"))
	}
	return errs
}
