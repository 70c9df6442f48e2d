package registry

import (
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/codec/wire"
)

// What the mirror must know of each object is read from the bytes, where they are protobuf: nothing is decoded for it.

// uidOf is the uid of an item's object.
func uidOf(i *Item) string {
	if i.end > 0 {
		return string(i.body().UID())
	}
	return string(i.Object().GetUID())
}

// labels of the object.
func (i *Item) labels() labels.Labels {
	if i.end > 0 {
		return i.body().Labels()
	}
	return labels.Set(i.Object().GetLabels())
}

// owners are the uids that an item's owner references name.
func owners(i *Item) []types.UID {
	var uids []types.UID
	if i.end > 0 {
		for uid := range i.body().Owners() {
			uids = append(uids, uid)
		}
		return uids
	}
	for _, ref := range i.Object().GetOwnerReferences() {
		uids = append(uids, ref.UID)
	}
	return uids
}

// value of an item in the index. It must be the same each time it is asked for.
func (x *fieldIndex) value(i *Item) string {
	if x.path != nil && i.end > 0 {
		return string(wire.At(i.body(), x.path...))
	}
	return x.field.Value(i.Object())
}
