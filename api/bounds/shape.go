package bounds

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// form is how values of a type are scanned.
type form uint8

const (
	// scalar: nothing of it is allocated by itself; also what has no shape.
	scalar form = iota
	text
	quantity
	// raw is JSON that is kept as it is.
	raw
	record
	list
	dictionary
)

// shape is what a scan knows of a Go type.
type shape struct {
	form form
	// memory of a value where it is an element, the target of a pointer, or in a map.
	memory int
	// fields by the name in JSON, and by the number in protobuf.
	fields  map[string]*fieldShape
	numbers []*fieldShape
	// element of a list or map.
	element *shape
	// number: protobuf writes it as a number, so that a list of such may be packed.
	number bool
	// wrapped: a list that has a message of its own in protobuf, as the value of a map.
	wrapped bool
}

// maxNumber bounds the numbers of fields in the API.
const maxNumber = 63

// numbered is the field of a number; nil if it has none.
func (sh *shape) numbered(number int) *fieldShape {
	if number < 0 || number >= len(sh.numbers) {
		return nil
	}
	return sh.numbers[number]
}

// fieldShape is the shape of a field.
type fieldShape struct {
	*shape
	// extra memory that a value of the field takes beside that of its parent: the target of a pointer.
	extra int
}

var (
	shapes sync.Map // reflect.Type to *shape
	// building guards the making of shapes, of which some contain themselves.
	building sync.Mutex
)

// shapeOf is the shape of a type; that of interfaces is the zero one.
func shapeOf(t reflect.Type) *shape {
	if t == nil {
		return anything
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if s, ok := shapes.Load(t); ok {
		return s.(*shape)
	}
	building.Lock()
	defer building.Unlock()
	known := map[reflect.Type]*shape{}
	s := build(t, known)
	for t, s := range known {
		shapes.Store(t, s)
	}
	return s
}

// anything is the shape of what has no type: what is in it becomes maps and slices of interfaces.
var anything = &shape{memory: int(reflect.TypeFor[any]().Size())}

var special = map[reflect.Type]form{
	reflect.TypeFor[resource.Quantity]():    quantity,
	reflect.TypeFor[metav1.Time]():          scalar,
	reflect.TypeFor[metav1.MicroTime]():     scalar,
	reflect.TypeFor[metav1.Duration]():      scalar,
	reflect.TypeFor[intstr.IntOrString]():   scalar,
	reflect.TypeFor[runtime.RawExtension](): raw,
	reflect.TypeFor[metav1.FieldsV1]():      raw,
}

func build(t reflect.Type, known map[reflect.Type]*shape) *shape {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if s, ok := shapes.Load(t); ok {
		return s.(*shape)
	}
	if s := known[t]; s != nil {
		return s
	}
	s := &shape{memory: int(t.Size())}
	known[t] = s
	if f, ok := special[t]; ok {
		s.form = f
		return s
	}
	switch t.Kind() {
	case reflect.String:
		s.form = text
	case reflect.Bool, reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint32, reflect.Uint64, reflect.Float32, reflect.Float64:
		s.number = true
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			s.form = text
			break
		}
		s.form, s.element = list, build(t.Elem(), known)
		_, s.wrapped = reflect.New(t).Interface().(interface{ Unmarshal([]byte) error })
	case reflect.Map:
		s.form, s.element = dictionary, build(t.Elem(), known)
	case reflect.Struct:
		s.form, s.fields, s.numbers = record, map[string]*fieldShape{}, nil
		s.record(t, true, known)
	}
	return s
}

// record finds the fields of a struct. Those of embedded structs are members of the outer one in JSON; in protobuf an
// embedded struct is a message like others.
func (s *shape) record(t reflect.Type, numbered bool, known map[reflect.Type]*shape) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "-" {
			continue
		}
		plan := &fieldShape{shape: build(f.Type, known)}
		if f.Type.Kind() == reflect.Pointer {
			plan.extra = plan.memory
		}
		if numbered {
			if parts := strings.SplitN(f.Tag.Get("protobuf"), ",", 3); len(parts) == 3 {
				if number, err := strconv.Atoi(parts[1]); err == nil {
					if number > maxNumber {
						panic(fmt.Sprintf("bounds: field %s of %s has the number %d", f.Name, t, number))
					}
					for len(s.numbers) <= number {
						s.numbers = append(s.numbers, nil)
					}
					s.numbers[number] = plan
				}
			}
		}
		switch {
		case f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct:
			s.record(f.Type, false, known)
		case name == "":
			s.fields[f.Name] = plan
		default:
			s.fields[name] = plan
		}
	}
}
