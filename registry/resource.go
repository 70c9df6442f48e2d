package registry

import (
	"context"
	"sync/atomic"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// Resource is the objects of one kind. Its errors are *errors.StatusError of apimachinery, except that the error of
// a context that ended is passed on as it is.
type Resource struct {
	reg   *Registry
	table *table
	info  *kind.Kind
	// layout of the items that are handed out.
	layout *layout
	// via is set if another kind stores the objects.
	via *kind.Conversion
	// ended tells why this shape is served no more, though the objects are; nil while it is. Set with the table's lock held.
	ended atomic.Pointer[error]
}

// end tells everybody that this shape of a table's objects is served no more: its watches end with 410, its subscriptions end, and
// requests fail.
func (r *Resource) end(why error) {
	t := r.table
	t.mu.Lock()
	defer t.mu.Unlock()
	r.ended.Store(&why)
	t.watchers.close(func(of *Resource) bool { return of == r })
}

// live fails when the resource is served no more: this shape of the objects, or all of them.
func (r *Resource) live() error {
	if why := r.ended.Load(); why != nil {
		return *why
	}
	return r.table.live()
}

// Info is the kind's definition.
func (r *Resource) Info() *kind.Kind { return r.info }

// gr names the resource in errors.
func (r *Resource) gr() schema.GroupResource { return r.info.GR() }

// served is a table's item in the shape that this resource serves.
func (r *Resource) served(i *Item) *Item {
	if r.via == nil || i == nil || i.layout == r.layout {
		return i
	}
	stored, err := i.Decode()
	converted := &Item{layout: r.layout, key: i.key, revision: i.revision}
	if err == nil {
		var o kind.Object
		if o, err = r.via.FromStored(stored); err == nil {
			o.SetResourceVersion(stored.GetResourceVersion())
			converted.object.Store(&decoded{object: o})
			return converted
		}
	}
	converted.object.Store(&decoded{err: err})
	return converted
}

// item makes the item that stores an object, which is in the shape that this resource serves.
func (r *Resource) item(key string, o kind.Object) (*Item, error) {
	if r.via == nil {
		return r.table.write(key, o)
	}
	stored, err := r.via.ToStored(o)
	if err != nil {
		return nil, err
	}
	return r.table.write(key, stored)
}

// whenLoaded waits for the first load of the mirror.
func (r *Registry) whenLoaded(ctx context.Context) error {
	select {
	case <-r.ready:
		return nil
	default:
	}
	select {
	case <-r.ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Get reads one object. resourceVersion "" is a consistent read, "0" takes what the mirror has,
// another waits until the mirror is at least there.
func (r *Resource) Get(ctx context.Context, namespace, name, resourceVersion string) (*Item, error) {
	revision, err := parseRevision(resourceVersion)
	if err != nil {
		return nil, unspecified(err)
	}
	if err := r.reg.reach(ctx, resourceVersion, revision); err != nil {
		return nil, err
	}
	key := r.key(namespace, name)
	if err := r.legible(key); err != nil {
		return nil, err
	}
	i := r.served(r.table.get(key))
	if i == nil {
		return nil, apierrors.NewNotFound(r.gr(), name)
	}
	if i.value.Readable() {
		return i, nil // it is known to decode, and not everybody asks for that
	}
	if _, err := i.Decode(); err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return i, nil
}

// reach waits until the mirror is as new as a read asks for.
func (r *Registry) reach(ctx context.Context, resourceVersion string, revision int64) error {
	if err := r.whenLoaded(ctx); err != nil {
		return err
	}
	if resourceVersion == "" {
		_, err := r.Fresh(ctx)
		return err
	}
	return r.waitAtLeast(ctx, revision)
}

// key in the store.
func (r *Resource) key(namespace, name string) string {
	if r.info.Namespaced {
		return r.layout.prefix + namespace + "/" + name
	}
	return r.layout.prefix + name
}
