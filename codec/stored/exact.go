package stored

import (
	"bytes"
	"strconv"
	"unicode/utf8"

	"github.com/wheelhouse-k8s/wheelhouse/api/bounds"
	"github.com/wheelhouse-k8s/wheelhouse/codec/objectjson"
)

// exact goes once over JSON and finds out whether it is certainly as the server itself writes it: members in the order of their names, each
// once, no blanks, numbers and text as it writes them. Whoever decodes it and encodes it again has the same value. What it doubts may
// be as good.
type exact struct {
	rest  []byte
	depth int
}

// members goes over the members of an object up to its closing brace. skip names those that must not be among them.
func (e *exact) members(skip func(name string) bool) bool {
	if e.depth++; e.depth > bounds.MaxDepth {
		return false
	}
	var before []byte
	for first := true; ; first = false {
		if e.take('}') {
			e.depth--
			return true
		}
		if !first && !e.take(',') {
			return false
		}
		name, ok := e.text()
		if !ok || bytes.IndexByte(name, '\\') >= 0 || !first && bytes.Compare(before, name) >= 0 || skip != nil && skip(string(name)) {
			return false
		}
		before = name
		if !e.take(':') || !e.value() {
			return false
		}
	}
}

func (e *exact) elements() bool {
	if e.depth++; e.depth > bounds.MaxDepth {
		return false
	}
	for first := true; ; first = false {
		if e.take(']') {
			e.depth--
			return true
		}
		if !first && !e.take(',') || !e.value() {
			return false
		}
	}
}

func (e *exact) value() bool {
	if len(e.rest) == 0 {
		return false
	}
	switch c := e.rest[0]; c {
	case '"':
		_, ok := e.text()
		return ok
	case '{':
		e.rest = e.rest[1:]
		return e.members(nil)
	case '[':
		e.rest = e.rest[1:]
		return e.elements()
	case 't':
		return e.word("true")
	case 'f':
		return e.word("false")
	case 'n':
		return e.word("null")
	}
	return e.number()
}

func (e *exact) take(c byte) bool {
	if len(e.rest) == 0 || e.rest[0] != c {
		return false
	}
	e.rest = e.rest[1:]
	return true
}

func (e *exact) word(w string) (ok bool) {
	e.rest, ok = bytes.CutPrefix(e.rest, []byte(w))
	return ok
}

// text passes over a string and gives what stands between its quotes. Of the escapes it knows those that are written.
func (e *exact) text() ([]byte, bool) {
	if !e.take('"') {
		return nil, false
	}
	high := false
	for n := 0; n < len(e.rest); n++ {
		switch c := e.rest[n]; {
		case c == '"':
			body := e.rest[:n]
			e.rest = e.rest[n+1:]
			return body, !high || utf8.Valid(body)
		case c == '\\':
			width := escape(e.rest[n:])
			if width == 0 {
				return nil, false
			}
			n += width - 1
		case c < ' ':
			return nil, false
		case c >= utf8.RuneSelf:
			high = true
		}
	}
	return nil, false
}

// escape is the length of the escape that b begins with, 0 if it is none of those that are written.
func escape(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(b) < 6 {
			return 0
		}
		if r, err := strconv.ParseUint(string(b[2:6]), 16, 16); err == nil && utf8.ValidRune(rune(r)) { // no half of a pair
			return 6
		}
	}
	return 0
}

// wholeDigits are so many that a number with no more fits any whole one.
const wholeDigits = 18

func (e *exact) number() bool {
	n, whole := 0, true
	for n < len(e.rest) {
		c := e.rest[n]
		if c == '.' || c == 'e' || c == '+' || c == '-' && n > 0 {
			whole = false
		} else if (c < '0' || c > '9') && c != '-' {
			break
		}
		n++
	}
	text := e.rest[:n]
	e.rest = e.rest[n:]
	digits := bytes.TrimPrefix(text, []byte("-"))
	if len(digits) == 0 {
		return false
	}
	if whole && len(digits) <= wholeDigits {
		return digits[0] != '0' || len(text) == 1 // "-0" and "01" are not written
	}
	if v, err := strconv.ParseInt(string(text), 10, 64); err == nil {
		return strconv.FormatInt(v, 10) == string(text)
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return false
	}
	again, err := objectjson.AppendTree(nil, f)
	return err == nil && bytes.Equal(again, text)
}
