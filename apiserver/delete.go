package apiserver

import (
	"context"
	"net/http"
	"net/url"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/codec"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
)

func readDelete(x *exchange, c *call) error { return x.readDeleteOptions(&c.DeleteOptions) }

func readDeleteCollection(x *exchange, c *call) error {
	if err := x.readListOptions(&c.ListOptions); err != nil {
		return err
	}
	return x.readDeleteOptions(&c.DeleteOptions)
}

// readDeleteOptions reads the body if there is one, else the query.
func (x *exchange) readDeleteOptions(o *metav1.DeleteOptions) error {
	body, err := x.readBody(nil)
	if err != nil {
		return err
	}
	if len(body) > 0 {
		format, ok := codec.FormatOf(x.r.Header.Get("Content-Type"))
		if !ok {
			return unsupportedMediaType(codec.Supported)
		}
		// Old clients send the options in the group of the object that they delete.
		got, _, err := codec.Decode(format, body, o, schema.GroupVersionKind{Version: "v1", Kind: "DeleteOptions"}, metav1.FieldValidationIgnore)
		if err != nil {
			return undecodable(err, got, schema.GroupVersionKind{Version: "v1", Kind: "DeleteOptions"}, body)
		}
		if got.Kind != "DeleteOptions" {
			return apierrors.NewBadRequest("decoded object cannot be converted to DeleteOptions")
		}
	} else if err := readOptions(x, o, func(q *url.Values, o *metav1.DeleteOptions) error {
		return metav1.Convert_url_Values_To_v1_DeleteOptions(q, o, nil)
	}); err != nil {
		return err
	}
	x.dryRun = len(o.DryRun) > 0
	return nil
}

// deleteOptions checks the options and adds admission.
func (c *call) deleteOptions() (registry.DeleteOptions, error) {
	o := registry.DeleteOptions{DeleteOptions: c.DeleteOptions, DryRun: len(c.DeleteOptions.DryRun) > 0}
	if err := invalidOptions("DeleteOptions", validation.ValidateDeleteOptions(&o.DeleteOptions)); err != nil {
		return o, err
	}
	c.DeleteOptions.TypeMeta = typed("DeleteOptions")
	a := c.admission(admission.Delete, &c.DeleteOptions, c.DeleteOptions.DryRun)
	if c.validates(a) || c.s.mutates != nil && c.s.mutates.Handles(a.operation) {
		// Asked at each attempt, of the object that would go then.
		o.Admit = func(ctx context.Context, old kind.Object) error {
			if err := c.mutate(ctx, a, nil, old); err != nil {
				return err
			}
			return c.validate(ctx, a, nil, old)
		}
	}
	return o, nil
}

func (c *call) delete(ctx context.Context) (*Response, error) {
	o, err := c.deleteOptions()
	if err != nil {
		return nil, err
	}
	if err := c.authorizeUnsafe(ctx); err != nil {
		return nil, err
	}
	item, removed, err := c.rt.resource.Delete(ctx, c.Namespace, c.Name, o)
	if err != nil {
		return nil, err
	}
	resp := &Response{Code: http.StatusOK}
	if orphan := c.DeleteOptions.OrphanDependents; !removed && orphan != nil && !*orphan { //nolint:staticcheck // old clients set it
		resp.Code = http.StatusAccepted
	}
	if !removed || c.rt.info.DeleteReturnsObject && item != nil {
		resp.Item = item
		return resp, nil
	}
	details := &metav1.StatusDetails{Name: c.Name, Group: c.rt.info.GVK.Group, Kind: c.rt.info.Plural}
	if item != nil {
		details.UID = item.Object().GetUID()
	}
	resp.Object = &metav1.Status{Status: metav1.StatusSuccess, Details: details}
	return resp, nil
}

// force tells that the options ask for the deletion of what cannot be read.
func force(o *metav1.DeleteOptions) bool {
	return o.IgnoreStoreReadErrorWithClusterBreakingPotential != nil && *o.IgnoreStoreReadErrorWithClusterBreakingPotential
}

// authorizeUnsafe: who deletes what cannot be read, past finalizers and admission, needs a verb of its own.
func (c *call) authorizeUnsafe(ctx context.Context) error {
	if !force(&c.DeleteOptions) {
		return nil
	}
	a := attributesOf(c.Request)
	a.Verb = "unsafe-delete-ignore-read-errors"
	return c.s.authorize(ctx, a)
}

func (c *call) deleteCollection(ctx context.Context) (*Response, error) {
	l, err := c.listOptions()
	if err != nil {
		return nil, err
	}
	if force(&c.DeleteOptions) {
		return nil, invalidOptions("DeleteOptions", field.ErrorList{field.Invalid(field.NewPath("ignoreStoreReadErrorWithClusterBreakingPotential"), true,
			"must not be set to delete a collection: delete the objects that cannot be read one by one")})
	}
	o, err := c.deleteOptions()
	if err != nil {
		return nil, err
	}
	list, err := c.rt.resource.DeleteCollection(ctx, l, o)
	if err != nil {
		return nil, err
	}
	return &Response{Code: http.StatusOK, List: list}, nil
}
