package core

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilnet "k8s.io/utils/net"
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
	var errs field.ErrorList
	switch {
	case spec.ClusterIP == "" && len(spec.ClusterIPs) > 0:
		errs = append(errs, field.Invalid(path, spec.ClusterIPs, "must be empty when `clusterIP` is not given"))
	case spec.ClusterIP != "" && len(spec.ClusterIPs) == 0:
		errs = append(errs, field.Required(path, ""))
	case spec.ClusterIP != "" && spec.ClusterIPs[0] != spec.ClusterIP:
		errs = append(errs, field.Invalid(path, spec.ClusterIPs, "first value must match `clusterIP`"))
	}
	errs = append(errs, validateFamilies(spec)...)
	invalid := validateClusterIPs(spec, old, path)
	errs = append(errs, invalid...)
	if len(spec.ClusterIPs) > 2 {
		errs = append(errs, field.Invalid(path, spec.ClusterIPs, "may hold no more than two values"))
	}
	if len(invalid) > 0 {
		return errs
	}
	if len(spec.ClusterIPs) > 1 {
		if dual, _ := utilnet.IsDualStackIPStrings(spec.ClusterIPs); !dual {
			errs = append(errs, field.Invalid(path, spec.ClusterIPs, "may hold no more than one address for each IP family"))
		}
	}
	return append(errs, validateFamiliesMatch(s, path)...)
}

func validateFamilies(spec *corev1.ServiceSpec) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("spec")
	for n, family := range spec.IPFamilies {
		at := path.Child("ipFamilies").Index(n)
		if !slices.Contains(ipFamilies, family) {
			errs = append(errs, field.NotSupported(at, family, ipFamilies))
		}
		if slices.Contains(spec.IPFamilies[:n], family) {
			errs = append(errs, field.Duplicate(at, family))
		}
	}
	if p := spec.IPFamilyPolicy; p != nil && !slices.Contains(ipFamilyPolicies, *p) {
		errs = append(errs, field.NotSupported(path.Child("ipFamilyPolicy"), *p, ipFamilyPolicies))
	}
	return errs
}

func validateClusterIPs(spec *corev1.ServiceSpec, old *corev1.Service, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	var before []string
	if old != nil {
		before = old.Spec.ClusterIPs
	}
	for n, ip := range spec.ClusterIPs {
		if n == 0 && ip == corev1.ClusterIPNone {
			if len(spec.ClusterIPs) > 1 {
				errs = append(errs, field.Invalid(path, spec.ClusterIPs, "'None' must be the first and only value"))
			}
			continue
		}
		errs = append(errs, validation.IsValidIPForLegacyField(path.Index(n), ip, true, before)...)
	}
	return errs
}

func validateFamiliesMatch(s *corev1.Service, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if IsHeadless(s) {
		return nil
	}
	for n, ip := range s.Spec.ClusterIPs {
		if n < len(s.Spec.IPFamilies) && FamilyOf(ip) != s.Spec.IPFamilies[n] {
			errs = append(errs, field.Invalid(path.Index(n), ip, "is not of the family that `ipFamilies` names for it"))
		}
	}
	return errs
}

