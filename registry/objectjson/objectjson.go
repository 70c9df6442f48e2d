// Package objectjson encodes API objects in JSON, byte for byte as encoding/json does and several times faster.
//
// A plan is made once a type: for each field the bytes of its name and a function that appends its value. The functions
// read the object through pointers (package unsafe), which spares the conversions that make encoding/json slow on
// objects with a hundred mostly empty fields. What a plan does not cover is left to encoding/json.
package objectjson

import (
	"encoding/base64"
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"unsafe"
)

// encode appends the JSON of the value at p.
type encode func(b []byte, p unsafe.Pointer) ([]byte, error)

// plans are encode functions by reflect.Type.
var plans sync.Map

// Append appends the JSON of the struct that o points to.
func Append(b []byte, o any) ([]byte, error) {
	v := reflect.ValueOf(o)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return appendForeign(b, o)
	}
	t := v.Type().Elem()
	f, ok := plans.Load(t)
	if !ok {
		f, _ = plans.LoadOrStore(t, (&planner{structs: map[reflect.Type]*structPlan{}}).plan(t))
	}
	return f.(encode)(b, v.UnsafePointer())
}

// planner makes the plans of one type and of all that it contains.
type planner struct {
	// structs that have been begun, for types that contain themselves.
	structs map[reflect.Type]*structPlan
}

func (pl *planner) plan(t reflect.Type) encode {
	if f := special(t); f != nil {
		return f
	}
	if t.Kind() == reflect.Pointer {
		return pl.pointer(t) // whether or not it encodes itself: nil is null, and else what it points to decides
	}
	if marshals(t) {
		return foreign(t)
	}
	switch t.Kind() {
	case reflect.Bool:
		return func(b []byte, p unsafe.Pointer) ([]byte, error) { return strconv.AppendBool(b, *(*bool)(p)), nil }
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return integer(t)
	case reflect.String:
		return func(b []byte, p unsafe.Pointer) ([]byte, error) { return appendString(b, *(*string)(p)), nil }
	case reflect.Slice:
		return pl.slice(t)
	case reflect.Map:
		return pl.mapping(t)
	case reflect.Struct:
		return pl.structure(t)
	}
	return foreign(t)
}

func integer(t reflect.Type) encode {
	switch t.Size() {
	case 4:
		return func(b []byte, p unsafe.Pointer) ([]byte, error) {
			return strconv.AppendInt(b, int64(*(*int32)(p)), 10), nil
		}
	case 8:
		return func(b []byte, p unsafe.Pointer) ([]byte, error) { return strconv.AppendInt(b, *(*int64)(p), 10), nil }
	}
	return foreign(t)
}

func (pl *planner) pointer(t reflect.Type) encode {
	elem := pl.plan(t.Elem())
	return func(b []byte, p unsafe.Pointer) ([]byte, error) {
		if p = *(*unsafe.Pointer)(p); p == nil {
			return append(b, "null"...), nil
		}
		return elem(b, p)
	}
}

// sliceHeader is how a slice stands in memory.
type sliceHeader struct {
	data     unsafe.Pointer
	len, cap int
}

func (pl *planner) slice(t reflect.Type) encode {
	if t.Elem().Kind() == reflect.Uint8 {
		if marshals(t.Elem()) {
			return foreign(t)
		}
		return appendBytes
	}
	elem, size := pl.plan(t.Elem()), t.Elem().Size()
	return func(b []byte, p unsafe.Pointer) ([]byte, error) {
		s := (*sliceHeader)(p)
		if s.data == nil {
			return append(b, "null"...), nil
		}
		b = append(b, '[')
		var err error
		for n := range s.len {
			if n > 0 {
				b = append(b, ',')
			}
			if b, err = elem(b, unsafe.Add(s.data, uintptr(n)*size)); err != nil {
				return b, err
			}
		}
		return append(b, ']'), nil
	}
}

func appendBytes(b []byte, p unsafe.Pointer) ([]byte, error) {
	s := *(*[]byte)(p)
	if s == nil {
		return append(b, "null"...), nil
	}
	b = append(b, '"')
	b = base64.StdEncoding.AppendEncode(b, s)
	return append(b, '"'), nil
}

func (pl *planner) mapping(t reflect.Type) encode {
	if t.Key().Kind() != reflect.String || marshals(t.Key()) {
		return foreign(t)
	}
	if t.Elem().Kind() == reflect.String && !marshals(t.Elem()) && t.Key() == reflect.TypeFor[string]() && t.Elem() == reflect.TypeFor[string]() {
		return appendStrings
	}
	elem := pl.plan(t.Elem())
	return func(b []byte, p unsafe.Pointer) ([]byte, error) {
		m := reflect.NewAt(t, p).Elem()
		if m.IsNil() {
			return append(b, "null"...), nil
		}
		keys := m.MapKeys()
		slices.SortFunc(keys, func(x, y reflect.Value) int { return compare(x.String(), y.String()) })
		value := reflect.New(t.Elem())
		b = append(b, '{')
		var err error
		for n, key := range keys {
			if n > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, key.String()), ':')
			value.Elem().Set(m.MapIndex(key))
			if b, err = elem(b, value.UnsafePointer()); err != nil {
				return b, err
			}
		}
		return append(b, '}'), nil
	}
}

func compare(x, y string) int {
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

// appendStrings is the map of labels and annotations.
func appendStrings(b []byte, p unsafe.Pointer) ([]byte, error) {
	m := *(*map[string]string)(p)
	if m == nil {
		return append(b, "null"...), nil
	}
	var few [16]string
	keys := few[:0]
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	b = append(b, '{')
	for n, key := range keys {
		if n > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, key), ':')
		b = appendString(b, m[key])
	}
	return append(b, '}'), nil
}

var (
	marshaler     = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[interface{ MarshalText() ([]byte, error) }]()
)

// marshals tells whether a type encodes itself.
func marshals(t reflect.Type) bool {
	for _, own := range []reflect.Type{marshaler, textMarshaler} {
		if t.Implements(own) || t.Kind() != reflect.Pointer && reflect.PointerTo(t).Implements(own) {
			return true
		}
	}
	return false
}

// foreign leaves a value to encoding/json.
func foreign(t reflect.Type) encode {
	return func(b []byte, p unsafe.Pointer) ([]byte, error) {
		return appendForeign(b, reflect.NewAt(t, p).Interface())
	}
}

func appendForeign(b []byte, v any) ([]byte, error) {
	j, err := json.Marshal(v)
	return append(b, j...), err
}
