// Package shape describes the Go types of the API, each once, for all that handle objects whatever their kind: encoders,
// scanners of bytes, merges and comparisons. They compile plans of their own from a description and look at no type themselves.
//
// A description says what encoding/json and the generated protobuf code make of a type: the names and numbers of fields, what
// is left out, which types encode themselves, how lists are merged. It says nothing of one kind, and it never changes.
package shape

import (
	"reflect"
	"strings"
	"sync"
)

// Class is what the values of a type are.
type Class uint8

// The classes. Those from Time on are the API's own scalars: structs that stand for one value in JSON.
const (
	// Other is what no plan covers: interfaces, arrays, functions.
	Other Class = iota
	Bool
	Int
	Uint
	Float
	String
	// Bytes is a slice of bytes, a List any other slice.
	Bytes
	List
	Map
	Pointer
	Struct

	Time
	MicroTime
	Duration
	Quantity
	IntOrString
	// Raw is a runtime.RawExtension: JSON of any kind.
	Raw
	// FieldSet is a metav1.FieldsV1: JSON that says which fields a manager has.
	FieldSet
)

// Type describes a Go type. It is shared and must not be changed.
type Type struct {
	Go    reflect.Type
	Class Class
	// Elem is what a pointer points to, and what a list or map holds; Key is what a map is keyed by.
	Elem, Key *Type
	// Fields of a struct, exported or embedded, in the order of declaration. The API's own scalars have them, too.
	Fields []Field
	// Members are the fields of a struct as members of a JSON object: those of embedded structs are the outer one's.
	Members []Member
	// Plain tells that the members are all that encoding/json looks at: no name twice, nothing embedded but structs that
	// do not encode themselves, no number as text.
	Plain bool
	// EncodesJSON tells that encoding/json asks the type, or a pointer to it, for its encoding.
	EncodesJSON bool
	// Message tells that a pointer to the type decodes itself from protobuf. Lists may, too.
	Message bool
}

// Field is a field of a struct.
type Field struct {
	// Name in JSON: Go's if the tag has none.
	Name string
	Type *Type
	// Index in the Go struct, and where the field begins there, in bytes.
	Index    int
	Offset   uintptr
	Exported bool
	// Hidden fields are left out of JSON. Inline ones are embedded and have no name: their members stand beside the others.
	Hidden, Inline bool
	// OmitEmpty, OmitZero and Quoted are the options of the JSON tag (the last is "string").
	OmitEmpty, OmitZero, Quoted bool
	// Number of the field in protobuf, 0 if it has none; Encoding is the word before it: bytes, varint, fixed64.
	Number   int
	Encoding string
	// MergeKey and MergeStrategies say how a strategic merge patch treats a list or an object.
	MergeKey        string
	MergeStrategies []string
}

// Member is a field as a member of a JSON object.
type Member struct {
	*Field
	// Path of indexes that leads to the field, and where it begins in the outermost struct.
	Path  []int
	Begin uintptr
}

// Member is the member of a name.
func (t *Type) Member(name string) (*Member, bool) {
	for n := range t.Members {
		if t.Members[n].Name == name {
			return &t.Members[n], true
		}
	}
	return nil, false
}

// Target is the type at the end of all pointers.
func (t *Type) Target() *Type {
	for t.Class == Pointer {
		t = t.Elem
	}
	return t
}

var (
	types sync.Map // reflect.Type to *Type, only whole ones
	// building guards the making of types, of which some contain themselves.
	building sync.Mutex
)

// Of is the description of a type.
func Of(t reflect.Type) *Type {
	if known, ok := types.Load(t); ok {
		return known.(*Type)
	}
	building.Lock()
	defer building.Unlock()
	w := walk{begun: map[reflect.Type]*Type{}}
	whole := w.describe(t)
	for _, one := range w.begun {
		one.flatten()
	}
	for goType, one := range w.begun {
		types.Store(goType, one)
	}
	return whole
}

// walk goes over one type and all that it contains.
type walk struct {
	// begun are the types that were met for the first time, complete but for their members.
	begun map[reflect.Type]*Type
}

func (w *walk) describe(t reflect.Type) *Type {
	if known, ok := types.Load(t); ok {
		return known.(*Type)
	}
	if d := w.begun[t]; d != nil {
		return d
	}
	d := &Type{Go: t, Class: classOf(t), EncodesJSON: has(t, jsonMarshaler) || has(t, textMarshaler), Message: reflect.PointerTo(t).Implements(message)}
	w.begun[t] = d
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice:
		d.Elem = w.describe(t.Elem())
	case reflect.Map:
		d.Key, d.Elem = w.describe(t.Key()), w.describe(t.Elem())
	case reflect.Struct:
		for n := range t.NumField() {
			if f := t.Field(n); f.IsExported() || f.Anonymous {
				d.Fields = append(d.Fields, w.field(f))
			}
		}
	}
	return d
}

func (w *walk) field(f reflect.StructField) Field {
	tag := f.Tag.Get("json")
	name, options, _ := strings.Cut(tag, ",")
	d := Field{Name: name, Type: w.describe(f.Type), Index: f.Index[0], Offset: f.Offset, Exported: f.IsExported(),
		Hidden: tag == "-", Inline: f.Anonymous && name == "", MergeKey: f.Tag.Get("patchMergeKey")}
	if name == "" {
		d.Name = f.Name
	}
	for option := range strings.SplitSeq(options, ",") {
		switch option {
		case "omitempty":
			d.OmitEmpty = true
		case "omitzero":
			d.OmitZero = true
		case "string":
			d.Quoted = true
		}
	}
	d.Number, d.Encoding = numberOf(f.Tag.Get("protobuf"))
	if strategies := f.Tag.Get("patchStrategy"); strategies != "" {
		d.MergeStrategies = strings.Split(strategies, ",")
	}
	return d
}

// flatten finds a struct's members. Structs embedded by value cannot contain themselves.
func (t *Type) flatten() {
	if t.Go.Kind() != reflect.Struct {
		return
	}
	t.Plain = true
	t.embed(t, nil, 0)
	seen := make(map[string]bool, len(t.Members))
	for _, m := range t.Members {
		if seen[m.Name] {
			t.Plain = false
		}
		seen[m.Name] = true
	}
}

// embed adds the members of a struct that is t, or stands within it at the end of path.
func (t *Type) embed(inner *Type, path []int, begin uintptr) {
	for n := range inner.Fields {
		f := &inner.Fields[n]
		at := append(path[:len(path):len(path)], f.Index)
		switch {
		case f.Hidden:
		case f.Inline && f.Type.Go.Kind() == reflect.Struct:
			if f.Type.EncodesJSON {
				t.Plain = false
			}
			t.embed(f.Type, at, begin+f.Offset)
		case f.Inline, !f.Exported, f.Quoted:
			t.Plain = false
			if f.Exported {
				t.Members = append(t.Members, Member{f, at, begin + f.Offset})
			}
		default:
			t.Members = append(t.Members, Member{f, at, begin + f.Offset})
		}
	}
}