// validateReachableIP refuses addresses that mean something only on one machine or one link.
func validateReachableIP(text string, path *field.Path) field.ErrorList {
	ip := utilnet.ParseIPSloppy(text)
	if ip == nil {
		return field.ErrorList{field.Invalid(path, text, "must be a valid IP address")}
	}
	switch {
	case ip.IsUnspecified():
		return field.ErrorList{field.Invalid(path, text, "may not be unspecified (0.0.0.0 or ::)")}
	case ip.IsLoopback():
		return field.ErrorList{field.Invalid(path, text, "may not be in the loopback range (127.0.0.0/8, ::1/128)")}
	case ip.IsLinkLocalUnicast():
		return field.ErrorList{field.Invalid(path, text, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")}
	case ip.IsLinkLocalMulticast():
		return field.ErrorList{field.Invalid(path, text, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")}
	}
	return nil
}

func validateServiceUpdate(new, old *corev1.Service) field.ErrorList {
	errs := validateClusterIPChange(new, old)
	errs = append(errs, validateFamilyChange(new, old)...)
	path := field.NewPath("spec")
	if new.Spec.Type == corev1.ServiceTypeLoadBalancer && old.Spec.Type == corev1.ServiceTypeLoadBalancer &&
		!same(new.Spec.LoadBalancerClass, old.Spec.LoadBalancerClass) {
		errs = append(errs, field.Invalid(path.Child("loadBalancerClass"), new.Spec.LoadBalancerClass, "may not change once set"))
	}
	if NeedsHealthCheckPort(new) && NeedsHealthCheckPort(old) && new.Spec.HealthCheckNodePort != old.Spec.HealthCheckNodePort {
		errs = append(errs, field.Forbidden(path.Child("healthCheckNodePort"), "field is immutable"))
	}
	return append(errs, validateService(new, old)...)
}

// validateClusterIPChange lets a second address come and, with policy SingleStack, go; the first stays.
func validateClusterIPChange(new, old *corev1.Service) field.ErrorList {
	if !NeedsClusterIP(new) || !NeedsClusterIP(old) || IsHeadless(new) && IsHeadless(old) {
		return nil
	}
	var errs field.ErrorList
	path := field.NewPath("spec", "clusterIPs")
	now, before := new.Spec.ClusterIPs, old.Spec.ClusterIPs
	if len(before) > 0 && len(now) == 0 {
		return field.ErrorList{field.Invalid(path.Index(0), now, "the primary address may not be unset")}
	}
	for n := range min(len(now), len(before)) {
		if now[n] != before[n] {
			errs = append(errs, field.Invalid(path.Index(n), now, "may not change once set"))
		}
	}
	if len(now) == 1 && len(before) == 2 && !isSingleStack(new) {
		errs = append(errs, field.Invalid(field.NewPath("spec", "ipFamilyPolicy"), new.Spec.IPFamilyPolicy,
			"must be 'SingleStack' to release the secondary cluster address"))
	}
	return errs
}

func validateFamilyChange(new, old *corev1.Service) field.ErrorList {
	if !NeedsClusterIP(new) || !NeedsClusterIP(old) || IsHeadless(new) || IsHeadless(old) {
		return nil
	}
	var errs field.ErrorList
	path := field.NewPath("spec", "ipFamilies").Index(0)
	now, before := new.Spec.IPFamilies, old.Spec.IPFamilies
	if len(before) > 0 && len(now) == 0 {
		return field.ErrorList{field.Invalid(path, now, "the primary family may not be unset")}
	}
	if n := min(len(now), len(before)); !slices.Equal(now[:n], before[:n]) {
		errs = append(errs, field.Invalid(path, now, "may not change once set"))
	}
	if len(now) == 1 && len(before) == 2 && !isSingleStack(new) {
		errs = append(errs, field.Invalid(field.NewPath("spec", "ipFamilyPolicy"), new.Spec.IPFamilyPolicy,
			"must be 'SingleStack' to release the secondary IP family"))
	}
	return errs
}

func isSingleStack(s *corev1.Service) bool {
	return s.Spec.IPFamilyPolicy != nil && *s.Spec.IPFamilyPolicy == corev1.IPFamilyPolicySingleStack
}

// warnService tells about fields that do less, or something else, than their names promise.
func warnService(new, old *corev1.Service) []string {
	var out []string
	if _, ok := new.Annotations[corev1.DeprecatedAnnotationTopologyAwareHints]; ok {
		out = append(out, "metadata.annotations["+corev1.DeprecatedAnnotationTopologyAwareHints+"]: please use "+corev1.AnnotationTopologyMode+" instead")
	}
	if d := new.Spec.TrafficDistribution; d != nil && *d == corev1.ServiceTrafficDistributionPreferClose {
		out = append(out, "spec.trafficDistribution: deprecated in v1.36+; use \"PreferSameZone\" instead of \"PreferClose\"")
	}
	if len(new.Spec.ExternalIPs) > 0 && (old == nil || len(old.Spec.ExternalIPs) == 0) {
		out = append(out, "spec.externalIPs: deprecated in v1.36+; use a LoadBalancer service, or an Ingress or Gateway")
	}
	path := field.NewPath("spec")
	if IsHeadless(new) {
		if new.Spec.LoadBalancerIP != "" {
			out = append(out, "spec.loadBalancerIP is ignored when spec.clusterIP is \"None\"")
		}
		if len(new.Spec.ExternalIPs) > 0 {
			out = append(out, "spec.externalIPs is ignored when spec.clusterIP is \"None\"")
		}
		if new.Spec.SessionAffinity != corev1.ServiceAffinityNone {
			out = append(out, "spec.SessionAffinity is ignored for headless services")
		}
	}
	for n, ip := range new.Spec.ClusterIPs {
		if ip != corev1.ClusterIPNone && !plainIP(ip) {
			out = append(out, validation.GetWarningsForIP(path.Child("clusterIPs").Index(n), ip)...)
		}
	}
	for n, ip := range new.Spec.ExternalIPs {
		if !plainIP(ip) {
			out = append(out, validation.GetWarningsForIP(path.Child("externalIPs").Index(n), ip)...)
		}
	}
	if ip := new.Spec.LoadBalancerIP; ip != "" && !plainIP(ip) {
		out = append(out, validation.GetWarningsForIP(path.Child("loadBalancerIP"), ip)...)
	}
	for n, block := range new.Spec.LoadBalancerSourceRanges {
		out = append(out, validation.GetWarningsForCIDR(path.Child("loadBalancerSourceRanges").Index(n), block)...)
	}
	return out
}

// plainIP tells cheaply that an address is in its canonical form and so needs no warning.
func plainIP(ip string) bool {
	a, err := netip.ParseAddr(ip)
	return err == nil && a.String() == ip && !a.Is4In6()
}
