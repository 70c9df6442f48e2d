package core

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilnet "k8s.io/utils/net"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

var (
	ipFamilies       = []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
	ipFamilyPolicies = []corev1.IPFamilyPolicy{corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack,
		corev1.IPFamilyPolicySingleStack}
)

// FamilyOf is the IP family of an address that has been found valid.
func FamilyOf(ip string) corev1.IPFamily {
	if utilnet.IsIPv6String(ip) {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}

func isIP(s string) bool { return utilnet.ParseIPSloppy(s) != nil }

// ValidateServiceAddresses judges clusterIP, clusterIPs, ipFamilies and ipFamilyPolicy together. The allocator asks it
// before it gives addresses; old, which may be nil, holds addresses that may keep an old form.
func ValidateServiceAddresses(s, old *corev1.Service) field.ErrorList {
	spec := &s.Spec
	if spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	path := field.NewPath("spec", "clusterIPs")
	var ps kind.Problems
	switch {
	case spec.ClusterIP == "" && len(spec.ClusterIPs) > 0:
		ps.Invalid(path, "", spec.ClusterIPs, "must be empty when `clusterIP` is not given")
	case spec.ClusterIP != "" && len(spec.ClusterIPs) == 0:
		ps.Required(path, "", "")
	case spec.ClusterIP != "" && spec.ClusterIPs[0] != spec.ClusterIP:
		ps.Invalid(path, "", spec.ClusterIPs, "first value must match `clusterIP`")
	}
	ps.Add(validateFamilies(spec))
	invalid := validateClusterIPs(spec, old, path)
	ps.Add(invalid)
	if len(spec.ClusterIPs) > 2 {
		ps.Invalid(path, "", spec.ClusterIPs, "may hold no more than two values")
	}
	if len(invalid) > 0 { // what follows compares families, which only valid addresses have
		return ps.List
	}
	if len(spec.ClusterIPs) > 1 {
		if dual, _ := utilnet.IsDualStackIPStrings(spec.ClusterIPs); !dual {
			ps.Invalid(path, "", spec.ClusterIPs, "may hold no more than one address for each IP family")
		}
	}
	ps.Add(validateFamiliesMatch(s, path))
	return ps.List
}

func validateFamilies(spec *corev1.ServiceSpec) field.ErrorList {
	var ps kind.Problems
	path := field.NewPath("spec")
	for n, family := range spec.IPFamilies {
		at := path.Child("ipFamilies").Index(n)
		kind.OneOf(&ps, at, "", family, ipFamilies...)
		if slices.Contains(spec.IPFamilies[:n], family) {
			ps.Duplicate(at, "", family)
		}
	}
	if p := spec.IPFamilyPolicy; p != nil {
		kind.OneOf(&ps, path, "ipFamilyPolicy", *p, ipFamilyPolicies...)
	}
	return ps.List
}

func validateClusterIPs(spec *corev1.ServiceSpec, old *corev1.Service, path *field.Path) field.ErrorList {
	var ps kind.Problems
	var before []string
	if old != nil {
		before = old.Spec.ClusterIPs
	}
	for n, ip := range spec.ClusterIPs {
		if n == 0 && ip == corev1.ClusterIPNone {
			if len(spec.ClusterIPs) > 1 {
				ps.Invalid(path, "", spec.ClusterIPs, "'None' must be the first and only value")
			}
			continue
		}
		ps.Add(validation.IsValidIPForLegacyField(path.Index(n), ip, true, before))
	}
	return ps.List
}

func validateFamiliesMatch(s *corev1.Service, path *field.Path) field.ErrorList {
	var ps kind.Problems
	if IsHeadless(s) { // it has families, of its endpoints, and no address
		return nil
	}
	for n, ip := range s.Spec.ClusterIPs {
		if n < len(s.Spec.IPFamilies) && FamilyOf(ip) != s.Spec.IPFamilies[n] {
			ps.Invalid(path.Index(n), "", ip, "is not of the family that `ipFamilies` names for it")
		}
	}
	return ps.List
}

// validateReachableIP refuses addresses that mean something only on one machine or one link.
func validateReachableIP(text string, path *field.Path) field.ErrorList {
	var ps kind.Problems
	ip := utilnet.ParseIPSloppy(text)
	if ip == nil {
		ps.Invalid(path, "", text, "must be a valid IP address")
		return ps.List
	}
	switch {
	case ip.IsUnspecified():
		ps.Invalid(path, "", text, "may not be unspecified (0.0.0.0 or ::)")
		return ps.List
	case ip.IsLoopback():
		ps.Invalid(path, "", text, "may not be in the loopback range (127.0.0.0/8, ::1/128)")
		return ps.List
	case ip.IsLinkLocalUnicast():
		ps.Invalid(path, "", text, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")
		return ps.List
	case ip.IsLinkLocalMulticast():
		ps.Invalid(path, "", text, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
		return ps.List
	}
	return nil
}

func validateServiceUpdate(next, old *corev1.Service) field.ErrorList {
	var ps kind.Problems
	ps.Add(validateClusterIPChange(next, old))
	ps.Add(validateFamilyChange(next, old))
	path := field.NewPath("spec")
	if next.Spec.Type == corev1.ServiceTypeLoadBalancer && old.Spec.Type == corev1.ServiceTypeLoadBalancer &&
		!same(next.Spec.LoadBalancerClass, old.Spec.LoadBalancerClass) {
		ps.Invalid(path, "loadBalancerClass", next.Spec.LoadBalancerClass, "may not change once set")
	}
	if NeedsHealthCheckPort(next) && NeedsHealthCheckPort(old) && next.Spec.HealthCheckNodePort != old.Spec.HealthCheckNodePort {
		ps.Forbidden(path, "healthCheckNodePort", "field is immutable")
	}
	ps.Add(validateService(next, old))
	return ps.List
}

// validateClusterIPChange lets a second address come and, with policy SingleStack, go; the first stays.
func validateClusterIPChange(next, old *corev1.Service) field.ErrorList {
	if !NeedsClusterIP(next) || !NeedsClusterIP(old) || IsHeadless(next) && IsHeadless(old) {
		return nil
	}
	var ps kind.Problems
	path := field.NewPath("spec", "clusterIPs")
	now, before := next.Spec.ClusterIPs, old.Spec.ClusterIPs
	if len(before) > 0 && len(now) == 0 {
		ps.Invalid(path.Index(0), "", now, "the primary address may not be unset")
		return ps.List
	}
	for n := range min(len(now), len(before)) {
		if now[n] != before[n] {
			ps.Invalid(path.Index(n), "", now, "may not change once set")
		}
	}
	if len(now) == 1 && len(before) == 2 && !isSingleStack(next) {
		ps.Invalid(field.NewPath("spec", "ipFamilyPolicy"), "", next.Spec.IPFamilyPolicy, "must be 'SingleStack' to release the secondary cluster address")
	}
	return ps.List
}

// validateFamilyChange: families go with the addresses, and change as they do.
func validateFamilyChange(next, old *corev1.Service) field.ErrorList {
	if !NeedsClusterIP(next) || !NeedsClusterIP(old) || IsHeadless(next) || IsHeadless(old) {
		return nil
	}
	var ps kind.Problems
	path := field.NewPath("spec", "ipFamilies").Index(0)
	now, before := next.Spec.IPFamilies, old.Spec.IPFamilies
	if len(before) > 0 && len(now) == 0 {
		ps.Invalid(path, "", now, "the primary family may not be unset")
		return ps.List
	}
	if n := min(len(now), len(before)); !slices.Equal(now[:n], before[:n]) {
		ps.Invalid(path, "", now, "may not change once set")
	}
	if len(now) == 1 && len(before) == 2 && !isSingleStack(next) {
		ps.Invalid(field.NewPath("spec", "ipFamilyPolicy"), "", next.Spec.IPFamilyPolicy, "must be 'SingleStack' to release the secondary IP family")
	}
	return ps.List
}

func isSingleStack(s *corev1.Service) bool {
	return s.Spec.IPFamilyPolicy != nil && *s.Spec.IPFamilyPolicy == corev1.IPFamilyPolicySingleStack
}

// warnService tells about fields that do less, or something else, than their names promise.
func warnService(next, old *corev1.Service) []string {
	var out []string
	if _, ok := next.Annotations[corev1.DeprecatedAnnotationTopologyAwareHints]; ok {
		out = append(out, "metadata.annotations["+corev1.DeprecatedAnnotationTopologyAwareHints+"]: please use "+corev1.AnnotationTopologyMode+" instead")
	}
	if d := next.Spec.TrafficDistribution; d != nil && *d == corev1.ServiceTrafficDistributionPreferClose {
		out = append(out, "spec.trafficDistribution: deprecated in v1.36+; use \"PreferSameZone\" instead of \"PreferClose\"")
	}
	if len(next.Spec.ExternalIPs) > 0 && (old == nil || len(old.Spec.ExternalIPs) == 0) {
		out = append(out, "spec.externalIPs: deprecated in v1.36+; use a LoadBalancer service, or an Ingress or Gateway")
	}
	path := field.NewPath("spec")
	if IsHeadless(next) {
		if next.Spec.LoadBalancerIP != "" {
			out = append(out, "spec.loadBalancerIP is ignored when spec.clusterIP is \"None\"")
		}
		if len(next.Spec.ExternalIPs) > 0 {
			out = append(out, "spec.externalIPs is ignored when spec.clusterIP is \"None\"")
		}
		if next.Spec.SessionAffinity != corev1.ServiceAffinityNone {
			out = append(out, "spec.SessionAffinity is ignored for headless services")
		}
	}
	for n, ip := range next.Spec.ClusterIPs {
		if ip != corev1.ClusterIPNone && !plainIP(ip) {
			out = append(out, validation.GetWarningsForIP(path.Child("clusterIPs").Index(n), ip)...)
		}
	}
	for n, ip := range next.Spec.ExternalIPs {
		if !plainIP(ip) {
			out = append(out, validation.GetWarningsForIP(path.Child("externalIPs").Index(n), ip)...)
		}
	}
	if ip := next.Spec.LoadBalancerIP; ip != "" && !plainIP(ip) {
		out = append(out, validation.GetWarningsForIP(path.Child("loadBalancerIP"), ip)...)
	}
	for n, block := range next.Spec.LoadBalancerSourceRanges {
		out = append(out, validation.GetWarningsForCIDR(path.Child("loadBalancerSourceRanges").Index(n), block)...)
	}
	return out
}

// plainIP tells cheaply that an address is in its canonical form and so needs no warning.
func plainIP(ip string) bool {
	a, err := netip.ParseAddr(ip)
	return err == nil && a.String() == ip && !a.Is4In6()
}
