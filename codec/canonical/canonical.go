// Package canonical makes an object in memory what it decodes to once encoded, in place and without encoding it: whole
// seconds, times in the local zone, no empty list where the encoding knows none, canonical quantities. So
// an object that a caller in the process hands in cannot differ from what any other reader will see of it.
//
// A plan is compiled once for each type, as in objectjson: for each field that can hold anything inexact its offset and a function.
// Most fields of most objects are empty, and those cost one look at a word. What is exact already is never written to: it may
// be shared with objects that others read.
package canonical

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
	"unsafe"

	"github.com/wheelhouse-k8s/wheelhouse/api/shape"
)

// Options of MakeExact.
type Options struct {
	// ReplaceInvalid replaces what is no UTF-8 in strings, as decoding JSON does, instead of refusing it.
	ReplaceInvalid bool
	// Again: texts and JSON have been looked at before, or are what they are: they are left alone. What is made of good ones in the
	// process is good; only lists, times and quantities may have become inexact since.
	Again bool
}

// MakeExact makes the struct that o points to exact. The error names the field that no encoding can hold.
func MakeExact(o any, options Options) error {
	v := reflect.ValueOf(o)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return nil
	}
	w := walk{replace: options.ReplaceInvalid, again: options.Again}
	if plan := planOf(v.Type().Elem()); plan != nil {
		plan(&w, v.UnsafePointer())
	}
	if w.problem == "" {
		return nil
	}
	slices.Reverse(w.path)
	return fmt.Errorf("%s: %s", strings.TrimPrefix(strings.Join(w.path, ""), "."), w.problem)
}

// walk is one call of MakeExact, or the part of one that works on a map's value.
type walk struct {
	replace, again, changed bool
	// problem is the first one; path leads to it, from the inside out.
	problem string
	path    []string
}

func (w *walk) fail(format string, args ...any) {
	if w.problem == "" {
		w.problem = fmt.Sprintf(format, args...)
	}
}

// step makes the value at p exact.
type step func(w *walk, p unsafe.Pointer)

// plans are steps by reflect.Type; a nil step has nothing to do.
var plans sync.Map

func planOf(t reflect.Type) step {
	f, ok := plans.Load(t)
	if !ok {
		pl := planner{structs: map[*shape.Type]*structPlan{}}
		f, _ = plans.LoadOrStore(t, pl.plan(shape.Of(t)))
	}
	return f.(step)
}

// planner makes the plans of one type and of all that it contains.
type planner struct {
	// structs that have been begun, for types that contain themselves.
	structs map[*shape.Type]*structPlan
}

func (pl *planner) plan(t *shape.Type) step {
	if f, ok := special(t); ok {
		return f
	}
	switch t.Class {
	case shape.String:
		return text
	case shape.Float:
		return number(t)
	case shape.Pointer:
		return pl.pointer(t)
	case shape.List:
		return pl.slice(t)
	case shape.Map:
		return pl.mapping(t)
	case shape.Struct, shape.FieldSet:
		return pl.structure(t)
	}
	return nil
}

// structPlan is the fields of a struct that can hold anything inexact.
type structPlan struct{ fields []fieldPlan }

type fieldPlan struct {
	name   string
	offset uintptr
	// word: nothing is to be done while the field's first word is zero (strings, pointers, slices, maps).
	word bool
	step step
}

func (pl *planner) structure(t *shape.Type) step {
	s := pl.structs[t]
	if s == nil {
		s = &structPlan{}
		pl.structs[t] = s
		pl.fields(s, t, 0, "")
	}
	return s.makeExact
}

// fields collects the fields of t, those of structs within it as if they were its own.
func (pl *planner) fields(s *structPlan, t *shape.Type, offset uintptr, path string) {
	for n := range t.Fields {
		f := &t.Fields[n]
		if !f.Exported {
			continue
		}
		name, at := path+"."+f.Name, offset+f.Offset
		if f.Inline {
			name = path
		}
		if _, own := special(f.Type); f.Type.Go.Kind() == reflect.Struct && !own {
			pl.fields(s, f.Type, at, name)
			continue
		}
		do := pl.plan(f.Type)
		if f.Type.Class == shape.Bytes && f.OmitEmpty {
			do = omittedBytes
		}
		if do != nil {
			s.fields = append(s.fields, fieldPlan{name: name, offset: at, word: startsWithPointer(f.Type), step: do})
		}
	}
}

