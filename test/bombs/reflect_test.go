package bombs

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/wheelhouse-k8s/wheelhouse/api/bounds"
)

// step is one field on the way to a list or map.
type step struct {
	name   string // in JSON; empty for what is embedded
	number int    // in protobuf
	list   bool   // the way goes on in an element
}

// repeated is a list or map somewhere in a type.
type repeated struct {
	steps []step
	typ   reflect.Type // of the list or map
}

func (p repeated) String() string {
	var names []string
	for _, s := range p.steps {
		if s.name != "" {
			names = append(names, s.name)
		}
	}
	return strings.Join(names, ".")
}

var opaque = map[reflect.Type]bool{
	reflect.TypeFor[resource.Quantity](): true, reflect.TypeFor[metav1.Time](): true, reflect.TypeFor[metav1.MicroTime](): true,
	reflect.TypeFor[metav1.Duration](): true, reflect.TypeFor[intstr.IntOrString](): true, reflect.TypeFor[runtime.RawExtension](): true,
	reflect.TypeFor[metav1.FieldsV1](): true,
}

// allRepeated finds the lists and maps of a type that are not in seen, which holds fields of struct types that were found before.
func allRepeated(t reflect.Type, way []step, seen map[string]bool) []repeated {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || opaque[t] || len(way) > 12 {
		return nil
	}
	var found []repeated
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		parts := strings.SplitN(f.Tag.Get("protobuf"), ",", 3)
		key := t.String() + "." + f.Name
		if name == "-" || f.Name == "TypeMeta" || len(parts) < 3 || seen[key] {
			continue
		}
		seen[key] = true
		number, _ := strconv.Atoi(parts[1])
		steps := append(way[:len(way):len(way)], step{name: name, number: number})
		inner := f.Type
		for inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		switch {
		case inner.Kind() == reflect.Slice && inner.Elem().Kind() != reflect.Uint8:
			found = append(found, repeated{steps, inner})
			steps = append(steps[:len(steps)-1:len(steps)-1], step{name, number, true})
			found = append(found, allRepeated(inner.Elem(), steps, seen)...)
		case inner.Kind() == reflect.Map:
			found = append(found, repeated{steps, inner})
		default:
			found = append(found, allRepeated(inner, steps, seen)...)
		}
	}
	return found
}

// json is a document of a kind with count items in the list or map; fill makes them.
func (p repeated) json(gvk schema.GroupVersionKind, items string) string {
	before, after := "", ""
	named := gvk.Kind == ""
	for i, s := range p.steps {
		if s.name == "" {
			continue
		}
		before += "{"
		if i == 0 && !named {
			before += fmt.Sprintf(`"apiVersion":%q,"kind":%q,`, gvk.GroupVersion(), gvk.Kind)
			if s.name != "metadata" {
				before += `"metadata":{"name":"bomb"},`
			}
		}
		if i == 1 && p.steps[0].name == "metadata" {
			before += `"name":"bomb",`
		}
		before += strconv.Quote(s.name) + ":"
		after = "}" + after
		if s.list {
			before, after = before+"[", "]"+after
		}
	}
	if p.typ.Kind() == reflect.Map {
		return before + "{" + items + "}" + after
	}
	return before + "[" + items + "]" + after
}

// protobuf is an enveloped object with the item so often in the list or map that it is about as long as size.
func (p repeated) protobuf(gvk schema.GroupVersionKind, item []byte, size int) string {
	last := p.steps[len(p.steps)-1]
	one := field(last.number, item)
	body := []byte(strings.Repeat(string(one), size/len(one)))
	for i := len(p.steps) - 2; i >= 0; i-- {
		body = field(p.steps[i].number, body)
	}
	return envelope(gvk, append(field(1, field(1, []byte("bomb"))), body...))
}

func envelope(gvk schema.GroupVersionKind, body []byte) string {
	kind := append(field(1, []byte(gvk.GroupVersion().String())), field(2, []byte(gvk.Kind))...)
	return "k8s\x00" + string(field(1, kind)) + string(field(2, body))
}

func field(number int, value []byte) []byte {
	b := binary.AppendUvarint(nil, uint64(number)<<3|2)
	b = binary.AppendUvarint(b, uint64(len(value)))
	return append(b, value...)
}

// allowed is how many items it may have.
func (p repeated) allowed() int {
	t := p.typ.Elem()
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if p.typ.Kind() == reflect.Slice && t.Kind() == reflect.Struct && !opaque[t] {
		return bounds.MaxObjects
	}
	return bounds.MaxItems
}

// tiny is the shortest item in JSON.
func (p repeated) tiny() string {
	t := p.typ.Elem()
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[resource.Quantity](), t == reflect.TypeFor[intstr.IntOrString](), t.Kind() == reflect.Int32, t.Kind() == reflect.Int64:
		return "1"
	case t.Kind() == reflect.String:
		return `""`
	case t.Kind() == reflect.Slice:
		return "[]"
	case opaque[t]:
		return "null"
	}
	return "{}"
}

// tinies are so many of the shortest items; a map's keys differ.
func (p repeated) tinies(size, most int) string {
	var b strings.Builder
	for i := 0; b.Len() < size && i < most; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		if p.typ.Kind() == reflect.Map {
			fmt.Fprintf(&b, `"%x":`, i)
		}
		b.WriteString(p.tiny())
	}
	return b.String()
}

// distinct are items that differ and look as real ones do: each text is a name, each number counts.
func (p repeated) distinct(size, most int) string {
	var b strings.Builder
	for i := 0; b.Len() < size && i < most; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		if p.typ.Kind() == reflect.Map {
			fmt.Fprintf(&b, `"k%d":`, i)
		}
		b.WriteString(likely(p.typ.Elem(), i))
	}
	return b.String()
}

func likely(t reflect.Type, i int) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[resource.Quantity]():
		return `"1e3"`
	case t == reflect.TypeFor[metav1.Time](), t == reflect.TypeFor[metav1.MicroTime]():
		return `"2024-01-01T00:00:00Z"`
	case opaque[t]:
		return strconv.Itoa(i%60000 + 1)
	}
	switch t.Kind() {
	case reflect.String:
		return fmt.Sprintf(`"n%d"`, i)
	case reflect.Int32, reflect.Int64:
		return strconv.Itoa(i%60000 + 1)
	case reflect.Bool:
		return "true"
	case reflect.Slice, reflect.Map:
		return "null"
	case reflect.Struct:
		var members []string
		for n := range t.NumField() {
			f := t.Field(n)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			switch f.Type.Kind() {
			case reflect.String, reflect.Int32, reflect.Int64:
				if name != "" && name != "-" {
					members = append(members, strconv.Quote(name)+":"+likely(f.Type, i))
				}
			}
		}
		return "{" + strings.Join(members, ",") + "}"
	}
	return "null"
}
