package apiserver

import (
	"context"
	"net/http"
	"net/url"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apiserver/pkg/admission"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
)

func (s *Server) serveCreate(x *exchange, rt *route) {
	if a := s.actionFor(rt.info, ""); a != nil {
		s.serveBody(x, rt, a)
		return
	}
	r, w := x.request(rt), &warnings{}
	if err := x.readCreateOptions(&r.CreateOptions); err != nil {
		x.fail(err)
		return
	}
	x.runWithBody(s, rt, r, r.CreateOptions.FieldValidation, w)
}

// runWithBody decodes the body, an object of the route's kind, and runs the request with it.
func (x *exchange) runWithBody(s *Server, rt *route, r *Request, fieldValidation string, w *warnings) {
	obj := rt.info.New()
	if err := x.decode(s, obj, rt.info.GVK, fieldValidation, w); err != nil {
		x.fail(err)
		return
	}
	r.Object = obj
	x.run(s, rt, r, w)
}

func (x *exchange) readCreateOptions(o *metav1.CreateOptions) error {
	if len(x.values()) == 0 {
		return nil
	}
	if err := readOptions(x, o, func(q *url.Values, o *metav1.CreateOptions) error {
		return metav1.Convert_url_Values_To_v1_CreateOptions(q, o, nil)
	}); err != nil {
		return err
	}
	x.dryRun = len(o.DryRun) > 0
	return invalidOptions("CreateOptions", validation.ValidateCreateOptions(o))
}

func (c *call) create(ctx context.Context) (*Response, error) {
	obj, err := c.body()
	if err != nil {
		return nil, err
	}
	if err := place(obj, c.Namespace); err != nil {
		return nil, err
	}
	obj.SetDeletionTimestamp(nil)
	obj.SetDeletionGracePeriodSeconds(nil)
	if err := c.rt.resource.Enter(obj, nil); err != nil {
		return nil, err
	}
	c.uniqueOwners(obj)
	if err := c.track(obj, nil, c.CreateOptions.FieldManager); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c.CreateOptions.TypeMeta = typed("CreateOptions")
	a := c.admission(admission.Create, &c.CreateOptions, c.CreateOptions.DryRun)
	if err := c.mutate(ctx, a, obj, nil); err != nil {
		return nil, err
	}
	c.uniqueOwners(obj)
	o := registry.CreateOptions{DryRun: a.dryRun, Entered: true}
	if c.validates(a) {
		o.Admit = func(ctx context.Context, obj kind.Object) error { return c.validate(ctx, a, obj, nil) }
	}
	item, err := c.rt.resource.Create(ctx, obj, o)
	if err != nil {
		return nil, err
	}
	c.warn.add(c.rt.info.Warnings(item.Object(), nil)...)
	return &Response{Code: http.StatusCreated, Item: item}, nil
}
