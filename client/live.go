package client

import (
	"context"
	"iter"

	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// Live is a View whose objects have their own type. Objects are shared: never change them.
type Live[T kind.Object] struct{ View View }

// Get is one object, if it exists.
func (l Live[T]) Get(namespace, name string) (T, bool) {
	o, ok := l.View.Get(namespace, name)
	if !ok {
		var none T
		return none, false
	}
	return o.(T), true
}

// All yields the objects of a namespace, "" for all.
func (l Live[T]) All(namespace string) iter.Seq[T] { return typed[T](l.View.All(namespace)) }

// OwnedBy yields the objects that have the uid among their owners.
func (l Live[T]) OwnedBy(uid types.UID) iter.Seq[T] { return typed[T](l.View.OwnedBy(uid)) }

// ByField yields the objects whose indexed field has the value.
func (l Live[T]) ByField(name, value string) iter.Seq[T] {
	return typed[T](l.View.ByField(name, value))
}

// Len is the number of objects.
func (l Live[T]) Len() int { return l.View.Len() }

// Whole fails while objects of a namespace ("" for all) may exist that the view does not show.
func (l Live[T]) Whole(namespace string) error { return l.View.Whole(namespace) }

// Legible fails while there may be something under an object's name that cannot be read.
func (l Live[T]) Legible(namespace, name string) error { return l.View.Legible(namespace, name) }

// Synced is closed when the view has been complete once.
func (l Live[T]) Synced() <-chan struct{} { return l.View.Synced() }

// Change is a Delta whose objects have their own type: Old is nil for a new object, New for a removed one.
type Change[T kind.Object] struct {
	Old, New T
	Revision int64
}

// Subscribe is View.Subscribe with typed changes.
func (l Live[T]) Subscribe(ctx context.Context, f func([]Change[T])) {
	l.View.Subscribe(ctx, func(deltas []Delta) {
		changes := make([]Change[T], len(deltas))
		for i, d := range deltas {
			changes[i] = Typed[T](d)
		}
		f(changes)
	})
}

// Typed gives a Delta's objects their own type.
func Typed[T kind.Object](d Delta) Change[T] {
	c := Change[T]{Revision: d.Revision}
	if d.Old != nil {
		c.Old = d.Old.(T)
	}
	if d.New != nil {
		c.New = d.New.(T)
	}
	return c
}

func typed[T kind.Object](objects iter.Seq[kind.Object]) iter.Seq[T] {
	return func(yield func(T) bool) {
		for o := range objects {
			if !yield(o.(T)) {
				return
			}
		}
	}
}
