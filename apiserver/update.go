package apiserver

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apiserver/pkg/admission"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
)

func readUpdate(x *exchange, c *call) error {
	if err := x.readUpdateOptions(&c.UpdateOptions); err != nil {
		return err
	}
	return x.readObject(c, c.UpdateOptions.FieldValidation)
}

func (x *exchange) readUpdateOptions(o *metav1.UpdateOptions) error {
	if len(x.values()) == 0 {
		return nil
	}
	if err := readOptions(x, o, func(q *url.Values, o *metav1.UpdateOptions) error {
		return metav1.Convert_url_Values_To_v1_UpdateOptions(q, o, nil)
	}); err != nil {
		return err
	}
	x.dryRun = len(o.DryRun) > 0
	return invalidOptions("UpdateOptions", validation.ValidateUpdateOptions(o))
}

func (c *call) update(ctx context.Context) (*Response, error) {
	obj, err := c.body()
	if err != nil {
		return nil, err
	}
	if err := setNamespace(obj, c.Namespace); err != nil {
		return nil, err
	}
	if err := sameName(obj, c.Name); err != nil {
		return nil, err
	}
	if err := c.rt.resource.Enter(obj, c.rt.resource.Peek(c.Namespace, c.Name)); err != nil {
		return nil, err
	}
	c.uniqueOwners(obj)
	p := c.replacing(c.UpdateOptions.FieldManager, c.UpdateOptions.FieldValidation, c.UpdateOptions.DryRun)
	o := p.options()
	o.Entered = true
	if uid := obj.GetUID(); uid != "" {
		o.UID = &uid
	}
	// The registry may ask again after a lost race, and what it was given has been changed by then.
	return p.run(ctx, o, func(context.Context, kind.Object) (kind.Object, error) { return kind.Copy(obj), nil })
}

// replacement is the common part of update and patch: the new object, whoever makes it, is tracked, admitted and stored.
type replacement struct {
	*call
	manager string
	// tracked: whoever makes the new object has kept its managed fields.
	tracked        bool
	update, create admitted
	// before is the object that the last attempt replaced.
	before kind.Object
}

func (c *call) replacing(fieldManager, fieldValidation string, dryRun []string) *replacement {
	update := &metav1.UpdateOptions{TypeMeta: typed("UpdateOptions"), DryRun: dryRun, FieldManager: fieldManager, FieldValidation: fieldValidation}
	create := &metav1.CreateOptions{TypeMeta: typed("CreateOptions"), DryRun: dryRun, FieldManager: fieldManager, FieldValidation: fieldValidation}
	return &replacement{call: c, manager: fieldManager,
		update: c.admission(admission.Update, update, dryRun), create: c.admission(admission.Create, create, dryRun)}
}

func (p *replacement) options() registry.UpdateOptions {
	o := registry.UpdateOptions{Part: p.Subresource, DryRun: p.update.dryRun, Judge: p.judge()}
	if p.validates(p.update) || p.validates(p.create) || p.rt.info.CreateOnUpdate {
		o.Admit = p.admit
	}
	return o
}

// admit is the validating admission. Who creates by update must be allowed to create.
func (p *replacement) admit(ctx context.Context, next, old kind.Object) error {
	if old != nil {
		return p.validate(ctx, p.update, next, old)
	}
	a := attributesOf(p.Request)
	a.Verb = string(kind.Create)
	if err := p.s.authorize(ctx, a); err != nil {
		return err
	}
	return p.validate(ctx, p.create, next, nil)
}

// run stores what change makes of the present object.
func (p *replacement) run(ctx context.Context, o registry.UpdateOptions, change registry.Change) (*Response, error) {
	item, created, err := p.rt.resource.Update(ctx, p.Namespace, p.Name, func(ctx context.Context, old kind.Object) (kind.Object, error) {
		p.before = old
		if err := ctx.Err(); err != nil { // nobody waits for another attempt
			return nil, err
		}
		next, err := change(ctx, old)
		if err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := p.prepare(ctx, next, old); err != nil {
			return nil, err
		}
		return next, boundManagers(next, old, p.Subresource)
	}, o)
	if err != nil {
		return nil, err
	}
	p.warnOf(item)
	code := http.StatusOK
	if created {
		code = http.StatusCreated
	}
	return &Response{Code: code, Item: item}, nil
}

// maxManaged bounds what managers may add up to, in bytes: upstream's store bounds the object with them to half as much more.
const maxManaged = 1 << 20

// boundManagers refuses a change after which the managed fields take more, unless they took as much before. Each manager adds
// as much as the object has fields, and every later change goes through all of it.
func boundManagers(next, old kind.Object, subresource string) error {
	size, most := managedSize(next), maxManaged
	if subresource != "" {
		most *= 2 // whoever writes to the object does not keep others from its status
	}
	if size <= most || old != nil && size <= managedSize(old) {
		return nil
	}
	return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("the managers' fields would take %d bytes, and at most %d are kept: apply with fewer managers, or begin anew by setting metadata.managedFields to [{}]", size, most))
}

func managedSize(o kind.Object) (size int) {
	for _, entry := range o.GetManagedFields() {
		if entry.FieldsV1 != nil {
			size += len(entry.FieldsV1.Raw)
		}
	}
	return size
}

// prepare tracks the new object and lets admission change it; old is nil when it is created.
func (p *replacement) prepare(ctx context.Context, next, old kind.Object) error {
	if !p.tracked {
		if err := p.track(next, old, p.manager); err != nil {
			return err
		}
	}
	defer p.uniqueOwners(next)
	if old == nil {
		defer p.requested(next)
		return p.mutate(ctx, p.create, next, nil)
	}
	return p.mutate(ctx, p.update, next, old)
}

// warnOf adds what the kind has to say about the stored object.
func (p *replacement) warnOf(item *registry.Item) {
	texts := p.rt.info.Warnings
	if part, ok := p.rt.info.Part(p.Subresource); ok {
		texts = part.Warnings
	}
	p.warn.add(texts(item.Object(), p.before)...)
}
