package networking

import (
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// IngressClass is the kind of ingress classes.
var IngressClass = kind.Define(kind.Resource{
	GroupVersion: networkingv1.SchemeGroupVersion, Plural: "ingressclasses",
	List: kind.ListOf[networkingv1.IngressClassList], HasGeneration: true,
}, kind.Rules[networkingv1.IngressClass]{
	Default:     defaultIngressClass,
	Validate:    validateIngressClass,
	SpecChanged: func(new, old *networkingv1.IngressClass) bool { return !kind.Same(&new.Spec, &old.Spec) },
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
	if p := c.Spec.Parameters; p != nil && p.Scope == nil {
		scope := networkingv1.IngressClassParametersReferenceScopeCluster
		p.Scope = &scope
	}
}

const controllerNameMax = 250

var parameterScopes = []string{networkingv1.IngressClassParametersReferenceScopeCluster, networkingv1.IngressClassParametersReferenceScopeNamespace}

func validateIngressClass(c, old *networkingv1.IngressClass) field.ErrorList {
	var errs field.ErrorList
	at := field.NewPath("spec", "controller")
	if len(c.Spec.Controller) > controllerNameMax {
		errs = append(errs, field.TooLong(at, "", controllerNameMax))
	}
	errs = append(errs, validation.IsDomainPrefixedPath(at, c.Spec.Controller)...)
	if c.Spec.Parameters != nil {
		errs = append(errs, validateParameters(c.Spec.Parameters, field.NewPath("spec", "parameters"))...)
	}
	if old != nil {
		errs = append(errs, apivalidation.ValidateImmutableField(c.Spec.Controller, old.Spec.Controller, at)...)
	}
	return errs
}

func validateParameters(p *networkingv1.IngressClassParametersReference, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if p.APIGroup != nil {
		for _, msg := range validation.IsDNS1123Subdomain(*p.APIGroup) {
			errs = append(errs, field.Invalid(at.Child("apiGroup"), *p.APIGroup, msg))
		}
	}
	segment := func(child, value string) {
		if value == "" {
			errs = append(errs, field.Required(at.Child(child), ""))
			return
		}
		for _, msg := range path.IsValidPathSegmentName(value) {
			errs = append(errs, field.Invalid(at.Child(child), value, msg))
		}
	}
	segment("kind", p.Kind)
	segment("name", p.Name)
	switch {
	case p.Scope == nil:
		return append(errs, field.Required(at.Child("scope"), ""))
	case !slices.Contains(parameterScopes, *p.Scope):
		return append(errs, field.NotSupported(at.Child("scope"), *p.Scope, parameterScopes))
	}
	namespaced, given := *p.Scope == networkingv1.IngressClassParametersReferenceScopeNamespace, p.Namespace != nil && *p.Namespace != ""
	switch {
	case namespaced && !given:
		errs = append(errs, field.Required(at.Child("namespace"), "needed for scope 'Namespace'"))
	case namespaced:
		for _, msg := range apivalidation.ValidateNamespaceName(*p.Namespace, false) {
			errs = append(errs, field.Invalid(at.Child("namespace"), *p.Namespace, msg))
		}
	case given:
		errs = append(errs, field.Forbidden(at.Child("namespace"), "may not be given for scope 'Cluster'"))
	}
	return errs
}
