// Package objectjson encodes API objects in JSON, byte for byte as encoding/json does and several times faster.
//
// A plan is compiled once for each type from its description (api/shape): for each field the bytes of its name and a function that
// appends its value. The functions read the object through pointers (package unsafe), which spares the conversions that make encoding/json slow on
// objects with a hundred mostly empty fields. What a plan does not cover is left to encoding/json.
package objectjson

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unsafe"

	"github.com/wheelhouse-k8s/wheelhouse/api/shape"
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
	return planOf(v.Type().Elem())(b, v.UnsafePointer())
}

func planOf(t reflect.Type) encode {
	f, ok := plans.Load(t)
	if !ok {
		f, _ = plans.LoadOrStore(t, (&planner{structs: map[*shape.Type]*structPlan{}}).plan(shape.Of(t)))
	}
	return f.(encode)
}

// planner makes the plans of one type and of all that it contains.
type planner struct {
	// structs that have been begun, for types that contain themselves.
	structs map[*shape.Type]*structPlan
}

func (pl *planner) plan(t *shape.Type) encode {
	if f := special(t); f != nil {
		return f
	}
	switch t.Go {
	case customType:
		return pl.custom()
	case treeType:
		return func(b []byte, p unsafe.Pointer) ([]byte, error) { return appendMembers(b, *(*map[string]any)(p)) }
	}
	if t.Class == shape.Pointer {
		return pl.pointer(t) // whether or not it encodes itself: nil is null, and else what it points to decides
	}
	if t.EncodesJSON {
		return foreign(t)
	}
	switch t.Class {
	case shape.Bool:
		return func(b []byte, p unsafe.Pointer) ([]byte, error) { return strconv.AppendBool(b, *(*bool)(p)), nil }
	case shape.Int:
		return integer(t)
	case shape.String:
		return func(b []byte, p unsafe.Pointer) ([]byte, error) { return AppendString(b, *(*string)(p)), nil }
	case shape.Bytes:
		if !t.Elem.EncodesJSON {
			return appendBytes
		}
	case shape.List:
		return pl.slice(t)
	case shape.Map:
		return pl.mapping(t)
	case shape.Struct:
		return pl.structure(t)
	}
	return foreign(t)
}

func integer(t *shape.Type) encode {
	switch t.Go.Size() {
	case 4:
		return func(b []byte, p unsafe.Pointer) ([]byte, error) {
			return strconv.AppendInt(b, int64(*(*int32)(p)), 10), nil
		}
	case 8:
		return func(b []byte, p unsafe.Pointer) ([]byte, error) { return strconv.AppendInt(b, *(*int64)(p), 10), nil }
	}
	return foreign(t)
}

func (pl *planner) pointer(t *shape.Type) encode {
	elem := pl.plan(t.Elem)
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

func (pl *planner) slice(t *shape.Type) encode {
	elem, size := pl.plan(t.Elem), t.Elem.Go.Size()
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

func (pl *planner) mapping(t *shape.Type) encode {
	if t.Key.Class != shape.String || t.Key.EncodesJSON {
		return foreign(t)
	}
	if text := reflect.TypeFor[string](); t.Key.Go == text && t.Elem.Go == text {
		return appendStrings
	}
	elem, goType := pl.plan(t.Elem), t.Go
	return func(b []byte, p unsafe.Pointer) ([]byte, error) {
		m := reflect.NewAt(goType, p).Elem()
		if m.IsNil() {
			return append(b, "null"...), nil
		}
		keys := m.MapKeys()
		slices.SortFunc(keys, func(x, y reflect.Value) int { return strings.Compare(x.String(), y.String()) })
		value := reflect.New(goType.Elem())
		b = append(b, '{')
		var err error
		for n, key := range keys {
			if n > 0 {
				b = append(b, ',')
			}
			b = append(AppendString(b, key.String()), ':')
			value.Elem().Set(m.MapIndex(key))
			if b, err = elem(b, value.UnsafePointer()); err != nil {
				return b, err
			}
		}
		return append(b, '}'), nil
	}
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
		b = append(AppendString(b, key), ':')
		b = AppendString(b, m[key])
	}
	return append(b, '}'), nil
}

// foreign leaves a value to encoding/json.
func foreign(t *shape.Type) encode {
	goType := t.Go
	return func(b []byte, p unsafe.Pointer) ([]byte, error) {
		return appendForeign(b, reflect.NewAt(goType, p).Interface())
	}
}

func appendForeign(b []byte, v any) ([]byte, error) {
	j, err := json.Marshal(v)
	return append(b, j...), err
}

// keptMax bounds the buffers that are kept for reuse.
const keptMax = 256 << 10

// buffers are reused, because an object's length is not known before it is encoded.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// Marshal is the JSON of the struct that o points to, in a slice of its length.
func Marshal(o any) ([]byte, error) { return MarshalAfter(nil, o) }

// MarshalAfter is the same with something else before it.
func MarshalAfter(head []byte, o any) ([]byte, error) {
	buffer := buffers.Get().(*[]byte)
	b, err := Append(append((*buffer)[:0], head...), o)
	if err != nil {
		return nil, err
	}
	exact := bytes.Clone(b)
	if cap(b) <= keptMax {
		*buffer = b
		buffers.Put(buffer)
	}
	return exact, nil
}
