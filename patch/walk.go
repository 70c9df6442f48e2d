package patch

import (
	"reflect"
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// walk goes over an object before and after a change and hashes the paths that are added, removed and modified, exactly
// those that structured-merge-diff would report. Paths may come in any order: their hashes are summed up.
type walk struct {
	sum hash
	// failed: something that only the library can judge.
	failed bool
	// names is room for the hashes of list items.
	names []hash
	// indexes are empty, for the lookups of long lists.
	indexes []map[hash]int
	// trace, if set, sees each change.
	trace func(path, change hash)
}

var walks = sync.Pool{New: func() any { return new(walk) }}

func newWalk() *walk {
	w := walks.Get().(*walk)
	w.sum, w.failed, w.names = hash{}, false, w.names[:0]
	return w
}

func (w *walk) release() { walks.Put(w) }

// The kinds of change.
var added, removed, modified = hashString("added"), hashString("removed"), hashString("modified")

// absent is the value of a field that one of the objects does not have.
var absent reflect.Value

func (w *walk) report(path, change hash) {
	w.sum = w.sum.plus(path.with(change))
	if w.trace != nil {
		w.trace(path, change)
	}
}

// objects compares two objects; it is false if the library has to.
func (w *walk) objects(plan *node, old, next kind.Object) bool {
	w.compare(plan, reflect.ValueOf(old).Elem(), reflect.ValueOf(next).Elem(), hash{})
	return !w.failed
}

// key is under what the result of a change is remembered.
func (w *walk) key(target hash, manager string, before []metav1.ManagedFieldsEntry) hash {
	key := target.with(hashString(manager)).with(w.sum)
	for i := range before {
		e := &before[i]
		key = key.with(hashString(e.Manager)).with(hashString(string(e.Operation))).with(hashString(e.APIVersion)).
			with(hashString(e.Subresource)).with(hashString(e.FieldsType)).with(hashBytes(e.FieldsV1.GetRawBytes()))
	}
	return key
}

// compare takes the values at a path. Either may be absent, not both.
func (w *walk) compare(n *node, l, r reflect.Value, path hash) {
	if n.form == leaf {
		switch {
		case !l.IsValid():
			w.report(path, added)
		case !r.IsValid():
			w.report(path, removed)
		case !n.equal(l, r):
			w.report(path, modified)
		}
		return
	}
	left, right := n.content(l), n.content(r)
	if left.IsValid() && right.IsValid() && n.pointer && l.Pointer() == r.Pointer() {
		return
	}
	empty := true
	switch n.form {
	case record:
		empty = w.records(n, left, right, path)
	case dictionary:
		empty = w.dictionaries(n, left, right, path)
	case set, keyed:
		empty = w.lists(n, left, right, path)
	default:
		w.failed = true
	}
	switch {
	case !l.IsValid():
		w.report(path, added)
	case !r.IsValid():
		w.report(path, removed)
	case empty && left.IsValid() != right.IsValid():
		w.report(path, modified) // null became empty, or empty null
	}
}

// content is what a value holds: absent for null.
func (n *node) content(v reflect.Value) reflect.Value {
	if !v.IsValid() {
		return absent
	}
	if n.pointer {
		if v.IsNil() {
			return absent
		}
		v = v.Elem()
	}
	if n.form != record && n.form != opaque && v.IsNil() {
		return absent
	}
	return v
}

func (w *walk) records(n *node, l, r reflect.Value, path hash) (empty bool) {
	empty = true
	for i := range n.fields {
		f := &n.fields[i]
		left, right := absent, absent
		if l.IsValid() {
			if v, ok := f.get(l); ok {
				left = v
			}
		}
		if r.IsValid() {
			if v, ok := f.get(r); ok {
				right = v
			}
		}
		if left.IsValid() || right.IsValid() {
			empty = false
			w.compare(f.node, left, right, path.with(f.name))
		}
	}
	if n.open {
		return w.members(n, l, r, path) && empty
	}
	return empty
}

var stringsType = reflect.TypeFor[map[string]string]()

func (w *walk) dictionaries(n *node, l, r reflect.Value, path hash) (empty bool) {
	if length(l) == 0 && length(r) == 0 {
		return true
	}
	if l.IsValid() && r.IsValid() && l.Pointer() == r.Pointer() {
		return false
	}
	if n.element.form == leaf && (!l.IsValid() || l.Type() == stringsType) && (!r.IsValid() || r.Type() == stringsType) {
		w.stringMaps(asStrings(l), asStrings(r), path)
		return false
	}
	if r.IsValid() {
		for i := r.MapRange(); i.Next(); {
			left := absent
			if l.IsValid() {
				left = l.MapIndex(i.Key())
			}
			w.compare(n.element, left, i.Value(), path.with(hashString(i.Key().String())))
		}
	}
	if l.IsValid() {
		for i := l.MapRange(); i.Next(); {
			if !r.IsValid() || !r.MapIndex(i.Key()).IsValid() {
				w.compare(n.element, i.Value(), absent, path.with(hashString(i.Key().String())))
			}
		}
	}
	return false
}

func length(v reflect.Value) int {
	if !v.IsValid() {
		return 0
	}
	return v.Len()
}

func asStrings(v reflect.Value) map[string]string {
	if !v.IsValid() {
		return nil
	}
	return v.Interface().(map[string]string)
}

func (w *walk) stringMaps(l, r map[string]string, path hash) {
	for k, right := range r {
		if left, ok := l[k]; !ok {
			w.report(path.with(hashString(k)), added)
		} else if left != right {
			w.report(path.with(hashString(k)), modified)
		}
	}
	for k := range l {
		if _, ok := r[k]; !ok {
			w.report(path.with(hashString(k)), removed)
		}
	}
}

// lists pairs items of the same name, wherever they stand.
func (w *walk) lists(n *node, l, r reflect.Value, path hash) (empty bool) {
	lefts, rights := length(l), length(r)
	if lefts == 0 && rights == 0 {
		return true
	}
	if lefts == rights && l.Pointer() == r.Pointer() {
		return false
	}
	start := len(w.names)
	w.name(n, l, lefts)
	w.name(n, r, rights)
	names := w.names[start:]
	left := w.lookup(names[:lefts])
	defer w.done(left)
	right := left // names in the same order are the rule
	if !slices.Equal(names[:lefts], names[lefts:]) {
		right = w.lookup(names[lefts:])
		defer w.done(right)
	}
	if w.failed || left.repeats() || right.repeats() {
		w.failed = true
		return false
	}
	for i, name := range left.names {
		if j := right.find(name, i); j >= 0 {
			w.compare(n.element, l.Index(i), r.Index(j), path.with(name))
		} else {
			w.compare(n.element, l.Index(i), absent, path.with(name))
		}
	}
	for j, name := range right.names {
		if left.find(name, j) < 0 {
			w.compare(n.element, absent, r.Index(j), path.with(name))
		}
	}
	w.names = w.names[:start]
	return false
}

// name appends the names of a list's items.
func (w *walk) name(n *node, list reflect.Value, count int) {
	for i := range count {
		item := list.Index(i)
		name, ok := hash{}, true
		if n.form == set {
			name = hashScalar(item)
		} else {
			name, ok = n.itemName(item)
		}
		if !ok {
			w.failed = true
		}
		w.names = append(w.names, name)
	}
}

// itemName is made of an item's keys. An item without any has no name.
func (n *node) itemName(item reflect.Value) (name hash, ok bool) {
	if item.Kind() == reflect.Pointer {
		if item.IsNil() {
			return hash{}, false
		}
		item = item.Elem()
	}
	for i := range n.keys {
		key := &n.keys[i]
		h, has := key.absent, key.hasDefault
		if v, ok := key.field.get(item); ok {
			for v.Kind() == reflect.Pointer {
				if v.IsNil() {
					return hash{}, false
				}
				v = v.Elem()
			}
			if !key.scalar {
				return hash{}, false
			}
			h, has = hashScalar(v), true
		}
		if has {
			name, ok = name.with(key.name).with(h), true
		}
	}
	return name, ok
}

func hashScalar(v reflect.Value) hash {
	switch v.Kind() {
	case reflect.String:
		return hashString(v.String())
	case reflect.Bool:
		if v.Bool() {
			return hashNumber(1).with(added)
		}
		return hashNumber(0).with(added)
	}
	return hashNumber(uint64(v.Int()))
}

// manyItems is from where on a list's items are looked up in a map.
const manyItems = 16

// lookup finds names in a list.
type lookup struct {
	names []hash
	index map[hash]int
}

// lookup is given back by done.
func (w *walk) lookup(names []hash) lookup {
	l := lookup{names: names}
	if len(names) <= manyItems {
		return l
	}
	if last := len(w.indexes) - 1; last >= 0 {
		l.index, w.indexes = w.indexes[last], w.indexes[:last]
	} else {
		l.index = make(map[hash]int, len(names))
	}
	for i, name := range names {
		l.index[name] = i
	}
	return l
}

// keptItems bounds the indexes that are kept for other lists: clearing one takes as long as it once was.
const keptItems = 1024

func (w *walk) done(l lookup) {
	if l.index != nil && len(l.names) <= keptItems {
		clear(l.index)
		w.indexes = append(w.indexes, l.index)
	}
}

func (l lookup) repeats() bool {
	if l.index != nil {
		return len(l.index) < len(l.names)
	}
	for i, name := range l.names {
		for _, other := range l.names[:i] {
			if name == other {
				return true
			}
		}
	}
	return false
}

// find is the position of a name, or -1; it looks at the guess first.
func (l lookup) find(name hash, guess int) int {
	if guess < len(l.names) && l.names[guess] == name {
		return guess
	}
	if l.index != nil {
		if i, ok := l.index[name]; ok {
			return i
		}
		return -1
	}
	for i, other := range l.names {
		if other == name {
			return i
		}
	}
	return -1
}
