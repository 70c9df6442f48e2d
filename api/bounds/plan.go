package bounds

import (
	"fmt"
	"reflect"
	"sync"

	"github.com/wheelhouse-k8s/wheelhouse/api/custom"
	"github.com/wheelhouse-k8s/wheelhouse/api/shape"
)

// class is how values of a type are scanned.
type class uint8

const (
	// scalar: nothing of it is allocated by itself; also what has no plan.
	scalar class = iota
	text
	quantity
	// raw is JSON that is kept as it is.
	raw
	record
	list
	dictionary
)

// plan is what a scan knows of a Go type, and of pointers to it.
type plan struct {
	class class
	// memory of a value where it is an element, the target of a pointer, or in a map.
	memory int
	// fields by the name in JSON, and by the number in protobuf.
	fields  map[string]*fieldPlan
	numbers []*fieldPlan
	// open: a record whose other members are kept as maps and lists of interfaces.
	open bool
	// members are the fields that are more than a number, in Go.
	members []member
	// element of a list or map.
	element *plan
	// number: protobuf writes it as a number, so that a list of such may be packed.
	number bool
	// wrapped: a list that has a message of its own in protobuf, as the value of a map.
	wrapped bool
}

// maxNumber bounds the numbers of fields in the API.
const maxNumber = 63

// numbered is the field of a number; nil if it has none.
func (p *plan) numbered(number int32) *fieldPlan {
	if number < 0 || int(number) >= len(p.numbers) {
		return nil
	}
	return p.numbers[number]
}

// fieldPlan is the plan of a field.
type fieldPlan struct {
	*plan
	// extra memory that a value of the field takes beside that of its parent: the target of a pointer.
	extra int
}

// member is a field of a Go struct.
type member struct {
	*plan
	index int
	// text: the field is a string, and no pointer to one.
	text bool
}

var (
	plans sync.Map // reflect.Type to *plan
	// planning guards the making of plans, of which some contain themselves.
	planning sync.Mutex
)

// planOf is the plan of a type; that of interfaces is the zero one.
func planOf(t reflect.Type) *plan {
	if t == nil {
		return anything
	}
	if p, ok := plans.Load(t); ok {
		return p.(*plan)
	}
	planning.Lock()
	defer planning.Unlock()
	known := map[*shape.Type]*plan{}
	p := compile(shape.Of(t), known)
	for of, p := range known {
		plans.Store(of.Go, p)
	}
	plans.Store(t, p)
	return p
}

// anything is the plan of what has no type: what is in it becomes maps and slices of interfaces.
var anything = &plan{memory: int(reflect.TypeFor[any]().Size())}

func compile(t *shape.Type, known map[*shape.Type]*plan) *plan {
	t = t.Target()
	if p, ok := plans.Load(t.Go); ok {
		return p.(*plan)
	}
	if p := known[t]; p != nil {
		return p
	}
	p := &plan{memory: int(t.Go.Size())}
	known[t] = p
	switch t.Class {
	case shape.Quantity:
		p.class = quantity
	case shape.Raw, shape.FieldSet:
		p.class = raw
	case shape.String, shape.Bytes:
		p.class = text
	case shape.Bool, shape.Int, shape.Uint, shape.Float:
		p.number = true
	case shape.List:
		p.class, p.element, p.wrapped = list, compile(t.Elem, known), t.Message
	case shape.Map:
		p.class, p.element = dictionary, compile(t.Elem, known)
	case shape.Struct:
		p.class, p.open = record, t.Go == reflect.TypeFor[custom.Object]()
		p.record(t, known)
	}
	return p
}

// record plans the fields of a struct. Those of embedded structs are members of the outer one in JSON; in protobuf an
// embedded struct is a message like others.
func (p *plan) record(t *shape.Type, known map[*shape.Type]*plan) {
	for n := range t.Fields {
		f := &t.Fields[n]
		switch f.Type.Go.Kind() {
		case reflect.Struct, reflect.Pointer, reflect.Slice, reflect.Map, reflect.String:
			p.members = append(p.members, member{compile(f.Type, known), f.Index, f.Type.Class == shape.String})
		}
		if f.Number == 0 || f.Hidden {
			continue
		}
		if f.Number > maxNumber {
			panic(fmt.Sprintf("bounds: field %s of %s has the number %d", f.Name, t.Go, f.Number))
		}
		for len(p.numbers) <= f.Number {
			p.numbers = append(p.numbers, nil)
		}
		p.numbers[f.Number] = fieldOf(f.Type, known)
	}
	p.fields = make(map[string]*fieldPlan, len(t.Members))
	for n := range t.Members {
		m := &t.Members[n]
		p.fields[m.Name] = fieldOf(m.Type, known)
	}
}

func fieldOf(t *shape.Type, known map[*shape.Type]*plan) *fieldPlan {
	f := &fieldPlan{plan: compile(t, known)}
	if t.Class == shape.Pointer {
		f.extra = f.memory
	}
	return f
}
