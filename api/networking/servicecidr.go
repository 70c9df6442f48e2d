package networking

import (
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilnet "k8s.io/utils/net"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// ServiceCIDR is the kind whose objects are the blocks from which services get their cluster addresses.
var ServiceCIDR = kind.Define(kind.Resource{
	GroupVersion: networkingv1.SchemeGroupVersion, Plural: "servicecidrs",
	List: kind.ListOf[networkingv1.ServiceCIDRList],
}, kind.Rules[networkingv1.ServiceCIDR]{
	Halves:         kind.SpecAndStatus[networkingv1.ServiceCIDR](),
	Validate:       func(c, _ *networkingv1.ServiceCIDR) field.ErrorList { return validateBlocks(c.Spec.CIDRs) },
	ValidateUpdate: validateServiceCIDRUpdate,
	Columns: kind.Columns([]kind.Column[networkingv1.ServiceCIDR]{
		kind.Text("CIDRs", kind.Doc(networkingv1.ServiceCIDRSpec{}, "cidrs"), func(c *networkingv1.ServiceCIDR) string { return strings.Join(c.Spec.CIDRs, ",") }),
	}),
})

func validateBlocks(blocks []string) field.ErrorList {
	var ps kind.Problems
	at := field.NewPath("spec", "cidrs")
	switch len(blocks) {
	case 0:
		ps.Required(at, "", "at least one block is needed")
		return ps.List
	case 1:
	case 2:
		if dual, err := utilnet.IsDualStackCIDRStrings(blocks); err != nil || !dual {
			ps.Invalid(at, "", blocks, "may hold no more than one block for each IP family")
			return ps.List
		}
	default:
		ps.Invalid(at, "", blocks, "may hold no more than two blocks")
		return ps.List
	}
	for n, block := range blocks {
		ps.Add(validation.IsValidCIDR(at.Index(n), block))
	}
	return ps.List
}

// validateServiceCIDRUpdate allows one change: a block of the other family may be added.
func validateServiceCIDRUpdate(next, old *networkingv1.ServiceCIDR) field.ErrorList {
	var ps kind.Problems
	at := field.NewPath("spec", "cidrs")
	now, before := next.Spec.CIDRs, old.Spec.CIDRs
	if len(now) < len(before) {
		ps.Invalid(at, "", now, "a block may not be removed")
		return ps.List
	}
	for n := range before {
		if now[n] != before[n] {
			ps.Invalid(at.Index(n), "", now[n], "field is immutable")
		}
	}
	ps.Add(validateBlocks(now))
	return ps.List
}
