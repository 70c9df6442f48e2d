package networking

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// NetworkPolicy is the kind of network policies.
var NetworkPolicy = kind.Define(kind.Resource{
	GroupVersion: networkingv1.SchemeGroupVersion, Plural: "networkpolicies", ShortNames: []string{"netpol"}, Namespaced: true,
	List: kind.ListOf[networkingv1.NetworkPolicyList], HasGeneration: true,
}, kind.Rules[networkingv1.NetworkPolicy]{
	Default:  defaultNetworkPolicy,
	Validate: validateNetworkPolicy,
	Columns: kind.Columns([]kind.Column[networkingv1.NetworkPolicy]{
		kind.Text("Pod-Selector", kind.Doc(networkingv1.NetworkPolicySpec{}, "podSelector"), func(p *networkingv1.NetworkPolicy) string {
			return metav1.FormatLabelSelector(&p.Spec.PodSelector)
		}),
	}),
})

func defaultNetworkPolicy(p *networkingv1.NetworkPolicy) {
	ports := func(list []networkingv1.NetworkPolicyPort) {
		for n := range list {
			kind.FillPointer(&list[n].Protocol, corev1.ProtocolTCP)
		}
	}
	for n := range p.Spec.Ingress {
		ports(p.Spec.Ingress[n].Ports)
	}
	for n := range p.Spec.Egress {
		ports(p.Spec.Egress[n].Ports)
	}
	if len(p.Spec.PolicyTypes) == 0 {
		p.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
		if len(p.Spec.Egress) > 0 {
			p.Spec.PolicyTypes = append(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
		}
	}
}

var (
	policyTypes     = []networkingv1.PolicyType{networkingv1.PolicyTypeEgress, networkingv1.PolicyTypeIngress}
	policyProtocols = []corev1.Protocol{corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP}
)

// validateNetworkPolicy judges p; blocks and selectors that old held may keep an old form.
func validateNetworkPolicy(p, old *networkingv1.NetworkPolicy) field.ErrorList {
	v := policyCheck{}
	if old != nil {
		v.known = policyBlocks(old)
		v.selectors.AllowInvalidLabelValueInSelector = policyHasInvalidSelector(old)
	}
	path := field.NewPath("spec")
	var ps kind.Problems
	ps.Add(metav1validation.ValidateLabelSelector(&p.Spec.PodSelector, v.selectors, path.Child("podSelector")))
	for n, rule := range p.Spec.Ingress {
		ps.Add(v.rule(rule.Ports, rule.From, path.Child("ingress").Index(n), "from"))
	}
	for n, rule := range p.Spec.Egress {
		ps.Add(v.rule(rule.Ports, rule.To, path.Child("egress").Index(n), "to"))
	}
	if len(p.Spec.PolicyTypes) > len(policyTypes) {
		ps.Invalid(path, "policyTypes", p.Spec.PolicyTypes, "may hold no more than two types")
		return ps.List
	}
	for n, t := range p.Spec.PolicyTypes {
		if !slices.Contains(policyTypes, t) {
			kind.Unsupported(&ps, path.Child("policyTypes").Index(n), "", t, policyTypes...)
		}
	}
	return ps.List
}

func policyPeers(p *networkingv1.NetworkPolicy) []networkingv1.NetworkPolicyPeer {
	var out []networkingv1.NetworkPolicyPeer
	for _, rule := range p.Spec.Ingress {
		out = append(out, rule.From...)
	}
	for _, rule := range p.Spec.Egress {
		out = append(out, rule.To...)
	}
	return out
}

func policyBlocks(p *networkingv1.NetworkPolicy) []string {
	var out []string
	for _, peer := range policyPeers(p) {
		if peer.IPBlock != nil {
			out = append(append(out, peer.IPBlock.CIDR), peer.IPBlock.Except...)
		}
	}
	return out
}

func policyHasInvalidSelector(p *networkingv1.NetworkPolicy) bool {
	if metav1validation.LabelSelectorHasInvalidLabelValue(&p.Spec.PodSelector) {
		return true
	}
	return slices.ContainsFunc(policyPeers(p), func(peer networkingv1.NetworkPolicyPeer) bool {
		return metav1validation.LabelSelectorHasInvalidLabelValue(peer.PodSelector) ||
			metav1validation.LabelSelectorHasInvalidLabelValue(peer.NamespaceSelector)
	})
}

// policyCheck is one judgement of a policy, with what may stay as it was.
type policyCheck struct {
	known     []string
	selectors metav1validation.LabelSelectorValidationOptions
}

func (v *policyCheck) rule(ports []networkingv1.NetworkPolicyPort, peers []networkingv1.NetworkPolicyPeer, path *field.Path, side string) field.ErrorList {
	var ps kind.Problems
	for n := range ports {
		ps.Add(validatePolicyPort(&ports[n], path.Child("ports").Index(n)))
	}
	for n := range peers {
		ps.Add(v.peer(&peers[n], path.Child(side).Index(n)))
	}
	return ps.List
}

func validatePolicyPort(p *networkingv1.NetworkPolicyPort, path *field.Path) field.ErrorList {
	var ps kind.Problems
	if p.Protocol != nil {
		kind.OneOf(&ps, path, "protocol", *p.Protocol, policyProtocols...)
	}
	end := path.Child("endPort")
	switch {
	case p.Port == nil:
		if p.EndPort != nil {
			ps.Invalid(end, "", *p.EndPort, "may not be given without port")
		}
	case p.Port.Type == intstr.Int:
		for _, m := range validation.IsValidPortNum(int(p.Port.IntVal)) {
			ps.Invalid(path, "port", p.Port.IntVal, m)
		}
		if p.EndPort != nil {
			if *p.EndPort < p.Port.IntVal {
				ps.Invalid(end, "", *p.EndPort, "must be greater than or equal to `port`")
			}
			for _, m := range validation.IsValidPortNum(int(*p.EndPort)) {
				ps.Invalid(end, "", *p.EndPort, m)
			}
		}
	default:
		if p.EndPort != nil {
			ps.Invalid(end, "", *p.EndPort, "may not be given when port is a name")
		}
		ps.Messages(path, "port", p.Port.StrVal, validation.IsValidPortName(p.Port.StrVal))
	}
	return ps.List
}

func (v *policyCheck) peer(p *networkingv1.NetworkPolicyPeer, path *field.Path) field.ErrorList {
	var ps kind.Problems
	if p.PodSelector != nil {
		ps.Add(metav1validation.ValidateLabelSelector(p.PodSelector, v.selectors, path.Child("podSelector")))
	}
	if p.NamespaceSelector != nil {
		ps.Add(metav1validation.ValidateLabelSelector(p.NamespaceSelector, v.selectors, path.Child("namespaceSelector")))
	}
	selects := p.PodSelector != nil || p.NamespaceSelector != nil
	switch {
	case p.IPBlock != nil:
		ps.Add(v.block(p.IPBlock, path.Child("ipBlock")))
		if selects {
			ps.Forbidden(path, "", "may not give both ipBlock and another peer")
		}
	case !selects:
		ps.Required(path, "", "must give a peer")
	}
	return ps.List
}

func (v *policyCheck) block(b *networkingv1.IPBlock, path *field.Path) field.ErrorList {
	var ps kind.Problems
	if b.CIDR == "" {
		ps.Required(path, "cidr", "")
		return ps.List
	}
	ps.Add(validation.IsValidCIDRForLegacyField(path.Child("cidr"), b.CIDR, true, v.known))
	whole, err := netip.ParsePrefix(b.CIDR)
	if len(ps.List) > 0 || err != nil {
		return ps.List
	}
	for n, text := range b.Except {
		at := path.Child("except").Index(n)
		invalid := validation.IsValidCIDRForLegacyField(at, text, true, v.known)
		ps.Add(invalid)
		part, err := netip.ParsePrefix(text)
		if len(invalid) == 0 && err == nil && (!whole.Contains(part.Addr()) || part.Bits() <= whole.Bits()) {
			ps.Invalid(at, "", text, "must be a strict subset of `cidr`")
		}
	}
	return ps.List
}