func startsWithPointer(t *shape.Type) bool {
	switch t.Class {
	case shape.String, shape.Pointer, shape.Bytes, shape.List, shape.Map:
		return true
	}
	return false
}

func (s *structPlan) makeExact(w *walk, p unsafe.Pointer) {
	for n := range s.fields {
		f := &s.fields[n]
		at := unsafe.Add(p, f.offset)
		if f.word && *(*uintptr)(at) == 0 {
			continue
		}
		if f.step(w, at); w.problem != "" {
			w.path = append(w.path, f.name)
			return
		}
	}
}

func (pl *planner) pointer(t *shape.Type) step {
	if f, ok := specialPointer(t.Elem); ok {
		return f
	}
	switch t.Elem.Class {
	case shape.Bytes, shape.List, shape.Map:
		return nil // no type of the API has one
	}
	elem := pl.plan(t.Elem)
	if elem == nil {
		return nil
	}
	return func(w *walk, p unsafe.Pointer) {
		if p = *(*unsafe.Pointer)(p); p != nil {
			elem(w, p)
		}
	}
}

// sliceHeader is how a slice stands in memory.
type sliceHeader struct {
	data     unsafe.Pointer
	len, cap int
}

// slice: the encoding knows no empty list beside none.
func (pl *planner) slice(t *shape.Type) step {
	elem, size := pl.plan(t.Elem), t.Elem.Go.Size()
	return func(w *walk, p unsafe.Pointer) {
		s := (*sliceHeader)(p)
		if s.len == 0 {
			if s.data != nil {
				*s, w.changed = sliceHeader{}, true
			}
			return
		}
		if elem == nil {
			return
		}
		for n := range s.len {
			if elem(w, unsafe.Add(s.data, uintptr(n)*size)); w.problem != "" {
				w.path = append(w.path, "["+strconv.Itoa(n)+"]")
				return
			}
		}
	}
}

// mapping: a map's values cannot be changed where they stand, and those that did not change are not written.
func (pl *planner) mapping(t *shape.Type) step {
	goType, elem, texts := t.Go, pl.plan(t.Elem), t.Elem.Class == shape.String
	if t.Elem.Class == shape.List || t.Elem.Class == shape.Bytes {
		elem = valueSlice(t.Elem.Go, elem)
	}
	return func(w *walk, p unsafe.Pointer) {
		m := reflect.NewAt(goType, p).Elem()
		if m.Len() == 0 {
			if !m.IsNil() {
				m.SetZero()
				w.changed = true
			}
			return
		}
		if w.again && texts {
			return
		}
		value := reflect.New(goType.Elem())
		for it := m.MapRange(); it.Next(); {
			key := it.Key()
			name := key.String()
			value.Elem().Set(it.Value())
			inner := walk{replace: w.replace, again: w.again}
			if elem != nil {
				elem(&inner, value.UnsafePointer())
			}
			if inner.problem == "" && !w.again && !utf8.ValidString(name) {
				if !w.replace {
					inner.fail("the key is no UTF-8")
				}
				m.SetMapIndex(key, reflect.Value{})
				key, inner.changed = reflect.ValueOf(strings.ToValidUTF8(name, replacement)).Convert(goType.Key()), true
			}
			if inner.problem != "" {
				w.problem, w.path = inner.problem, append(inner.path, fmt.Sprintf("[%q]", name))
				return
			}
			if inner.changed {
				m.SetMapIndex(key, value.Elem())
				w.changed = true
			}
		}
	}
}

// valueSlice is a slice that is a map's value: there the encoding knows no other than an empty one.
func valueSlice(t reflect.Type, elem step) step {
	return func(w *walk, p unsafe.Pointer) {
		v := reflect.NewAt(t, p).Elem()
		if v.IsNil() {
			v.Set(reflect.MakeSlice(t, 0, 0))
			w.changed = true
		} else if elem != nil && v.Len() > 0 {
			elem(w, p)
		}
	}
}
