package registry

import (
	"github.com/google/btree"

	"github.com/wheelhouse-k8s/wheelhouse/codec/stored"
)

// btreeDegree of all B-trees: nodes of a few hundred bytes, so that a copied path is cheap.
const btreeDegree = 16

// entry is one object in a table, ordered by key.
type entry struct {
	key  string
	item *Item
}

func newEntries(prefix string) *btree.BTreeG[entry] {
	skip := len(prefix) // all keys share it
	return btree.NewG(btreeDegree, func(a, b entry) bool { return a.key[skip:] < b.key[skip:] })
}

// indexed is one value of one object in an index, ordered by value, then key.
type indexed struct {
	value string
	key   string
	item  *Item
}

// index finds items by a value. It is guarded by its table's lock; a change costs O(log n).
type index struct {
	entries *btree.BTreeG[indexed]
}

func newIndex() index {
	return index{btree.NewG(btreeDegree, func(a, b indexed) bool {
		if a.value != b.value {
			return a.value < b.value
		}
		return a.key < b.key
	})}
}

func (x index) set(value string, i *Item)   { x.entries.ReplaceOrInsert(indexed{value, i.key, i}) }
func (x index) unset(value string, i *Item) { x.entries.Delete(indexed{value: value, key: i.key}) }
func (x index) find(value string) []*Item {
	var items []*Item
	x.entries.AscendGreaterOrEqual(indexed{value: value}, func(e indexed) bool {
		if e.value != value {
			return false
		}
		items = append(items, e.item)
		return true
	})
	return items
}

// fieldIndex is an index by one of the kind's fields.
type fieldIndex struct {
	index
	name string
	// at is the field's place among the kind's.
	at int
	// read reads the value without decoding; nil if it must be asked of the decoded object.
	read func(*stored.Value) string
}

// newFieldIndexes makes an index for each field that asks for one.
func newFieldIndexes(f *layout) []fieldIndex {
	var all []fieldIndex
	for n, field := range f.info.Fields {
		if field.Indexed {
			all = append(all, fieldIndex{index: newIndex(), name: field.Name, at: n, read: f.Field(field)})
		}
	}
	return all
}
