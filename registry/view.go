package registry

import (
	"context"
	"iter"

	"k8s.io/apimachinery/pkg/types"
)

// Peek is the object in the mirror now, without waiting; nil if there is none.
func (r *Resource) Peek(namespace, name string) *Item { panic("skeleton") }

// All yields the mirror's objects of a namespace ("" for all) in key order, from one snapshot.
func (r *Resource) All(namespace string) iter.Seq[*Item] { panic("skeleton") }

// OwnedBy yields the objects that name the uid in metadata.ownerReferences.
func (r *Resource) OwnedBy(uid types.UID) iter.Seq[*Item] { panic("skeleton") }

// ByField yields the objects whose indexed field has the value.
func (r *Resource) ByField(name, value string) iter.Seq[*Item] { panic("skeleton") }

// Len is the number of objects in the mirror.
func (r *Resource) Len() int { panic("skeleton") }

// Delta is one change of the mirror: Old is nil for a new object, New for a removed one.
type Delta struct {
	Old, New *Item
	Revision int64
}

// Subscribe calls f with every object that exists (Old nil), then with every change in order, until ctx ends.
// f sees the mirror at the change's revision or later; calls do not overlap; f must not block for long.
func (r *Resource) Subscribe(ctx context.Context, f func([]Delta)) { panic("skeleton") }
