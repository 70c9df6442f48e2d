package bounds

import (
	"bytes"
	"encoding/json"
	"reflect"
)

// JSON scans a document that is about to be decoded into a value of the type of into, or into maps if that is nil.
func JSON(data []byte, into any) error {
	if len(data) <= smallDocument && bytes.Count(data, []byte{'['})+bytes.Count(data, []byte{'{'}) <= MaxDepth && plain(data) {
		return nil
	}
	s := scan{data: data}
	s.any(planOf(reflect.TypeOf(into)), 0)
	return s.err
}

// Elements is the length of the list that a document is; 0 if it is none.
func Elements(data []byte) int {
	s := scan{use: use{unbounded: true}, data: data}
	if s.next() != '[' {
		return 0
	}
	s.array(anything)
	return s.top
}

// LongestList is the length of the longest list in a document.
func LongestList(data []byte) int {
	s := scan{use: use{unbounded: true}, data: data}
	s.any(anything, 0)
	return s.longest
}

// Nested is how many bytes the objects and lists of a document add up to, each with what is in it.
func Nested(data []byte) int {
	s := scan{use: use{unbounded: true}, data: data}
	s.any(anything, 0)
	return s.nested
}

// scan goes once over a document. What is malformed ends it.
type scan struct {
	use
	data []byte
	at   int
	// top is the length of the list scanned last, longest that of the longest.
	top, longest int
	// nested sums up how long objects and lists are.
	nested int
}

// stop ends the scan without a verdict.
func (s *scan) stop() bool {
	s.at = len(s.data)
	return false
}

// next is the next byte that is no space; 0 at the end.
func (s *scan) next() byte {
	for s.at < len(s.data) {
		switch c := s.data[s.at]; c {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return c
		}
	}
	return 0
}

// any scans one value; false ends the scan.
func (s *scan) any(p *plan, extra int) bool {
	c := s.next()
	if c == 'n' { // null takes nothing
		extra = 0
	}
	if p.isRaw() && !s.rawValue() || !p.isRaw() && !s.value(extra) {
		return false
	}
	switch c {
	case '{':
		begin := s.at
		ok := s.object(p)
		s.nested += s.at - begin
		return ok
	case '[':
		begin := s.at
		ok := s.array(p)
		s.nested += s.at - begin
		return ok
	case '"':
		body, ok := s.string()
		if ok && p.class == quantity {
			s.quantity(bytes.TrimSpace(unescaped(body)))
		}
		return ok && s.err == nil
	case 0:
		return s.stop()
	}
	begin := s.at
	for s.at < len(s.data) {
		switch s.data[s.at] {
		case ',', ']', '}', ' ', '\t', '\n', '\r', '"', ':', '[', '{':
			if s.at == begin {
				return s.stop()
			}
			if p.class == quantity {
				s.quantity(s.data[begin:s.at])
			}
			return s.err == nil
		}
		s.at++
	}
	return false
}

// string passes over a string and gives what stands between its quotes.
func (s *scan) string() ([]byte, bool) {
	s.at++
	begin := s.at
	for {
		n := bytes.IndexByte(s.data[s.at:], '"')
		if n < 0 {
			return nil, s.stop()
		}
		end := s.at + n
		s.at = end + 1
		slashes := 0
		for end-1-slashes >= begin && s.data[end-1-slashes] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return s.data[begin:end], true
		}
	}
}

// unescaped is what a string stands for. What is malformed stays as it is.
func unescaped(body []byte) []byte {
	if bytes.IndexByte(body, '\\') < 0 {
		return body
	}
	var plain string
	if json.Unmarshal(append(append([]byte{'"'}, body...), '"'), &plain) != nil {
		return body
	}
	return []byte(plain)
}

// member is the plan for a member of an object, and what an entry of the object takes.
func (p *plan) member(key []byte) (inner *plan, extra int) {
	switch p.class {
	case record:
		if f := p.fields[string(unescaped(key))]; f != nil {
			return f.plan, f.extra
		}
		if p.open {
			return anything, anything.entry()
		}
		return unknown, 0
	case dictionary:
		return p.element, entryMemory + 2*p.element.memory
	case raw:
		return p, 0
	}
	return p, p.entry()
}

// entry is what an entry of a map of interfaces takes.
func (p *plan) entry() int { return 2*entryMemory + 2*p.memory }

// entryMemory is what a map takes for a key, with the room that it has for more.
const entryMemory = 48

// unknown is the plan of what no decoder keeps as values.
var unknown = &plan{class: raw}

// isRaw tells whether the values are kept as JSON.
func (p *plan) isRaw() bool { return p.class == raw && p != unknown }

// entries is the plan of what an object has, as far as their number is concerned.
func (p *plan) entries() *plan {
	if p.isRaw() {
		return p
	}
	return unknown
}

func (s *scan) object(p *plan) bool {
	if !s.enter() {
		return false
	}
	s.at++
	if s.next() == '}' {
		s.at++
		s.leave()
		return true
	}
	for n := 1; ; n++ {
		if s.next() != '"' {
			return s.stop()
		}
		key, ok := s.string()
		if !ok || s.next() != ':' || !s.items(n, p.entries()) {
			return s.stop()
		}
		s.at++
		inner, extra := p.member(key)
		if !s.any(inner, extra) {
			return false
		}
		switch s.next() {
		case ',':
			s.at++
		case '}':
			s.at++
			s.leave()
			return true
		default:
			return s.stop()
		}
	}
}

func (s *scan) array(p *plan) bool {
	if !s.enter() {
		return false
	}
	element, memory := p, 0
	switch p.class {
	case list:
		element, memory = p.element, 2*p.element.memory
	case scalar:
		memory = 2 * p.memory
	case raw:
	default:
		element = unknown
	}
	s.at++
	if s.next() == ']' {
		s.at++
		s.leave()
		return true
	}
	for n := 1; ; n++ {
		if s.longest = max(s.longest, n); !s.items(n, element) {
			return false
		}
		s.memory += memory // null is an element as well
		if !s.any(element, 0) {
			return false
		}
		switch s.next() {
		case ',':
			s.at++
		case ']':
			s.at++
			s.leave()
			s.top = n
			return true
		default:
			return s.stop()
		}
	}
}
