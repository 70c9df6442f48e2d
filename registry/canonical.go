package registry

import (
	"reflect"
	"slices"
	"strings"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// canonical makes an object in memory what its stored form decodes to, so that a writer's object can stand for the
// stored one: protobuf does not tell an empty list from none, which shows in JSON wherever a list is not omitted
// when empty ("rules": [] or null). It knows the places, by walking the kind's type once.
type canonical struct{ root *canonicalType }

// canonicalType says where to look in values of one struct type. Types that contain themselves make circles.
type canonicalType struct {
	steps []canonicalStep
	// useful: there is something to settle in it or below.
	useful bool
}

type canonicalStep struct {
	field []int
	// empty: the field is a list or map that shows when empty.
	empty bool
	// next is the type of the field, or of its elements; nil if that is no struct.
	next *canonicalType
}

func newCanonical(info *kind.Info) canonical {
	known := map[reflect.Type]*canonicalType{}
	root := canonicalOf(reflect.TypeOf(info.New()), known)
	for changed := true; changed; {
		changed = false
		for _, t := range known {
			for _, s := range t.steps {
				if !t.useful && (s.empty || s.next != nil && s.next.useful) {
					t.useful, changed = true, true
				}
			}
		}
	}
	for _, t := range known {
		t.steps = slices.DeleteFunc(t.steps, func(s canonicalStep) bool {
			return !s.empty && (s.next == nil || !s.next.useful)
		})
	}
	return canonical{root}
}

func canonicalOf(t reflect.Type, known map[reflect.Type]*canonicalType) *canonicalType {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t.PkgPath() == "time" {
		return nil
	}
	if c := known[t]; c != nil {
		return c
	}
	c := &canonicalType{}
	known[t] = c
	for n := range t.NumField() {
		f := t.Field(n)
		tag := f.Tag.Get("json")
		if !f.IsExported() || tag == "-" {
			continue
		}
		list := f.Type.Kind() == reflect.Map || f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() != reflect.Uint8
		c.steps = append(c.steps, canonicalStep{
			field: f.Index, next: canonicalOf(f.Type, known),
			empty: list && tag != "" && !strings.Contains(tag, ",omitempty") && !strings.Contains(tag, ",inline"),
		})
	}
	return c
}

// settle changes the object in place.
func (c canonical) settle(o kind.Object) {
	if c.root != nil && c.root.useful {
		c.root.settle(reflect.ValueOf(o))
	}
}

func (t *canonicalType) settle(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			t.settle(v.Elem())
		}
	case reflect.Slice:
		for n := range v.Len() {
			t.settle(v.Index(n))
		}
	case reflect.Map:
		t.settleMap(v)
	case reflect.Struct:
		for n := range t.steps {
			s := &t.steps[n]
			f := v.FieldByIndex(s.field)
			if s.empty && f.Len() == 0 && !f.IsNil() {
				f.SetZero()
			} else if s.next != nil && s.next.useful {
				s.next.settle(f)
			}
		}
	}
}

// settleMap settles copies of a map's structs, which cannot be changed where they stand.
func (t *canonicalType) settleMap(v reflect.Value) {
	for it := v.MapRange(); it.Next(); {
		e := it.Value()
		if e.Kind() == reflect.Struct {
			changed := reflect.New(e.Type()).Elem()
			changed.Set(e)
			t.settle(changed)
			v.SetMapIndex(it.Key(), changed)
		} else {
			t.settle(e)
		}
	}
}
