package apiserver

import (
	"context"
	"net/http"
	"net/url"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apiserver/pkg/admission"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/codec"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
)

func readCreate(x *exchange, c *call) error {
	if err := x.readCreateOptions(&c.CreateOptions); err != nil {
		return err
	}
	return x.readObject(c, c.CreateOptions.FieldValidation)
}

// readObject decodes the body, an object of the resource's kind.
func (x *exchange) readObject(c *call, fieldValidation string) error {
	types := codec.SupportedBy(c.rt.info)
	if format, ok := codec.FormatOf(x.r.Header.Get("Content-Type")); !ok || !slices.Contains(types, format.ContentType()) {
		return unsupportedMediaType(types)
	}
	obj := c.rt.info.New()
	c.Object = obj
	return x.decode(c.s, obj, c.rt.info.GVK, fieldValidation, c.warn)
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

// create is an object's way in, up to the registry. Whatever changes the object comes before whatever judges it. Who set which
// field is noted before admission changes any, as upstream does.
func (c *call) create(ctx context.Context) (*Response, error) {
	obj, err := c.body()
	if err != nil {
		return nil, err
	}
	if err := setNamespace(obj, c.Namespace); err != nil {
		return nil, err
	}
	obj.SetDeletionTimestamp(nil) // the manifest may be a copy of an object that was on its way out
	obj.SetDeletionGracePeriodSeconds(nil)
	if err := c.rt.resource.Enter(obj, nil); err != nil {
		return nil, err
	}
	c.uniqueOwners(obj)
	if err := c.track(obj, nil, c.CreateOptions.FieldManager); err != nil {
		return nil, err
	}
	// Large objects take their time up to here; nobody is asked about one whose request is over.
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c.CreateOptions.TypeMeta = typed("CreateOptions")
	a := c.admission(admission.Create, &c.CreateOptions, c.CreateOptions.DryRun)
	if err := c.mutate(ctx, a, obj, nil); err != nil {
		return nil, err
	}
	c.uniqueOwners(obj) // admission may have added some
	c.requested(obj)
	o := registry.CreateOptions{DryRun: a.dryRun, Entered: true, Judge: c.judge()}
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
