package networking

import (
	"slices"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// IngressClass is the kind of ingress classes.
var IngressClass = kind.Kind[*networkingv1.IngressClass]{
	Group: "networking.k8s.io", Version: "v1", Kind: "IngressClass", Plural: "ingressclasses",
	New:       func() *networkingv1.IngressClass { return &networkingv1.IngressClass{} },
	NewList:   func() runtime.Object { return &networkingv1.IngressClassList{} },
	Default:   defaultIngressClass,
	ValidName: apivalidation.NameIsDNSSubdomain,
	Validate:  validateIngressClass,
	ValidateUpdate: func(new, old *networkingv1.IngressClass) field.ErrorList {
		return append(validateIngressClass(new),
			apivalidation.ValidateImmutableField(new.Spec.Controller, old.Spec.Controller, field.NewPath("spec", "controller"))...)
	},
	HasGeneration: true,
	SpecChanged: func(new, old *networkingv1.IngressClass) bool {
		return !apiequality.Semantic.DeepEqual(&new.Spec, &old.Spec)
	},
	Columns: []kind.Column[*networkingv1.IngressClass]{
		kind.NameColumn[*networkingv1.IngressClass](),
		{Name: "Controller", Type: "string", Description: "Controller that is responsible for handling this class",
			Cell: func(c *networkingv1.IngressClass, _ time.Time) any { return c.Spec.Controller }},
		{Name: "Parameters", Type: "string", Description: "A reference to a resource with additional parameters",
			Cell: func(c *networkingv1.IngressClass, _ time.Time) any { return parametersCell(c.Spec.Parameters) }},
		kind.AgeColumn[*networkingv1.IngressClass](),
	},
}

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

func validateIngressClass(c *networkingv1.IngressClass) field.ErrorList {
	var errs field.ErrorList
	at := field.NewPath("spec", "controller")
	if len(c.Spec.Controller) > controllerNameMax {
		errs = append(errs, field.TooLong(at, "", controllerNameMax))
	}
	errs = append(errs, validation.IsDomainPrefixedPath(at, c.Spec.Controller)...)
	if c.Spec.Parameters != nil {
		errs = append(errs, validateParameters(c.Spec.Parameters, field.NewPath("spec", "parameters"))...)
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
