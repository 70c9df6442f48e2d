package custom

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"
)

const (
	// maxTold is how many members that are given twice are told of one document, as sigs.k8s.io/json tells.
	maxTold = 100
	// maxPath is how much of the path to one is shown. A body can make paths as long as it is itself, and one for each of its members.
	maxPath = 1 << 10
)

// Twice tells which members of objects a document gives more than once, in the words of sigs.k8s.io/json. That library spends on each of
// them what its path is long. The document must be valid: Twice ends where it is not.
func Twice(data []byte) []error {
	t := twice{data: data}
	t.value()
	return t.told
}

type twice struct {
	data []byte
	at   int
	path []string
	told []error
	seen map[string]bool
}

// next is the next byte that is no space; 0 at the end.
func (t *twice) next() byte {
	for ; t.at < len(t.data); t.at++ {
		switch c := t.data[t.at]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// value passes over one; false ends the search.
func (t *twice) value() bool {
	switch t.next() {
	case '{':
		return t.members()
	case '[':
		return t.elements()
	case '"':
		_, ok := t.text()
		return ok
	case 0:
		return false
	}
	n := bytes.IndexAny(t.data[t.at:], ",]}")
	if n < 0 {
		return false
	}
	t.at += n
	return true
}

// more tells, after a member or an element, whether another follows. Any other byte than a comma ends the object or list.
func (t *twice) more() bool {
	c := t.next()
	t.at++
	return c == ','
}

func (t *twice) members() bool {
	t.at++
	if t.next() == '}' {
		t.at++
		return true
	}
	names := map[string]struct{}{}
	for {
		if t.next() != '"' {
			return false
		}
		name, ok := t.text()
		if !ok || t.next() != ':' {
			return false
		}
		t.at++
		if _, again := names[name]; again && !t.tell(name) {
			return false
		}
		names[name] = struct{}{}
		if len(t.path) > 0 {
			name = "." + name
		}
		t.path = append(t.path, name)
		if !t.value() {
			return false
		}
		t.path = t.path[:len(t.path)-1]
		if !t.more() {
			return true
		}
	}
}

func (t *twice) elements() bool {
	t.at++
	if t.next() == ']' {
		t.at++
		return true
	}
	for n := 0; ; n++ {
		t.path = append(t.path, "")
		if c := t.next(); c == '{' || c == '[' {
			t.path[len(t.path)-1] = "[" + strconv.Itoa(n) + "]"
		}
		if !t.value() {
			return false
		}
		t.path = t.path[:len(t.path)-1]
		if !t.more() {
			return true
		}
	}
}

// text passes over a string and gives what it stands for.
func (t *twice) text() (string, bool) {
	begin := t.at
	for t.at++; t.at < len(t.data); t.at++ {
		switch t.data[t.at] {
		case '\\':
			t.at++
		case '"':
			t.at++
			quoted := t.data[begin:t.at]
			if bytes.IndexByte(quoted, '\\') < 0 && utf8.Valid(quoted) {
				return string(quoted[1 : len(quoted)-1]), true
			}
			var plain string
			return plain, json.Unmarshal(quoted, &plain) == nil
		}
	}
	return "", false
}

// tell tells of a member of the object at the path; false if enough has been told.
func (t *twice) tell(name string) bool {
	var path []byte
	for _, part := range append(t.path, "."+name) {
		if path = append(path, part[:min(len(part), maxPath)]...); len(path) > maxPath {
			break
		}
	}
	if len(t.path) == 0 {
		path = path[1:]
	}
	if len(path) > maxPath {
		path = append(bytes.ToValidUTF8(path[:maxPath], nil), "..."...)
	}
	if t.seen[string(path)] {
		return true
	}
	if t.seen == nil {
		t.seen = map[string]bool{}
	}
	t.seen[string(path)] = true
	t.told = append(t.told, fmt.Errorf("duplicate field %q", path))
	return len(t.told) < maxTold
}
