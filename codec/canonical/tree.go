package canonical

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"

	"github.com/wheelhouse-k8s/wheelhouse/api/custom"
)

// exactMembers is for the members of objects that are trees. What of them must change is copied on the way: other objects may share the
// rest.
func exactMembers(w *walk, p unsafe.Pointer) {
	at := (*map[string]any)(p)
	m := *at
	if w.again && len(m) > 0 {
		return // what the process makes of an exact tree is exact
	}
	var owned bool
	for name := range m {
		if owned = custom.Owns(name); owned {
			break
		}
	}
	if owned { // they would be written twice
		m = maps.Clone(m)
		maps.DeleteFunc(m, func(name string, _ any) bool { return custom.Owns(name) })
		*at, w.changed = m, true
	}
	if len(m) == 0 {
		if m != nil {
			*at, w.changed = nil, true
		}
		return
	}
	if exact, changed := w.tree(m); changed && w.problem == "" {
		*at, w.changed = exact.(map[string]any), true
	}
}

// tree gives what a value is once it is exact, and whether that is another one.
func (w *walk) tree(v any) (exact any, changed bool) {
	switch v := v.(type) {
	case nil, bool, int64:
		return v, false
	case string:
		return w.treeText(v)
	case float64:
		return w.treeFloat(v)
	case map[string]any:
		if v == nil {
			return nil, true // written as null
		}
		return w.treeMap(v)
	case []any:
		if v == nil {
			return nil, true
		}
		return w.treeList(v)
	case int:
		return int64(v), true
	case int32:
		return int64(v), true
	}
	w.fail("a %T is no value of JSON", v)
	return v, false
}

func (w *walk) treeText(s string) (any, bool) {
	if utf8.ValidString(s) {
		return s, false
	}
	if !w.replace {
		w.fail("the text is no UTF-8")
		return s, false
	}
	return strings.ToValidUTF8(s, replacement), true
}

// treeFloat: a number without a fraction is written in digits alone, unless those would be very many, and read as a whole one.
func (w *walk) treeFloat(f float64) (any, bool) {
	switch {
	case math.IsNaN(f) || math.IsInf(f, 0):
		w.fail("%v is no number that JSON knows", f)
		return f, false
	case f != math.Trunc(f) || math.Abs(f) >= 1e21:
		return f, false
	}
	if whole, err := strconv.ParseInt(strconv.FormatFloat(f, 'f', -1, 64), 10, 64); err == nil {
		return whole, true
	}
	return f, false
}

func (w *walk) treeMap(m map[string]any) (any, bool) {
	var other map[string]any
	for name, v := range m {
		exact, changed := w.tree(v)
		key := name
		if w.problem == "" && !utf8.ValidString(name) {
			if !w.replace {
				w.fail("the key is no UTF-8")
			}
			key = strings.ToValidUTF8(name, replacement)
		}
		if w.problem != "" {
			w.path = append(w.path, fmt.Sprintf("[%q]", name))
			return m, false
		}
		if !changed && key == name {
			continue
		}
		if other == nil {
			other = maps.Clone(m)
		}
		delete(other, name)
		other[key] = exact
	}
	if other == nil {
		return m, false
	}
	return other, true
}

func (w *walk) treeList(list []any) (any, bool) {
	var other []any
	for n, v := range list {
		exact, changed := w.tree(v)
		if w.problem != "" {
			w.path = append(w.path, "["+strconv.Itoa(n)+"]")
			return list, false
		}
		if !changed {
			continue
		}
		if other == nil {
			other = slices.Clone(list)
		}
		other[n] = exact
	}
	if other == nil {
		return list, false
	}
	return other, true
}
