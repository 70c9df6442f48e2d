// Package networking defines the kinds of networking.k8s.io.
package networking

import (
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// IPAddress is the kind whose objects are the addresses in use by services; the name is the address.
var IPAddress = kind.Define(kind.Resource{
	GroupVersion: networkingv1.SchemeGroupVersion, Plural: "ipaddresses", ShortNames: []string{"ip"},
	List: kind.ListOf[networkingv1.IPAddressList], ValidName: validIPName,
}, kind.Rules[networkingv1.IPAddress]{
	Validate: validateIPAddress,
	ValidateUpdate: func(next, old *networkingv1.IPAddress) field.ErrorList {
		return apivalidation.ValidateImmutableField(next.Spec.ParentRef, old.Spec.ParentRef, field.NewPath("spec", "parentRef"))
	},
	Columns: []kind.Column[networkingv1.IPAddress]{
		kind.NameColumn[networkingv1.IPAddress](),
		kind.Text("ParentRef", kind.Doc(networkingv1.IPAddressSpec{}, "parentRef"), func(a *networkingv1.IPAddress) string { return parentCell(a.Spec.ParentRef) }),
	},
})

func parentCell(p *networkingv1.ParentReference) string {
	if p == nil {
		return "<none>"
	}
	resource := p.Resource
	if p.Group != "" {
		resource += "." + p.Group
	}
	if p.Namespace != "" {
		return strings.Join([]string{resource, p.Namespace, p.Name}, "/")
	}
	return resource + "/" + p.Name
}

func validIPName(name string, _ bool) []string {
	var out []string
	for _, err := range validation.IsValidIP(&field.Path{}, name) {
		out = append(out, err.Detail)
	}
	return out
}

func validateIPAddress(a, _ *networkingv1.IPAddress) field.ErrorList {
	var ps kind.Problems
	at := field.NewPath("spec", "parentRef")
	p := a.Spec.ParentRef
	if p == nil {
		ps.Required(at, "", "")
		return ps.List
	}
	if p.Group != "" {
		ps.Messages(at, "group", p.Group, validation.IsDNS1123Subdomain(p.Group))
	}
	ps.NeedsSegment(at, "resource", p.Resource)
	ps.NeedsSegment(at, "name", p.Name)
	if p.Namespace != "" {
		ps.NeedsSegment(at, "namespace", p.Namespace)
	}
	return ps.List
}
