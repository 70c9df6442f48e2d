package registry

import (
	"reflect"
	"strings"

	"github.com/google/btree"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/shape"
)

// treeDegree of all trees: nodes of a few hundred bytes, so that a copied path is cheap.
const treeDegree = 16

// entry is one object in a table's tree, ordered by key.
type entry struct {
	key  string
	item *Item
}

func newTree(prefix string) *btree.BTreeG[entry] {
	skip := len(prefix) // all keys share it
	return btree.NewG(treeDegree, func(a, b entry) bool { return a.key[skip:] < b.key[skip:] })
}

// indexed is one value of one object in an index, ordered by value, then key.
type indexed struct {
	value string
	key   string
	item  *Item
}

// index finds items by a value. It is guarded by its table's lock; a change costs O(log n).
type index struct {
	tree *btree.BTreeG[indexed]
}

func newIndex() index {
	return index{btree.NewG(treeDegree, func(a, b indexed) bool {
		if a.value != b.value {
			return a.value < b.value
		}
		return a.key < b.key
	})}
}

func (x index) set(value string, i *Item)   { x.tree.ReplaceOrInsert(indexed{value, i.key, i}) }
func (x index) unset(value string, i *Item) { x.tree.Delete(indexed{value: value, key: i.key}) }
func (x index) find(value string) []*Item {
	var items []*Item
	x.tree.AscendGreaterOrEqual(indexed{value: value}, func(e indexed) bool {
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
	field kind.AnyField
	// path of field numbers to the value in protobuf, nil if it must be asked of the decoded object.
	path []int32
}

// newFieldIndexes makes an index for each field that asks for one.
func newFieldIndexes(info *kind.Kind) []fieldIndex {
	var all []fieldIndex
	for _, f := range info.Fields {
		if f.Indexed {
			all = append(all, fieldIndex{index: newIndex(), field: f, path: protoFieldPath(info, f)})
		}
	}
	return all
}

// protoFieldPath finds where a plain string field such as spec.nodeName stands in the protobuf encoding, so that
// an object need not be decoded to be indexed. It is nil if there is no such field, or if the kind's Value does
// more than to read it.
func protoFieldPath(info *kind.Kind, f kind.AnyField) []int32 {
	probe := info.New()
	v := reflect.ValueOf(probe).Elem()
	t := shape.Of(v.Type())
	var path []int32
	for name := range strings.SplitSeq(f.Name, ".") {
		m, ok := t.Member(name)
		if !ok || len(m.Path) > 1 || m.Encoding != "bytes" {
			return nil
		}
		path = append(path, int32(m.Number))
		t, v = m.Type, v.Field(m.Index)
	}
	if t.Class != shape.String || f.Value(probe) != "" {
		return nil
	}
	v.SetString("probe")
	if f.Value(probe) != "probe" {
		return nil
	}
	return path
}
