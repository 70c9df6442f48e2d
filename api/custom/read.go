package custom

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"
)

// readDepth bounds how deep a document may nest that is read in one pass.
const readDepth = 512

// reader reads a document in one pass, into what sigs.k8s.io/json makes of it. What that library may have something to say about, mistakes
// first of all, it does not judge: it gives up then, and the library is asked.
type reader struct {
	data []byte
	at   int
	// twice: some member of an object was given more than once; the last one counts.
	twice bool
}

// read makes o what a document says. It is false where the library must be asked; with check, that is also so where there may be anything to
// complain of.
func (o *Object) read(data []byte, check bool) bool {
	r := reader{data: data}
	decoded := Object{Members: map[string]any{}}
	var metadata []byte
	if !r.document(&decoded, &metadata) || check && (r.twice || len(Twice(metadata)) > 0) {
		return false
	}
	if len(decoded.Members) == 0 {
		decoded.Members = nil
	}
	if metadata != nil && !decoded.readMetadata(metadata, check) {
		return false
	}
	*o = decoded
	return true
}

func (o *Object) readMetadata(text []byte, check bool) bool {
	var of metav1.ObjectMeta
	if check {
		complaints, err := kjson.UnmarshalStrict(text, &of, kjson.DisallowUnknownFields)
		if err != nil || len(complaints) > 0 {
			return false
		}
	} else if kjson.UnmarshalCaseSensitivePreserveInts(text, &of) != nil {
		return false
	}
	o.ObjectMeta = of
	return true
}

// document reads the object that the document is, and finds the text of its metadata.
func (r *reader) document(o *Object, metadata *[]byte) bool {
	if r.next() != '{' {
		return false
	}
	var versions, kinds int
	ok := r.members(func(name string) bool {
		switch name {
		case own[0]:
			versions++
			return r.own(&o.APIVersion)
		case own[1]:
			kinds++
			return r.own(&o.Kind)
		case own[2]:
			begin, first := r.at, *metadata == nil
			ok := r.skip()
			*metadata = r.data[begin:r.at]
			return ok && first // nobody would look at what another one replaces
		}
		return r.into(o.Members, name, readDepth)
	})
	r.twice = r.twice || versions > 1 || kinds > 1
	return ok && r.next() == 0 && r.at == len(r.data)
}

// own reads a text of the object's own. One that is null leaves it as it is, and is not read here.
func (r *reader) own(into *string) bool {
	if r.next() != '"' {
		return false
	}
	var ok bool
	*into, ok = r.text()
	return ok
}

// skip passes over an object whose text is for others to judge.
func (r *reader) skip() bool {
	if r.next() != '{' {
		return false
	}
	for depth := 0; r.at < len(r.data); r.at++ {
		switch r.data[r.at] {
		case '"':
			if r.pass(); r.at >= len(r.data) {
				return false
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				r.at++
				return true
			}
		}
	}
	return false
}

// pass goes from the quote that begins a string to the one that ends it.
func (r *reader) pass() {
	for r.at++; r.at < len(r.data) && r.data[r.at] != '"'; r.at++ {
		if r.data[r.at] == '\\' {
			r.at++
		}
	}
}

// next goes to the next byte that is no blank, and gives it; 0 at the end.
func (r *reader) next() byte {
	for ; r.at < len(r.data); r.at++ {
		switch c := r.data[r.at]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// members reads an object; value reads what a member is, from before the first of its bytes.
func (r *reader) members(value func(name string) bool) bool {
	r.at++
	if r.next() == '}' {
		r.at++
		return true
	}
	for r.next() == '"' {
		name, ok := r.text()
		if !ok || r.next() != ':' {
			return false
		}
		r.at++
		if r.next(); !value(name) {
			return false
		}
		c := r.next()
		r.at++
		if c != ',' {
			return c == '}'
		}
	}
	return false
}

// into reads a member of an object, which nests no deeper than depth.
func (r *reader) into(m map[string]any, name string, depth int) bool {
	v, ok := r.value(depth)
	before := len(m)
	m[name] = v
	r.twice = r.twice || len(m) == before
	return ok
}

// value reads one that nests no deeper than depth.
func (r *reader) value(depth int) (any, bool) {
	switch r.next() {
	case '"':
		return r.text()
	case '{':
		m := map[string]any{}
		return m, depth > 0 && r.members(func(name string) bool { return r.into(m, name, depth-1) })
	case '[':
		return r.elements(depth)
	case 't':
		return true, r.word("true")
	case 'f':
		return false, r.word("false")
	case 'n':
		return nil, r.word("null")
	}
	return r.number()
}

func (r *reader) elements(depth int) (any, bool) {
	list := []any{}
	r.at++
	if r.next() == ']' {
		r.at++
		return list, true
	}
	for depth > 0 {
		v, ok := r.value(depth - 1)
		if !ok {
			return nil, false
		}
		list = append(list, v)
		c := r.next()
		r.at++
		if c != ',' {
			return list, c == ']'
		}
	}
	return nil, false
}

func (r *reader) word(w string) bool {
	ok := bytes.HasPrefix(r.data[r.at:], []byte(w))
	r.at += len(w)
	return ok
}

// text reads a string, from its quote on.
func (r *reader) text() (string, bool) {
	begin, high := r.at, false
	for n := begin + 1; n < len(r.data); n++ {
		switch c := r.data[n]; {
		case c == '"':
			body := r.data[begin+1 : n]
			if high && !utf8.Valid(body) {
				return r.escaped(begin)
			}
			r.at = n + 1
			return string(body), true
		case c == '\\':
			return r.escaped(begin)
		case c < ' ':
			return "", false
		case c >= utf8.RuneSelf:
			high = true
		}
	}
	return "", false
}

// escaped reads a string that does not stand for itself: the library knows for what.
func (r *reader) escaped(begin int) (string, bool) {
	r.at = begin
	r.pass()
	r.at = min(r.at+1, len(r.data))
	var s string
	err := kjson.UnmarshalCaseSensitivePreserveInts(r.data[begin:r.at], &s)
	return s, err == nil
}

// number reads one: a whole one that fits is an int64, as the library has it.
func (r *reader) number() (any, bool) {
	begin := r.at
	if r.at < len(r.data) && r.data[r.at] == '-' {
		r.at++
	}
	first := r.at
	if digits := r.digits(); digits == 0 || digits > 1 && r.data[first] == '0' {
		return nil, false
	}
	fraction := r.at < len(r.data) && r.data[r.at] == '.'
	if fraction {
		if r.at++; r.digits() == 0 {
			return nil, false
		}
	}
	if r.at < len(r.data) && r.data[r.at]|0x20 == 'e' {
		r.at++
		if r.at < len(r.data) && (r.data[r.at] == '+' || r.data[r.at] == '-') {
			r.at++
		}
		if r.digits() == 0 {
			return nil, false
		}
	}
	text := string(r.data[begin:r.at])
	if !fraction && !strings.ContainsAny(text, "eE") {
		if whole, err := strconv.ParseInt(text, 10, 64); err == nil {
			return whole, true
		}
	}
	f, err := strconv.ParseFloat(text, 64)
	return f, err == nil
}

func (r *reader) digits() int {
	begin := r.at
	for r.at < len(r.data) && r.data[r.at] >= '0' && r.data[r.at] <= '9' {
		r.at++
	}
	return r.at - begin
}
