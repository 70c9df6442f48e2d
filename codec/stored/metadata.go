package stored

import (
	"bytes"

	"k8s.io/apimachinery/pkg/types"
	kjson "sigs.k8s.io/json"
)

// members are those of an object in JSON, without its braces, as the server writes it: without blanks, and no name twice. Of other bytes
// they may tell anything.
type members []byte

// each yields the members, names and values as they stand there, until f returns false.
func (m members) each(f func(name, value []byte) bool) bool {
	for len(m) > 0 {
		colon := width(m, ':')
		if colon < 2 || colon == len(m) {
			return true
		}
		name, rest := m[1:colon-1], m[colon+1:]
		end := width(rest, ',')
		if !f(name, rest[:end]) {
			return false
		}
		m = rest[min(end+1, len(rest)):]
	}
	return true
}

// width is how far it is to a byte that is in no string, list or object.
func width(text []byte, to byte) int {
	depth := 0
	for n := 0; n < len(text); n++ {
		switch c := text[n]; {
		case c == to && depth == 0:
			return n
		case c == '"':
			for n++; n < len(text) && text[n] != '"'; n++ {
				if text[n] == '\\' {
					n++
				}
			}
		case c == '{', c == '[':
			depth++
		case c == '}', c == ']':
			depth--
		}
	}
	return len(text)
}

// lastOfMetadata is the member after which there is none, and the longest.
const lastOfMetadata = "managedFields"

// find gives the value of a member of metadata; nil if there is none.
func (m members) find(name string) (found []byte) {
	m.each(func(is, value []byte) bool {
		if string(is) == name {
			found = value
		}
		return found == nil && string(is) != lastOfMetadata
	})
	return found
}

// text is what a string says.
func text(value []byte) string {
	if len(value) < 2 {
		return ""
	}
	return unescaped(value[1 : len(value)-1])
}

// unescaped is what the part of a string between its quotes says.
func unescaped(body []byte) (s string) {
	if bytes.IndexByte(body, '\\') < 0 {
		return string(body)
	}
	if kjson.UnmarshalCaseSensitivePreserveInts(append(append([]byte{'"'}, body...), '"'), &s) != nil {
		return ""
	}
	return s
}

// reference is what matters here of an owner reference.
type reference struct {
	UID types.UID `json:"uid"`
}

func uids(references []reference) (all []types.UID) {
	for _, o := range references {
		all = append(all, o.UID)
	}
	return all
}

// owners are the uids that owner references name.
func owners(text []byte) []types.UID {
	var all []reference
	if len(text) == 0 || kjson.UnmarshalCaseSensitivePreserveInts(text, &all) != nil {
		return nil
	}
	return uids(all)
}

// treeLabels implement labels.Labels on the labels of an object where they stand.
type treeLabels members

func labelsAt(value []byte) treeLabels {
	if len(value) < 2 {
		return nil
	}
	return treeLabels(value[1 : len(value)-1])
}

// Each calls f for each label, until f returns false; it is false then.
func (l treeLabels) Each(f func(key, value string) bool) bool {
	return members(l).each(func(key, value []byte) bool { return f(unescaped(key), text(value)) })
}

// Lookup implements labels.Labels.
func (l treeLabels) Lookup(key string) (value string, ok bool) {
	members(l).each(func(is, v []byte) bool {
		if ok = string(is) == key || bytes.IndexByte(is, '\\') >= 0 && unescaped(is) == key; ok {
			value = text(v)
		}
		return !ok
	})
	return value, ok
}

// Has implements labels.Labels.
func (l treeLabels) Has(key string) bool {
	_, ok := l.Lookup(key)
	return ok
}

// Get implements labels.Labels.
func (l treeLabels) Get(key string) string {
	value, _ := l.Lookup(key)
	return value
}
