package registry

import (
	"slices"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// What the mirror must know of each object is read from the bytes, where their form can be: nothing is decoded for it.

// uidOf is the uid of an item's object.
func uidOf(i *Item) string {
	if i.value.Readable() {
		return string(i.form.UID(&i.value))
	}
	return string(i.Object().GetUID())
}

// labels of the object.
func (i *Item) labels() labels.Labels {
	if i.value.Readable() {
		return i.form.Labels(&i.value)
	}
	return labels.Set(i.Object().GetLabels())
}

// owners are the uids that an item's owner references name.
func owners(i *Item) []types.UID {
	if i.value.Readable() {
		return slices.Collect(i.form.Owners(&i.value))
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
	return i.field(&x.field, x.at)
}

// field is the value of a field of the item's own kind, which is the nth of them.
func (i *Item) field(f *kind.AnyField, n int) string {
	if i.fields != nil {
		return (*i.fields)[n]
	}
	return f.Value(i.Object())
}
