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
func sameReservations(new, old *corev1.Service) bool {
	return apiequality.Semantic.DeepEqual(&new.Spec, &old.Spec)
}

// keepsDualPreference: a service that prefers two families and did not change its addresses is left as it is, so that a
// cluster's change to or from dual stack does not change it behind its user's back.
func keepsDualPreference(new, old *corev1.Service) bool {
	return old != nil && policyOf(new) == corev1.IPFamilyPolicyPreferDualStack && policyOf(old) == corev1.IPFamilyPolicyPreferDualStack &&
		new.Spec.ClusterIP == old.Spec.ClusterIP && slices.Equal(new.Spec.ClusterIPs, old.Spec.ClusterIPs) &&
		slices.Equal(new.Spec.IPFamilies, old.Spec.IPFamilies)
}

// fillFamilies decides ipFamilyPolicy and ipFamilies where the user left them open, and refuses what this cluster cannot
// give.
func (s *Services) fillFamilies(new, old *corev1.Service) error {
	if !core.NeedsClusterIP(new) || keepsDualPreference(new, old) {
		return nil
	}
	if new.Spec.IPFamilyPolicy == nil {
		p := defaultPolicy(new, old)
		new.Spec.IPFamilyPolicy = &p
	}
	if errs := core.ValidateServiceAddresses(new, old); len(errs) > 0 {
		return refuse(new, errs...)
	}
	var errs field.ErrorList
	if old != nil {
		errs = shrinkFamilies(new, old)
	}
	errs = append(errs, s.inferFamilies(new)...)
	if len(errs) > 0 {
		return refuse(new, errs...)
	}
	if core.IsHeadless(new) && len(new.Spec.Selector) == 0 {
		// Whoever writes such a service's endpoints by hand may use families that the cluster's services lack.
		if len(new.Spec.IPFamilies) == 0 {
			new.Spec.IPFamilies = []corev1.IPFamily{s.defaultFamily()}
		}
		if len(new.Spec.IPFamilies) == 1 && policyOf(new) != corev1.IPFamilyPolicySingleStack {
			new.Spec.IPFamilies = append(new.Spec.IPFamilies, otherFamily(new.Spec.IPFamilies[0]))
		}
		return nil
	}
	if errs := s.unconfigured(new); len(errs) > 0 {
		return refuse(new, errs...)
	}
	if len(new.Spec.IPFamilies) == 0 {
		new.Spec.IPFamilies = []corev1.IPFamily{s.defaultFamily()}
	}
	if len(s.cidrs) == 2 && len(new.Spec.IPFamilies) == 1 && policyOf(new) != corev1.IPFamilyPolicySingleStack {
		new.Spec.IPFamilies = append(new.Spec.IPFamilies, otherFamily(new.Spec.IPFamilies[0]))
	}
	return nil
}

func defaultPolicy(new, old *corev1.Service) corev1.IPFamilyPolicy {
	switch {
	case old != nil && old.Spec.IPFamilyPolicy != nil:
		return *old.Spec.IPFamilyPolicy
	case new.Spec.ClusterIP == corev1.ClusterIPNone && len(new.Spec.Selector) == 0:
		return corev1.IPFamilyPolicyRequireDualStack
	}
	return corev1.IPFamilyPolicySingleStack
}

// shrinkFamilies drops the second address and family when the policy became SingleStack, and refuses their loss under
// another policy.
func shrinkFamilies(new, old *corev1.Service) field.ErrorList {
	spec := &new.Spec
	if policyOf(new) == corev1.IPFamilyPolicySingleStack {
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
		errs = append(errs, field.Invalid(path, policyOf(new), "must be 'SingleStack' to release the secondary cluster address"))
	}
	if n := len(spec.IPFamilies); n > 0 && n < len(old.Spec.IPFamilies) {
		errs = append(errs, field.Invalid(path, policyOf(new), "must be 'SingleStack' to release the secondary IP family"))
	}
	return errs
}

// inferFamilies names the families of the addresses that the user chose.
func (s *Services) inferFamilies(new *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	spec := &new.Spec
	if policyOf(new) == corev1.IPFamilyPolicySingleStack {
		path := field.NewPath("spec", "ipFamilyPolicy")
		if len(spec.ClusterIPs) == 2 {
			errs = append(errs, field.Invalid(path, policyOf(new), "must be 'RequireDualStack' or 'PreferDualStack' for two cluster addresses"))
		}
		if len(spec.IPFamilies) == 2 {
			errs = append(errs, field.Invalid(path, policyOf(new), "must be 'RequireDualStack' or 'PreferDualStack' for two IP families"))
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

func (s *Services) unconfigured(new *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("spec")
	if policyOf(new) == corev1.IPFamilyPolicyRequireDualStack && len(s.cidrs) < 2 {
		errs = append(errs, field.Invalid(path.Child("ipFamilyPolicy"), policyOf(new), "this cluster is not configured for dual-stack services"))
	}
	for n, f := range new.Spec.IPFamilies {
		if !s.configured(f) {
			errs = append(errs, field.Invalid(path.Child("ipFamilies").Index(n), f, "not configured on this cluster"))
		}
	}
	return errs
}
