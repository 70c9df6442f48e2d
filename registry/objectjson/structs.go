package objectjson

import (
	"reflect"
	"strings"
	"unsafe"
)

// structPlan encodes a struct.
type structPlan struct{ fields []fieldPlan }

type fieldPlan struct {
	// name with quotes and colon.
	name   string
	offset uintptr
	// omit tells that the field is left out; nil if it never is.
	omit   func(p unsafe.Pointer) bool
	encode encode
}

func (pl *planner) structure(t reflect.Type) encode {
	s := pl.structs[t]
	if s == nil {
		s = &structPlan{}
		pl.structs[t] = s
		if !pl.fields(s, t, 0) || !s.unique() {
			return foreign(t)
		}
	}
	return s.encode
}

func (s *structPlan) encode(b []byte, p unsafe.Pointer) ([]byte, error) {
	b = append(b, '{')
	first := len(b)
	var err error
	for n := range s.fields {
		f := &s.fields[n]
		at := unsafe.Add(p, f.offset)
		if f.omit != nil && f.omit(at) {
			continue
		}
		if len(b) > first {
			b = append(b, ',')
		}
		b = append(b, f.name...)
		if b, err = f.encode(b, at); err != nil {
			return b, err
		}
	}
	return append(b, '}'), nil
}

// fields collects the fields of t, and of the structs that it embeds, in order. It is false if that is not enough
// to encode the struct as encoding/json would.
func (pl *planner) fields(s *structPlan, t reflect.Type, offset uintptr) bool {
	for n := range t.NumField() {
		f := t.Field(n)
		tag := f.Tag.Get("json")
		if tag == "-" || !f.IsExported() && !f.Anonymous {
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		if f.Anonymous && name == "" {
			if f.Type.Kind() != reflect.Struct || marshals(f.Type) || !pl.fields(s, f.Type, offset+f.Offset) {
				return false
			}
			continue
		}
		if name == "" {
			name = f.Name
		}
		if !f.IsExported() || hasOption(options, "string") {
			return false
		}
		plan := fieldPlan{name: string(appendString(nil, name)) + ":", offset: offset + f.Offset, encode: pl.plan(f.Type)}
		plan.omit = omit(f.Type, hasOption(options, "omitempty"), hasOption(options, "omitzero"))
		s.fields = append(s.fields, plan)
	}
	return true
}

func hasOption(options, option string) bool {
	for o := range strings.SplitSeq(options, ",") {
		if o == option {
			return true
		}
	}
	return false
}

// unique tells that no two fields have one name: which one counts is encoding/json's business.
func (s *structPlan) unique() bool {
	seen := map[string]bool{}
	for _, f := range s.fields {
		if seen[f.name] {
			return false
		}
		seen[f.name] = true
	}
	return true
}

// omit is the test for a field that may be left out.
func omit(t reflect.Type, empty, zero bool) func(unsafe.Pointer) bool {
	var ifEmpty, ifZero func(unsafe.Pointer) bool
	if empty {
		ifEmpty = emptiness(t)
	}
	if zero {
		ifZero = zeroness(t)
	}
	switch {
	case ifEmpty == nil:
		return ifZero
	case ifZero == nil:
		return ifEmpty
	}
	return func(p unsafe.Pointer) bool { return ifEmpty(p) || ifZero(p) }
}

// emptiness is what omitempty leaves out.
func emptiness(t reflect.Type) func(unsafe.Pointer) bool {
	switch t.Kind() {
	case reflect.Bool:
		return func(p unsafe.Pointer) bool { return !*(*bool)(p) }
	case reflect.Int32, reflect.Uint32:
		return func(p unsafe.Pointer) bool { return *(*int32)(p) == 0 }
	case reflect.Int, reflect.Int64, reflect.Uint, reflect.Uint64:
		return func(p unsafe.Pointer) bool { return *(*int64)(p) == 0 }
	case reflect.String:
		return func(p unsafe.Pointer) bool { return len(*(*string)(p)) == 0 }
	case reflect.Pointer:
		return func(p unsafe.Pointer) bool { return *(*unsafe.Pointer)(p) == nil }
	case reflect.Slice:
		return func(p unsafe.Pointer) bool { return (*sliceHeader)(p).len == 0 }
	case reflect.Map:
		return func(p unsafe.Pointer) bool {
			return *(*unsafe.Pointer)(p) == nil || reflect.NewAt(t, p).Elem().Len() == 0
		}
	case reflect.Struct:
		return nil
	case reflect.Array:
		if t.Len() > 0 {
			return nil
		}
	}
	return func(p unsafe.Pointer) bool {
		v := reflect.NewAt(t, p).Elem()
		return v.IsZero()
	}
}

// zeroness is what omitzero leaves out.
func zeroness(t reflect.Type) func(unsafe.Pointer) bool {
	type zeroer interface{ IsZero() bool }
	if reflect.PointerTo(t).Implements(reflect.TypeFor[zeroer]()) {
		if f := specialZero(t); f != nil {
			return f
		}
		return func(p unsafe.Pointer) bool { return reflect.NewAt(t, p).Interface().(zeroer).IsZero() }
	}
	return func(p unsafe.Pointer) bool { return reflect.NewAt(t, p).Elem().IsZero() }
}
