package bounds

import "reflect"

// Object checks what a change has made of an object. What is not larger than before passes, however large.
func Object(object, before any) error {
	var now use
	now.decoded(reflect.ValueOf(object), shapeOf(reflect.TypeOf(object)))
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
	u.decoded(reflect.ValueOf(object), shapeOf(reflect.TypeOf(object)))
	return u.values
}

// decoded counts a value in Go; what JSON would leave out is not worth the look.
func (u *use) decoded(v reflect.Value, sh *shape) bool {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		if v.IsNil() {
			return true
		}
		v = v.Elem()
	}
	if !u.value(0) {
		return false
	}
	switch sh.form {
	case record:
		for i := range v.NumField() {
			f := v.Field(i)
			switch f.Kind() {
			case reflect.Struct, reflect.Pointer, reflect.Slice, reflect.Map:
				if !f.IsZero() && !u.decoded(f, shapeOf(f.Type())) {
					return false
				}
			case reflect.String:
				if f.Len() > 0 {
					u.values++
				}
			}
		}
	case list, dictionary:
		if !u.items(v.Len(), sh.element) {
			return false
		}
		if sh.element.form == scalar || sh.element.form == text {
			u.values += v.Len()
			return u.value(0)
		}
		if sh.form == dictionary {
			for i := v.MapRange(); i.Next(); {
				if !u.decoded(i.Value(), sh.element) {
					return false
				}
			}
			return true
		}
		for i := range v.Len() {
			if !u.decoded(v.Index(i), sh.element) {
				return false
			}
		}
	}
	return true
}
