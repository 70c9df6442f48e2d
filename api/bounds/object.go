package bounds

import "reflect"

// Object checks what a change has made of an object. What is not larger than before passes, however large.
func Object(object, before any) error {
	var now use
	now.decoded(reflect.ValueOf(object), planOf(reflect.TypeOf(object)))
	if now.err == nil || before == nil {
		return now.err
	}
	if size(object) <= size(before) {
		return nil
	}
	return now.err
}

// size counts without bounds.
func size(object any) int {
	u := use{unbounded: true}
	u.decoded(reflect.ValueOf(object), planOf(reflect.TypeOf(object)))
	return u.values
}

// decoded counts a value in Go; what JSON would leave out is not worth the look.
func (u *use) decoded(v reflect.Value, p *plan) bool {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		if v.IsNil() {
			return true
		}
		v = v.Elem()
	}
	if v.Type() == treeType {
		return u.tree(v.Interface())
	}
	if !u.value(0) {
		return false
	}
	switch p.class {
	case record:
		for i := range p.members {
			m := &p.members[i]
			switch f := v.Field(m.index); {
			case m.text:
				if f.Len() > 0 {
					u.values++
				}
			case !f.IsZero() && !u.decoded(f, m.plan):
				return false
			}
		}
	case list, dictionary:
		if !u.items(v.Len(), p.element) {
			return false
		}
		u.memory += 2 * v.Len() * p.element.memory
		if p.element.class == scalar || p.element.class == text {
			u.values += v.Len()
			return u.value(0)
		}
		if p.class == dictionary {
			for i := v.MapRange(); i.Next(); {
				if !u.decoded(i.Value(), p.element) {
					return false
				}
			}
			return true
		}
		for i := range v.Len() {
			if !u.decoded(v.Index(i), p.element) {
				return false
			}
		}
	}
	return true
}

var treeType = reflect.TypeFor[map[string]any]()

// tree counts a value that is made of interfaces.
func (u *use) tree(v any) bool {
	u.depth++
	defer u.leave()
	switch v := v.(type) {
	case map[string]any:
		if !u.value(0) || !u.items(len(v), unknown) {
			return false
		}
		for _, inner := range v {
			if u.memory += anything.entry(); !u.tree(inner) {
				return false
			}
		}
		return true
	case []any:
		if !u.value(0) || !u.items(len(v), anything) {
			return false
		}
		for _, inner := range v {
			if u.memory += 2 * anything.memory; !u.tree(inner) {
				return false
			}
		}
		return true
	}
	return u.value(0)
}
