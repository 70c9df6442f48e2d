package apiserver

import (
	"context"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
)

// Computed gives the objects of a kind that is kept nowhere, as they are now, in the order of their names.
type Computed func(ctx context.Context) []kind.Object

func (f Computed) get(c *call, ctx context.Context) (*Response, error) {
	for _, o := range f(ctx) {
		if o.GetName() == c.Name {
			return &Response{Code: http.StatusOK, Item: registry.Compute(c.rt.info, o)}, nil
		}
	}
	gr := c.rt.gvr.GroupResource()
	gr.Resource = c.rt.info.Singular // as upstream names it for the one kind there is
	return nil, apierrors.NewNotFound(gr, c.Name)
}

func (f Computed) list(c *call, ctx context.Context) (*Response, error) {
	if err := checkSelectors(&c.ListOptions); err != nil {
		return nil, err
	}
	label, err := labels.Parse(c.ListOptions.LabelSelector)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	field, err := fields.ParseSelector(c.ListOptions.FieldSelector)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if err := supported(c.rt.info, field); err != nil {
		return nil, err
	}
	list := &registry.List{}
	for _, o := range f(ctx) {
		if label.Matches(labels.Set(o.GetLabels())) && field.Matches(fields.Set{"metadata.name": o.GetName(), "metadata.namespace": o.GetNamespace()}) {
			list.Items = append(list.Items, registry.Compute(c.rt.info, o))
		}
	}
	return &Response{Code: http.StatusOK, List: list}, nil
}
