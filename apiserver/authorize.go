package apiserver

import (
	"context"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// authorize is nil when the user may do it.
func (s *Server) authorize(ctx context.Context, a *attributes) error {
	decision, reason, err := s.Authorizer.Authorize(ctx, a)
	if decision == authorizer.DecisionAllow {
		return nil
	}
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	return forbidden(&a.AttributesRecord, reason)
}

// attributes are what an HTTP request asks to do.
func (x *exchange) attributes() *attributes {
	t := &x.target
	a := &attributes{AttributesRecord: authorizer.AttributesRecord{
		User: x.user, Verb: string(t.verb), Namespace: t.namespace, APIGroup: t.group, APIVersion: t.version, Resource: t.resource,
		Subresource: t.subresource, Name: t.name, ResourceRequest: t.resourceRequest, Path: t.path,
	}}
	if t.resourceRequest && !t.watchPath && t.verb.Selects() {
		if q := x.values(); q != nil {
			a.field, a.label = q.Get("fieldSelector"), q.Get("labelSelector")
		}
	}
	return a
}

// attributesOf are what a request from within the process asks to do.
func attributesOf(r *Request) *attributes {
	t := targetOf(r)
	return t.attributes(r)
}

func (t *target) attributes(r *Request) *attributes {
	a := &attributes{AttributesRecord: authorizer.AttributesRecord{
		User: r.User, Verb: string(t.verb), Namespace: t.namespace, APIGroup: t.group, APIVersion: t.version,
		Resource: t.resource, Subresource: t.subresource, Name: t.name, ResourceRequest: true,
	}}
	if r.Verb.Selects() {
		a.field, a.label = r.ListOptions.FieldSelector, r.ListOptions.LabelSelector
	}
	return a
}

// attributes tell an authorizer which objects are selected only when it asks: a node may list the pods that run on it, and for
// anybody else selectors are not parsed before it is known that they may list.
type attributes struct {
	authorizer.AttributesRecord
	field, label string
}

// errLongSelector: objects that a selector names are not looked for in one that will be refused.
var errLongSelector = errors.New("the selector is too long")

// GetFieldSelector implements authorizer.Attributes.
func (a *attributes) GetFieldSelector() (fields.Requirements, error) {
	switch {
	case a.field == "":
		return nil, nil
	case len(a.field) > maxSelector:
		return nil, errLongSelector
	}
	selector, err := fields.ParseSelector(a.field)
	if err != nil {
		return nil, err
	}
	return selector.Requirements(), nil
}

// GetLabelSelector implements authorizer.Attributes.
func (a *attributes) GetLabelSelector() (labels.Requirements, error) {
	switch {
	case a.label == "":
		return nil, nil
	case len(a.label) > maxSelector:
		return nil, errLongSelector
	}
	selector, err := labels.Parse(a.label)
	if err != nil {
		return nil, err
	}
	requirements, _ := selector.Requirements()
	return requirements, nil
}
