package stored

import (
	"bytes"
	"reflect"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/api/bounds"
	"github.com/wheelhouse-k8s/wheelhouse/api/shape"
	"github.com/wheelhouse-k8s/wheelhouse/codec/objectjson"
)

// check passes over the JSON of a value of one Go type, and tells whether it is certainly as objectjson writes what it decodes to, byte
// for byte. It decodes nothing. What it doubts may be as good.
type check func(e *exact) bool

// checkedMember is a member of the object that a struct is written as.
type checkedMember struct {
	head   []byte // its name and the colon
	always bool   // it is never left out
	check  check
}

// checkedMetadata are the members of metadata as it is stored: without a resourceVersion.
var checkedMetadata = slices.DeleteFunc(checkedMembers(shape.Of(reflect.TypeFor[metav1.ObjectMeta]())),
	func(m checkedMember) bool { return string(m.head) == `"resourceVersion":` })

// isMetadata tells whether a document is certainly metadata as objectjson writes it.
func isMetadata(document []byte) bool {
	e := exact{rest: document}
	return e.object(checkedMetadata) && len(e.rest) == 0
}

// checkedMembers are those of which something is known; what has any other is doubted.
func checkedMembers(t *shape.Type) (all []checkedMember) {
	for n := range t.Members {
		f := t.Members[n].Field
		omit := f.OmitZero || f.OmitEmpty && f.Type.Go.Kind() != reflect.Struct
		m := checkedMember{head: append(objectjson.AppendString(nil, f.Name), ':'), always: !omit, check: checkOf(f.Type, omit)}
		if m.check != nil || m.always {
			all = append(all, m)
		}
	}
	return all
}

// checkOf is for a type; nil if nothing is known of it. With some, a value that is empty is doubted: it would have been left out.
func checkOf(t *shape.Type, some bool) check {
	switch t.Class {
	case shape.String:
		return func(e *exact) bool {
			body, ok := e.written()
			return ok && (len(body) > 0 || !some)
		}
	case shape.Bool:
		return func(e *exact) bool { return e.word("true") || !some && e.word("false") }
	case shape.Int:
		return func(e *exact) bool { return e.whole(int(t.Go.Size())*2, some) }
	case shape.Time:
		return (*exact).time
	case shape.Pointer:
		if t.Elem.Class == shape.FieldSet {
			return (*exact).fields
		}
		return checkOf(t.Elem, false)
	case shape.List:
		if elem := checkOf(t.Elem, false); elem != nil {
			return func(e *exact) bool { return e.list(elem) }
		}
	case shape.Map:
		if t.Key.Class == shape.String && t.Elem.Class == shape.String {
			return (*exact).texts
		}
	case shape.Struct:
		if members := checkedMembers(t); t.Plain && !t.EncodesJSON {
			return func(e *exact) bool { return e.object(members) }
		}
	}
	return nil
}

// object goes over an object whose members stand in the order of a struct's fields.
func (e *exact) object(members []checkedMember) bool {
	if !e.take('{') {
		return false
	}
	first := true
	for n := range members {
		m, rest, comma := &members[n], e.rest, true
		if !first {
			rest, comma = bytes.CutPrefix(rest, []byte{','})
		}
		rest, is := bytes.CutPrefix(rest, m.head)
		if !comma || !is {
			if m.always {
				return false
			}
			continue
		}
		e.rest, first = rest, false
		if m.check == nil || !m.check(e) {
			return false
		}
	}
	return e.take('}')
}

// list goes over a list that is not empty.
func (e *exact) list(elem check) bool {
	for next := byte('['); e.take(next); next = ',' {
		if !elem(e) {
			return false
		}
		if e.take(']') {
			return true
		}
	}
	return false
}

// texts goes over a map of texts that is not empty, in the order of its keys.
func (e *exact) texts() bool {
	var before []byte
	for next := byte('{'); e.take(next); next = ',' {
		key, ok := e.written()
		if !ok || bytes.IndexByte(key, '\\') >= 0 || next == ',' && bytes.Compare(before, key) >= 0 || !e.take(':') {
			return false
		}
		before = key
		if _, ok := e.written(); !ok {
			return false
		}
		if e.take('}') {
			return true
		}
	}
	return false
}

// written passes over a string with no other escapes than it is written with, and gives what stands between its quotes.
func (e *exact) written() ([]byte, bool) {
	if len(e.rest) == 0 || e.rest[0] != '"' {
		return nil, false
	}
	if end := bytes.IndexByte(e.rest[1:], '"'); end >= 0 && objectjson.Plain(e.rest[1:1+end]) {
		body := e.rest[1 : 1+end]
		e.rest = e.rest[end+2:]
		return body, true
	}
	from := e.rest
	body, ok := e.text()
	return body, ok && bytes.Equal(objectjson.AppendString(nil, unescaped(body)), from[:len(body)+2])
}

// whole passes over a number of at most so many digits, and no sign.
func (e *exact) whole(most int, some bool) bool {
	n := 0
	for n < len(e.rest) && e.rest[n] >= '0' && e.rest[n] <= '9' {
		n++
	}
	if n == 0 || n > most || e.rest[0] == '0' && (n > 1 || some) {
		return false
	}
	e.rest = e.rest[n:]
	return true
}

// time passes over a time of one of the years that need no second thought.
func (e *exact) time() bool {
	const like = `"0000-00-00T00:00:00Z"`
	if len(e.rest) < len(like) || e.rest[1] == '0' {
		return false
	}
	text := e.rest[:len(like)]
	for n, c := range text {
		if digit := c >= '0' && c <= '9'; digit != (like[n] == '0') || !digit && c != like[n] {
			return false
		}
	}
	e.rest = e.rest[len(like):]
	_, err := time.Parse(`"`+time.RFC3339+`"`, string(text))
	return err == nil
}

// fields passes over managed fields.
func (e *exact) fields() bool {
	if len(e.rest) == 0 {
		return false
	}
	end := min(width(e.rest[1:], '}')+2, len(e.rest))
	set := e.rest[:end]
	e.rest = e.rest[end:]
	return bytes.Count(set, []byte{'{'}) <= bounds.MaxDepth && objectjson.PlainFields(set)
}
