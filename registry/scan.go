package registry

import (
	"slices"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// What the mirror must know of each object is read from the bytes, where their format allows it: nothing is decoded for it.

// uidOf is the uid of an item's object.
func uidOf(i *Item) string {
	if i.value.Readable() {
		return string(i.layout.UID(&i.value))
	}
	return string(i.Object().GetUID())
}

// labels of the object.
func (i *Item) labels() labels.Labels {
	if i.value.Readable() {
		return i.layout.Labels(&i.value)
	}
	return labels.Set(i.Object().GetLabels())
}

// owners are the uids that an item's owner references name.
func owners(i *Item) []types.UID {
	if i.value.Readable() {
		return slices.Collect(i.layout.Owners(&i.value))
	}
	var uids []types.UID
	for _, ref := range i.Object().GetOwnerReferences() {
		uids = append(uids, ref.UID)
	}
	return uids
}

// value of an item in the index. It must be the same each time it is asked for.
func (x *fieldIndex) value(i *Item) string {
	if x.read != nil && i.value.Readable() {
		return x.read(&i.value)
	}
	return i.field(x.at)
}

// field is the value of the nth of the fields of the item's own kind.
func (i *Item) field(n int) string {
	if i.fields != nil {
		return (*i.fields)[n]
	}
	return i.layout.info.Fields[n].Value(i.Object())
}
