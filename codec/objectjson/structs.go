package objectjson

import (
	"reflect"
	"unsafe"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/api/shape"
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

func (pl *planner) structure(t *shape.Type) encode {
	if !t.Plain {
		return foreign(t)
	}
	s := pl.structs[t]
	if s == nil {
		s = &structPlan{fields: make([]fieldPlan, 0, len(t.Members))}
		pl.structs[t] = s
		for n := range t.Members {
			m := &t.Members[n]
			s.fields = append(s.fields, fieldPlan{name: string(AppendString(nil, m.Name)) + ":", offset: m.Begin, omit: omit(m.Field), encode: pl.plan(m.Type)})
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

// omit is the test for a field that may be left out.
func omit(f *shape.Field) func(unsafe.Pointer) bool {
	var ifEmpty, ifZero func(unsafe.Pointer) bool
	if f.OmitEmpty {
		ifEmpty = emptiness(f.Type.Go)
	}
	if f.OmitZero {
		ifZero = zeroness(f.Type)
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
func zeroness(t *shape.Type) func(unsafe.Pointer) bool {
	if t.Class == shape.Time {
		return func(p unsafe.Pointer) bool { return (*metav1.Time)(p).IsZero() }
	}
	type zeroer interface{ IsZero() bool }
	goType := t.Go
	if reflect.PointerTo(goType).Implements(reflect.TypeFor[zeroer]()) {
		return func(p unsafe.Pointer) bool { return reflect.NewAt(goType, p).Interface().(zeroer).IsZero() }
	}
	return func(p unsafe.Pointer) bool { return reflect.NewAt(goType, p).Elem().IsZero() }
}
