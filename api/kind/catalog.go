package kind

import (
	"reflect"
	"slices"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Catalog is the set of kinds that a server serves. It may change while the server runs: kinds come, change and go. Who reads it
// takes what it holds at the moment, a Kinds, without a lock; what it makes of them is a Derived.
type Catalog struct {
	mu  sync.Mutex // held by those who change it
	now atomic.Pointer[Kinds]
}

// Kinds is what a catalog holds at one time. It never changes.
type Kinds struct {
	all    []*Kind
	byType index[reflect.Type]
	byGVK  index[schema.GroupVersionKind]
	byGVR  index[schema.GroupVersionResource]
	byGR   index[schema.GroupResource]
}

// index finds kinds by one of their names.
type index[K comparable] map[K]*Kind

func (x index[K]) find(key K) (*Kind, bool) {
	k, ok := x[key]
	return k, ok
}

// NewCatalog makes a catalog of kinds, which come in the order of discovery.
func NewCatalog(kinds []*Kind) *Catalog {
	c := &Catalog{}
	c.now.Store(NewKinds(kinds))
	return c
}

// NewKinds makes a set that never changes, of kinds in the order of discovery.
func NewKinds(all []*Kind) *Kinds {
	k := &Kinds{
		all: all, byType: index[reflect.Type]{}, byGVK: index[schema.GroupVersionKind]{},
		byGVR: index[schema.GroupVersionResource]{}, byGR: index[schema.GroupResource]{},
	}
	for _, i := range all {
		if t := reflect.TypeOf(i.New()); k.byType[t] == nil { // kinds of a general type have it in common
			k.byType[t] = i
		}
		k.byGVK[i.GVK] = i
		k.byGVR[i.GVR()] = i
		// Of several versions of one resource, the stored one speaks for it.
		if before, ok := k.byGR[i.GR()]; !ok || before.Via != nil {
			k.byGR[i.GR()] = i
		}
	}
	return k
}

// Now is what the catalog holds.
func (c *Catalog) Now() *Kinds { return c.now.Load() }

// Put adds a kind at the end, or in the place of the one that has its group, version and resource.
func (c *Catalog) Put(info *Kind) {
	c.change(func(all []*Kind) []*Kind {
		if at := slices.IndexFunc(all, func(i *Kind) bool { return i.GVR() == info.GVR() }); at >= 0 {
			all[at] = info
			return all
		}
		return append(all, info)
	})
}

// Remove takes a kind out; nothing happens if it is not there.
func (c *Catalog) Remove(gvr schema.GroupVersionResource) {
	c.change(func(all []*Kind) []*Kind {
		return slices.DeleteFunc(all, func(i *Kind) bool { return i.GVR() == gvr })
	})
}

func (c *Catalog) change(f func(all []*Kind) []*Kind) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now.Store(NewKinds(f(slices.Clone(c.now.Load().all))))
}

// All are the kinds in the order of discovery. The slice must not be changed.
func (k *Kinds) All() []*Kind { return k.all }

// ByType is the kind of a Go type. Of kinds that have a type in common it is the first.
func (k *Kinds) ByType(t reflect.Type) (*Kind, bool) { return k.byType.find(t) }

// ByGVK is the kind with that group, version and name.
func (k *Kinds) ByGVK(gvk schema.GroupVersionKind) (*Kind, bool) { return k.byGVK.find(gvk) }

// ByGVR is the kind of that resource in that version.
func (k *Kinds) ByGVR(gvr schema.GroupVersionResource) (*Kind, bool) { return k.byGVR.find(gvr) }

// ByGR is the kind of that resource, in the version that is stored.
func (k *Kinds) ByGR(gr schema.GroupResource) (*Kind, bool) { return k.byGR.find(gr) }

// Derived is what a reader makes of a catalog: made anew when the catalog has changed, by the first who asks then.
type Derived[T any] struct {
	catalog *Catalog
	derive  func(now *Kinds, before T) T
	mu      sync.Mutex // held while it is made anew
	last    atomic.Pointer[derived[T]]
}

type derived[T any] struct {
	of    *Kinds
	value T
}

// Derive makes a Derived. derive gets what it made before, the zero T at first, so that it can keep what has not changed; it must not
// change it.
func Derive[T any](c *Catalog, derive func(now *Kinds, before T) T) *Derived[T] {
	d := &Derived[T]{catalog: c, derive: derive}
	d.Get()
	return d
}

// Get is what derive has made of what the catalog holds now.
func (d *Derived[T]) Get() T {
	now := d.catalog.Now()
	if last := d.last.Load(); last != nil && last.of == now {
		return last.value
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	now = d.catalog.Now() // it may have gone on
	last := d.last.Load()
	if last == nil {
		last = &derived[T]{}
	} else if last.of == now {
		return last.value
	}
	next := &derived[T]{of: now, value: d.derive(now, last.value)}
	d.last.Store(next)
	return next.value
}
