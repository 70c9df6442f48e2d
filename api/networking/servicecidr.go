package networking

import (
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilnet "k8s.io/utils/net"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// ServiceCIDR is the kind whose objects are the blocks from which services get their cluster addresses.
var ServiceCIDR = kind.Kind[*networkingv1.ServiceCIDR]{
	Group: "networking.k8s.io", Version: "v1", Kind: "ServiceCIDR", Plural: "servicecidrs",
	New:            func() *networkingv1.ServiceCIDR { return &networkingv1.ServiceCIDR{} },
	NewList:        func() runtime.Object { return &networkingv1.ServiceCIDRList{} },
	ValidName:      apivalidation.NameIsDNSSubdomain,
	PrepareCreate:  func(c *networkingv1.ServiceCIDR) { c.Status = networkingv1.ServiceCIDRStatus{} },
	PrepareUpdate:  func(new, old *networkingv1.ServiceCIDR) { new.Status = old.Status },
	Validate:       validateServiceCIDR,
	ValidateUpdate: validateServiceCIDRUpdate,
	Columns: []kind.Column[*networkingv1.ServiceCIDR]{
		kind.NameColumn[*networkingv1.ServiceCIDR](),
		{Name: "CIDRs", Type: "string", Description: kind.Doc(networkingv1.ServiceCIDRSpec{}, "cidrs"),
			Cell: func(c *networkingv1.ServiceCIDR, _ time.Time) any { return strings.Join(c.Spec.CIDRs, ",") }},
		kind.AgeColumn[*networkingv1.ServiceCIDR](),
	},
	Status: &kind.Part[*networkingv1.ServiceCIDR]{
		Prepare: func(new, old *networkingv1.ServiceCIDR) { new.Spec = old.Spec },
	},
}

func validateServiceCIDR(c *networkingv1.ServiceCIDR) field.ErrorList {
	at := field.NewPath("spec", "cidrs")
	blocks := c.Spec.CIDRs
	switch len(blocks) {
	case 0:
		return field.ErrorList{field.Required(at, "at least one block is needed")}
	case 1:
	case 2:
		if dual, err := utilnet.IsDualStackCIDRStrings(blocks); err != nil || !dual {
			return field.ErrorList{field.Invalid(at, blocks, "may hold no more than one block for each IP family")}
		}
	default:
		return field.ErrorList{field.Invalid(at, blocks, "may hold no more than two blocks")}
	}
	var errs field.ErrorList
	for n, block := range blocks {
		errs = append(errs, validation.IsValidCIDR(at.Index(n), block)...)
	}
	return errs
}

// validateServiceCIDRUpdate allows one change: a block of the other family may be added.
func validateServiceCIDRUpdate(new, old *networkingv1.ServiceCIDR) field.ErrorList {
	at := field.NewPath("spec", "cidrs")
	now, before := new.Spec.CIDRs, old.Spec.CIDRs
	if len(now) < len(before) {
		return field.ErrorList{field.Invalid(at, now, "a block may not be removed")}
	}
	var errs field.ErrorList
	for n := range before {
		if now[n] != before[n] {
			errs = append(errs, field.Invalid(at.Index(n), now[n], "field is immutable"))
		}
	}
	return append(errs, validateServiceCIDR(new)...)
}
