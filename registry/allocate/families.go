package allocate

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/core"
)

func familyOf(a netip.Addr) corev1.IPFamily {
	if a.Is4() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

func otherFamily(f corev1.IPFamily) corev1.IPFamily {
	if f == corev1.IPv4Protocol {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}

// configured tells whether the cluster has service addresses of the family.
func (s *Services) configured(f corev1.IPFamily) bool {
	return slices.ContainsFunc(s.cidrs, func(p netip.Prefix) bool { return familyOf(p.Addr()) == f })
}

func (s *Services) defaultFamily() corev1.IPFamily { return familyOf(s.cidrs[0].Addr()) }

func policyOf(s *corev1.Service) corev1.IPFamilyPolicy {
	if s.Spec.IPFamilyPolicy == nil {
		return ""
	}
	return *s.Spec.IPFamilyPolicy
}

// sameReservations tells whether an update leaves alone everything that this package gives.
func sameReservations(next, old *corev1.Service) bool {
	return apiequality.Semantic.DeepEqual(&next.Spec, &old.Spec)
}

// keepsDualPreference: a service that prefers two families and did not change its addresses is left as it is, so that a
// cluster's change to or from dual stack does not change it behind its user's back.
func keepsDualPreference(next, old *corev1.Service) bool {
	return old != nil && policyOf(next) == corev1.IPFamilyPolicyPreferDualStack && policyOf(old) == corev1.IPFamilyPolicyPreferDualStack &&
		next.Spec.ClusterIP == old.Spec.ClusterIP && slices.Equal(next.Spec.ClusterIPs, old.Spec.ClusterIPs) &&
		slices.Equal(next.Spec.IPFamilies, old.Spec.IPFamilies)
}

// fillFamilies decides ipFamilyPolicy and ipFamilies where the user left them open, and refuses what this cluster cannot
// give.
func (s *Services) fillFamilies(next, old *corev1.Service) error {
	if !core.NeedsClusterIP(next) || keepsDualPreference(next, old) {
		return nil
	}
	if next.Spec.IPFamilyPolicy == nil {
		p := defaultPolicy(next, old)
		next.Spec.IPFamilyPolicy = &p
	}
	if errs := core.ValidateServiceAddresses(next, old); len(errs) > 0 {
		return refuse(next, errs...)
	}
	var errs field.ErrorList
	if old != nil {
		errs = shrinkFamilies(next, old)
	}
	errs = append(errs, s.inferFamilies(next)...)
	if len(errs) > 0 {
		return refuse(next, errs...)
	}
	if core.IsHeadless(next) && len(next.Spec.Selector) == 0 {
		// Whoever writes such a service's endpoints by hand may use families that the cluster's services lack.
		if len(next.Spec.IPFamilies) == 0 {
			next.Spec.IPFamilies = []corev1.IPFamily{s.defaultFamily()}
		}
		if len(next.Spec.IPFamilies) == 1 && policyOf(next) != corev1.IPFamilyPolicySingleStack {
			next.Spec.IPFamilies = append(next.Spec.IPFamilies, otherFamily(next.Spec.IPFamilies[0]))
		}
		return nil
	}
	if errs := s.unconfigured(next); len(errs) > 0 {
		return refuse(next, errs...)
	}
	if len(next.Spec.IPFamilies) == 0 {
		next.Spec.IPFamilies = []corev1.IPFamily{s.defaultFamily()}
	}
	if len(s.cidrs) == 2 && len(next.Spec.IPFamilies) == 1 && policyOf(next) != corev1.IPFamilyPolicySingleStack {
		next.Spec.IPFamilies = append(next.Spec.IPFamilies, otherFamily(next.Spec.IPFamilies[0]))
	}
	return nil
}

func defaultPolicy(next, old *corev1.Service) corev1.IPFamilyPolicy {
	switch {
	case old != nil && old.Spec.IPFamilyPolicy != nil:
		return *old.Spec.IPFamilyPolicy
	case next.Spec.ClusterIP == corev1.ClusterIPNone && len(next.Spec.Selector) == 0:
		return corev1.IPFamilyPolicyRequireDualStack
	}
	return corev1.IPFamilyPolicySingleStack
}

// shrinkFamilies drops the second address and family when the policy became SingleStack, and refuses their loss under
// another policy.
func shrinkFamilies(next, old *corev1.Service) field.ErrorList {
	spec := &next.Spec
	if policyOf(next) == corev1.IPFamilyPolicySingleStack {
		if len(spec.ClusterIPs) > 1 && slices.Equal(spec.ClusterIPs, old.Spec.ClusterIPs) {
			spec.ClusterIPs = spec.ClusterIPs[:1]
		}
		if len(spec.IPFamilies) > 1 && slices.Equal(spec.IPFamilies, old.Spec.IPFamilies) {
			spec.IPFamilies = spec.IPFamilies[:1]
		}
		return nil
	}
	var errs field.ErrorList
	path := field.NewPath("spec", "ipFamilyPolicy")
	if n := len(spec.ClusterIPs); n > 0 && n < len(old.Spec.ClusterIPs) {
		errs = append(errs, field.Invalid(path, policyOf(next), "must be 'SingleStack' to release the secondary cluster address"))
	}
	if n := len(spec.IPFamilies); n > 0 && n < len(old.Spec.IPFamilies) {
		errs = append(errs, field.Invalid(path, policyOf(next), "must be 'SingleStack' to release the secondary IP family"))
	}
	return errs
}

// inferFamilies names the families of the addresses that the user chose.
func (s *Services) inferFamilies(next *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	spec := &next.Spec
	if policyOf(next) == corev1.IPFamilyPolicySingleStack {
		path := field.NewPath("spec", "ipFamilyPolicy")
		if len(spec.ClusterIPs) == 2 {
			errs = append(errs, field.Invalid(path, policyOf(next), "must be 'RequireDualStack' or 'PreferDualStack' for two cluster addresses"))
		}
		if len(spec.IPFamilies) == 2 {
			errs = append(errs, field.Invalid(path, policyOf(next), "must be 'RequireDualStack' or 'PreferDualStack' for two IP families"))
		}
	}
	for n, ip := range spec.ClusterIPs {
		if ip == corev1.ClusterIPNone {
			break
		}
		if n < len(spec.IPFamilies) {
			continue
		}
		f := core.FamilyOf(ip)
		if !s.configured(f) {
			errs = append(errs, field.Invalid(field.NewPath("spec", "clusterIPs").Index(n), spec.ClusterIPs, string(f)+" is not configured on this cluster"))
			continue
		}
		spec.IPFamilies = append(spec.IPFamilies, f)
	}
	return errs
}

func (s *Services) unconfigured(next *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("spec")
	if policyOf(next) == corev1.IPFamilyPolicyRequireDualStack && len(s.cidrs) < 2 {
		errs = append(errs, field.Invalid(path.Child("ipFamilyPolicy"), policyOf(next), "this cluster is not configured for dual-stack services"))
	}
	for n, f := range next.Spec.IPFamilies {
		if !s.configured(f) {
			errs = append(errs, field.Invalid(path.Child("ipFamilies").Index(n), f, "not configured on this cluster"))
		}
	}
	return errs
}
