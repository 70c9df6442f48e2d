package apiserver

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// authorize is nil when the user may do it.
func (s *Server) authorize(ctx context.Context, a *authorizer.AttributesRecord) error {
	decision, reason, err := s.Authorizer.Authorize(ctx, a)
	if decision == authorizer.DecisionAllow {
		return nil
	}
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	return forbidden(a, reason)
}

// attributes are what an HTTP request asks to do.
func (x *exchange) attributes() *authorizer.AttributesRecord {
	t := &x.target
	a := &authorizer.AttributesRecord{
		User: x.user, Verb: t.verb, Namespace: t.namespace, APIGroup: t.group, APIVersion: t.version, Resource: t.resource,
		Subresource: t.subresource, Name: t.name, ResourceRequest: t.resourceRequest, Path: t.path,
	}
	if t.resourceRequest && !t.watchPath && selects(t.verb) {
		if q := x.values(); q != nil {
			narrow(a, q.Get("fieldSelector"), q.Get("labelSelector"))
		}
	}
	return a
}

// attributesOf are what a request from within the process asks to do.
func (s *Server) attributesOf(r *Request) *authorizer.AttributesRecord {
	a := &authorizer.AttributesRecord{
		User: r.User, Verb: r.Verb, Namespace: r.Namespace, APIGroup: r.Kind.GVK.Group, APIVersion: r.Kind.GVK.Version,
		Resource: r.Kind.Plural, Subresource: r.Subresource, Name: r.Name, ResourceRequest: true,
	}
	if selects(r.Verb) {
		narrow(a, r.ListOptions.FieldSelector, r.ListOptions.LabelSelector)
	}
	if r.Kind.Plural == "namespaces" && r.Kind.GVK.Group == "" {
		a.Namespace = r.Name
	}
	return a
}

// selects tells whether the verb honours selectors.
func selects(verb string) bool {
	return verb == "list" || verb == "watch" || verb == "deletecollection"
}

// narrow tells the authorizer which objects are selected: a node may list the pods that run on it.
func narrow(a *authorizer.AttributesRecord, field, label string) {
	if field != "" {
		selector, err := fields.ParseSelector(field)
		if err != nil {
			a.FieldSelectorParsingErr = err
		} else {
			a.FieldSelectorRequirements = selector.Requirements()
		}
	}
	if label != "" {
		selector, err := labels.Parse(label)
		if err != nil {
			a.LabelSelectorParsingErr = err
		} else {
			a.LabelSelectorRequirements, _ = selector.Requirements()
		}
	}
}
