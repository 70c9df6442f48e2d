package networking

import (
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// IngressClass is the kind of ingress classes.
var IngressClass = kind.Define(kind.Resource{
	GroupVersion: networkingv1.SchemeGroupVersion, Plural: "ingressclasses",
	List: kind.ListOf[networkingv1.IngressClassList], HasGeneration: true,
}, kind.Rules[networkingv1.IngressClass]{
	Default:  defaultIngressClass,
	Validate: validateIngressClass,
	Columns: kind.Columns([]kind.Column[networkingv1.IngressClass]{
		kind.Text("Controller", "Controller that is responsible for handling this class", func(c *networkingv1.IngressClass) string { return c.Spec.Controller }),
		kind.Text("Parameters", "A reference to a resource with additional parameters", func(c *networkingv1.IngressClass) string { return parametersCell(c.Spec.Parameters) }),
	}),
})

func parametersCell(p *networkingv1.IngressClassParametersReference) string {
	if p == nil {
		return "<none>"
	}
	out := p.Kind
	if p.APIGroup != nil {
		out += "." + *p.APIGroup
	}
	return out + "/" + p.Name
}

func defaultIngressClass(c *networkingv1.IngressClass) {
	if p := c.Spec.Parameters; p != nil {
		kind.FillPointer(&p.Scope, networkingv1.IngressClassParametersReferenceScopeCluster)
	}
}

const controllerNameMax = 250

var parameterScopes = []string{networkingv1.IngressClassParametersReferenceScopeCluster, networkingv1.IngressClassParametersReferenceScopeNamespace}

func validateIngressClass(c, old *networkingv1.IngressClass) field.ErrorList {
	var ps kind.Problems
	at := field.NewPath("spec", "controller")
	if len(c.Spec.Controller) > controllerNameMax {
		ps.TooLong(at, "", controllerNameMax)
	}
	ps.Add(validation.IsDomainPrefixedPath(at, c.Spec.Controller))
	if c.Spec.Parameters != nil {
		ps.Add(validateParameters(c.Spec.Parameters, field.NewPath("spec", "parameters")))
	}
	if old != nil {
		ps.Add(apivalidation.ValidateImmutableField(c.Spec.Controller, old.Spec.Controller, at))
	}
	return ps.List
}

func validateParameters(p *networkingv1.IngressClassParametersReference, at *field.Path) field.ErrorList {
	var ps kind.Problems
	if p.APIGroup != nil {
		ps.Messages(at, "apiGroup", *p.APIGroup, validation.IsDNS1123Subdomain(*p.APIGroup))
	}
	ps.NeedsSegment(at, "kind", p.Kind)
	ps.NeedsSegment(at, "name", p.Name)
	switch {
	case p.Scope == nil:
		ps.Required(at, "scope", "")
		return ps.List
	case !slices.Contains(parameterScopes, *p.Scope):
		kind.Unsupported(&ps, at, "scope", *p.Scope, parameterScopes...)
		return ps.List
	}
	namespaced, given := *p.Scope == networkingv1.IngressClassParametersReferenceScopeNamespace, p.Namespace != nil && *p.Namespace != ""
	switch {
	case namespaced && !given:
		ps.Required(at, "namespace", "needed for scope 'Namespace'")
	case namespaced:
		ps.Messages(at, "namespace", *p.Namespace, apivalidation.ValidateNamespaceName(*p.Namespace, false))
	case given:
		ps.Forbidden(at, "namespace", "may not be given for scope 'Cluster'")
	}
	return ps.List
}
