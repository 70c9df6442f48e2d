package apiserver

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/patch"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
)

func readPatch(x *exchange, c *call) error {
	contentType, _, _ := strings.Cut(x.r.Header.Get("Content-Type"), ";")
	c.PatchType = types.PatchType(strings.TrimSpace(contentType))
	if known := patch.Types(c.rt.bodyOf(c.Subresource)); !slices.Contains(known, string(c.PatchType)) {
		return unsupportedMediaType(known)
	}
	var err error
	// A patch is kept for a second attempt: its bytes are not in a shared buffer.
	if c.Patch, err = x.readBody(nil); err != nil {
		return err
	}
	if err := x.readPatchOptions(&c.PatchOptions, c.PatchType); err != nil {
		return err
	}
	// A short patch of a large object is heavy too.
	if item, err := c.rt.resource.Get(x.ctx, c.Namespace, c.Name, "0"); err == nil {
		x.size = max(x.size, item.Size())
	}
	return nil
}

func (x *exchange) readPatchOptions(o *metav1.PatchOptions, t types.PatchType) error {
	if err := readOptions(x, o, func(q *url.Values, o *metav1.PatchOptions) error {
		return metav1.Convert_url_Values_To_v1_PatchOptions(q, o, nil)
	}); err != nil {
		return err
	}
	x.dryRun = len(o.DryRun) > 0
	return invalidOptions("PatchOptions", validation.ValidatePatchOptions(o, t))
}

func (c *call) patch(ctx context.Context) (*Response, error) {
	p := c.replacing(c.PatchOptions.FieldManager, c.PatchOptions.FieldValidation, c.PatchOptions.DryRun)
	if c.PatchType == types.ApplyYAMLPatchType && c.s.Tracker != nil {
		return p.apply(ctx)
	}
	return p.run(ctx, p.options(), func(_ context.Context, old kind.Object) (kind.Object, error) {
		if old == nil {
			return nil, apierrors.NewNotFound(c.rt.info.GR(), c.Name)
		}
		return c.patched(c.rt.info, old)
	})
}

// applyAttempts bounds how often apply starts anew because the object has come or gone meanwhile.
const applyAttempts = 5

// apply is server-side apply: it changes the object, or creates it if there is none.
func (p *replacement) apply(ctx context.Context) (*Response, error) {
	p.tracked = true
	for attempt := 1; ; attempt++ {
		resp, err := p.run(ctx, p.options(), func(_ context.Context, old kind.Object) (kind.Object, error) { return p.configured(old) })
		if !apierrors.IsNotFound(err) || p.before != nil || p.Subresource != "" {
			return resp, err
		}
		resp, err = p.applyNew(ctx)
		if !apierrors.IsAlreadyExists(err) || attempt == applyAttempts {
			return resp, err
		}
	}
}

// configured is the object that the configuration makes of old, which is nil if there is none.
func (p *replacement) configured(old kind.Object) (kind.Object, error) {
	force := p.PatchOptions.Force
	next, texts, err := p.s.Tracker.Apply(patch.Configuration{Kind: p.rt.info, Namespace: p.Namespace, Name: p.Name, Subresource: p.Subresource,
		Data: p.Patch, Manager: p.manager, Force: force != nil && *force, FieldValidation: p.PatchOptions.FieldValidation, Now: p.s.Now()}, old)
	if err != nil {
		return nil, err
	}
	p.warn.add(texts...)
	return next, nil
}

func (p *replacement) applyNew(ctx context.Context) (*Response, error) {
	next, err := p.configured(nil)
	if err != nil {
		return nil, err
	}
	next.SetResourceVersion("") // an object that does not exist has none to be compared
	if err := setNamespace(next, p.Namespace); err != nil {
		return nil, err
	}
	if err := p.prepare(ctx, next, nil); err != nil {
		return nil, err
	}
	item, err := p.rt.resource.Create(ctx, next, registry.CreateOptions{DryRun: p.create.dryRun, Judge: p.judge(),
		Admit: func(ctx context.Context, obj kind.Object) error { return p.admit(ctx, obj, nil) }})
	if err != nil {
		return nil, err
	}
	p.warn.add(p.rt.info.Warnings(item.Object(), nil)...)
	return &Response{Code: http.StatusCreated, Item: item}, nil
}

// patched applies the request's patch to an object.
func (c *call) patched(k *kind.Kind, old kind.Object) (kind.Object, error) {
	next, texts, err := patch.Apply(k, c.PatchType, c.Patch, old, c.PatchOptions.FieldValidation)
	if err != nil {
		return nil, err
	}
	c.warn.add(texts...)
	return next, nil
}
