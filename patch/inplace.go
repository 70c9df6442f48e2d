package patch

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"sync"

	kjson "sigs.k8s.io/json"

	"github.com/wheelhouse-k8s/wheelhouse/api/bounds"
	"github.com/wheelhouse-k8s/wheelhouse/api/custom"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/shape"
	"github.com/wheelhouse-k8s/wheelhouse/codec/objectjson"
)

// Most patches name a few fields of a large object: an annotation, a condition, a number. Such a patch is carried out on a copy of the
// object itself. Nothing here says what is wrong with a patch, and nothing is interpreted that could be meant in two ways: what is in
// doubt is left to the way through JSON, whose result the result here always is, but that JSON which an object keeps stays as it is written.

// inPlaceMax bounds the patches that are carried out in place. Each level of a patch is read once more for those it lies in.
const inPlaceMax = 16 << 10

// inPlace carries out a merge patch, or a strategic one that has no directives outside lists; ok tells whether it could.
func (p *patcher) inPlace(old kind.Object, strategic bool) (obj kind.Object, ok bool) {
	if len(p.data) > inPlaceMax || p.kind.Form == kind.Tree || bounds.JSON(p.data, old) != nil || len(custom.Twice(p.data)) > 0 {
		return nil, false
	}
	c := change{kind: p.kind, strategic: strategic}
	obj = copyFor(p.kind, old)
	v := reflect.ValueOf(obj).Elem()
	if !c.whole(v, shape.Of(v.Type()), p.data) || bounds.Object(obj, old) != nil {
		return nil, false
	}
	return obj, true
}

// copyFor is a deep copy of an object but for what its managers have, which is never changed in place and often as long as the rest.
func copyFor(k *kind.Kind, old kind.Object) kind.Object {
	shallow := withType(k, old)
	shallow.SetManagedFields(nil)
	obj := shallow.DeepCopyObject().(kind.Object)
	obj.SetManagedFields(slices.Clone(old.GetManagedFields()))
	return obj
}

// change is a patch that is carried out in place. Its methods tell whether they could; an object of which a part could not be
// changed is of no use.
type change struct {
	kind      *kind.Kind
	strategic bool
}

// whole changes an object: a patch may say what it is, but not make it something else.
func (c *change) whole(v reflect.Value, t *shape.Type, raw []byte) bool {
	members, ok := membersOf(raw)
	if !ok || !is(members, "apiVersion", c.kind.GVK.GroupVersion().String()) || !is(members, "kind", c.kind.GVK.Kind) {
		return false
	}
	delete(members, "apiVersion")
	delete(members, "kind")
	return c.members(v, t, members)
}

// is tells whether a member has a value, or is not there.
func is(members map[string]json.RawMessage, name, want string) bool {
	raw, ok := members[name]
	if !ok {
		return true
	}
	var got string
	return json.Unmarshal(raw, &got) == nil && got == want
}

func membersOf(raw []byte) (members map[string]json.RawMessage, ok bool) {
	if !begins(raw, '{') || json.Unmarshal(raw, &members) != nil {
		return nil, false
	}
	return members, true
}

func begins(raw []byte, with byte) bool {
	raw = bytes.TrimLeft(raw, " \t\r\n")
	return len(raw) > 0 && raw[0] == with
}

func isNull(raw []byte) bool { return string(bytes.TrimSpace(raw)) == "null" }

// members changes the fields of a struct.
func (c *change) members(v reflect.Value, t *shape.Type, members map[string]json.RawMessage) bool {
	if !t.Plain {
		return false
	}
	for name, raw := range members {
		list := name
		if c.strategic {
			list = listOf(name)
		}
		m, ok := t.Member(list)
		if !ok || m.Quoted {
			return false
		}
		f := v.FieldByIndex(m.Path)
		switch {
		case list != name, c.strategic && merges(m):
			if _, replaced := members[list]; replaced && !merges(m) { // the directive may be at odds with it
				return false
			}
			if !c.list(f, t, m, name, members) {
				return false
			}
		case !c.member(f, m, raw):
			return false
		}
	}
	return true
}

// merges tells whether the items of a strategic patch's list are merged into those that there are.
func merges(m *shape.Member) bool {
	return m.Type.Class == shape.List && slices.Contains(m.MergeStrategies, mergeDirective)
}

// listOf is the list that a member of a strategic patch is about: the member itself, unless it is a directive.
func listOf(name string) string {
	for _, prefix := range []string{setOrderPrefix, deleteFromPrefix} {
		if list, ok := strings.CutPrefix(name, prefix+"/"); ok {
			return list
		}
	}
	return name
}

// list merges a list that has a strategy, as a document of its own: only the list is taken through JSON. What the patch says
// of it stands in up to three members, of which name is one.
func (c *change) list(f reflect.Value, t *shape.Type, m *shape.Member, name string, members map[string]json.RawMessage) bool {
	if m.Type.Class != shape.List {
		return false
	}
	said := map[string]any{}
	first := true
	for _, part := range []string{m.Name, setOrderPrefix + "/" + m.Name, deleteFromPrefix + "/" + m.Name} {
		raw, ok := members[part]
		if !ok {
			continue
		}
		if first && part != name { // it is merged with that one
			return true
		}
		first = false
		var value any
		if bytes.Contains(raw, []byte("null")) || !plainNumbers(raw) || kjson.UnmarshalCaseSensitivePreserveInts(raw, &value) != nil {
			return false
		}
		said[part] = value
	}
	doc := map[string]any{}
	if f.Len() > 0 || !m.OmitEmpty {
		text, err := objectjson.Append(nil, f.Interface())
		var present any
		if err != nil || kjson.UnmarshalCaseSensitivePreserveInts(text, &present) != nil {
			return false
		}
		doc[m.Name] = present
	}
	merged, err := mergeMembers(doc, said, mergeRules{of: t})
	if err != nil {
		return false
	}
	after, ok := merged[m.Name]
	if !ok {
		f.SetZero()
		return true
	}
	text, err := json.Marshal(after)
	if err != nil {
		return false
	}
	value := reflect.New(f.Type())
	if complaints, err := kjson.UnmarshalStrict(text, value.Interface()); err != nil || len(complaints) > 0 {
		return false
	}
	f.Set(value.Elem())
	return true
}

// member changes one field.
func (c *change) member(f reflect.Value, m *shape.Member, raw []byte) bool {
	if isNull(raw) {
		f.SetZero()
		return true
	}
	t := m.Type
	target := t.Target()
	switch {
	case target.EncodesJSON:
	case target.Class == shape.Struct:
		if c.strategic && slices.Contains(m.MergeStrategies, replaceDirective) || t.Class == shape.Pointer && t.Elem != target {
			return false
		}
		members, ok := membersOf(raw)
		if !ok {
			return false
		}
		if t.Class == shape.Pointer {
			if f.IsNil() {
				f.Set(reflect.New(target.Go))
			}
			f = f.Elem()
		}
		return c.members(f, target, members)
	case t.Class == shape.Map:
		return c.mapping(f, t, raw)
	case t.Class == shape.List:
		return begins(raw, '[') && c.replace(f, raw)
	}
	return !begins(raw, '{') && c.replace(f, raw)
}

// mapping changes the entries of a map whose values are taken as a whole.
func (c *change) mapping(f reflect.Value, t *shape.Type, raw []byte) bool {
	elem := t.Elem
	if t.Key.Class != shape.String || t.Key.EncodesJSON || elem.Class > shape.Bytes && !elem.EncodesJSON {
		return false
	}
	members, ok := membersOf(raw)
	if !ok {
		return false
	}
	if f.IsNil() {
		f.Set(reflect.MakeMapWithSize(t.Go, len(members)))
	}
	for name, raw := range members {
		if c.strategic && strings.HasPrefix(name, "$") {
			return false
		}
		key := reflect.ValueOf(name).Convert(t.Key.Go)
		if isNull(raw) {
			f.SetMapIndex(key, reflect.Value{})
			continue
		}
		value := reflect.New(elem.Go).Elem()
		if begins(raw, '{') || !c.replace(value, raw) {
			return false
		}
		f.SetMapIndex(key, value)
	}
	return true
}

// replace sets a value to what a patch has for it. Null within it means other things in an object than in a list, numbers with a
// fraction or an exponent are written anew on one of the ways through JSON, and what is kept as JSON on both: all are rare. A strategic
// patch may have directives in it.
func (c *change) replace(f reflect.Value, raw []byte) bool {
	if bytes.Contains(raw, []byte("null")) || c.strategic && hasDollar(raw) || !plainNumbers(raw) || keepsJSON(f.Type()) {
		return false
	}
	value := reflect.New(f.Type())
	complaints, err := kjson.UnmarshalStrict(raw, value.Interface())
	if err != nil || len(complaints) > 0 {
		return false
	}
	f.Set(value.Elem())
	return true
}

// hasDollar tells whether there is the sign with which directives begin, which may be written as an escape.
func hasDollar(raw []byte) bool {
	return bytes.IndexByte(raw, '$') >= 0 || bytes.Contains(raw, []byte(`\u0024`))
}

// keeping is whether each type, of those that were asked for, keeps JSON.
var keeping sync.Map // reflect.Type to bool

// keepsJSON tells whether values of a type keep JSON as it is written, or may: they decode themselves and are not of the API's scalars.
func keepsJSON(t reflect.Type) bool {
	if known, ok := keeping.Load(t); ok {
		return known.(bool)
	}
	seen := map[*shape.Type]bool{}
	var keeps func(*shape.Type) bool
	keeps = func(t *shape.Type) bool {
		switch {
		case t == nil || seen[t]:
			return false
		case t.Class >= shape.Time:
			return t.Class == shape.Raw || t.Class == shape.FieldSet
		case t.EncodesJSON && t.Class != shape.Pointer: // a pointer encodes itself if what it points to does
			return true
		}
		seen[t] = true
		return keeps(t.Elem) || keeps(t.Key) || slices.ContainsFunc(t.Members, func(m shape.Member) bool { return keeps(m.Type) })
	}
	it := keeps(shape.Of(t))
	keeping.Store(t, it)
	return it
}

// plainNumbers tells whether all numbers of a document are integers without an exponent, and short.
func plainNumbers(raw []byte) bool {
	const longest = 15 // digits that a float64 holds exactly
	quoted, digits := false, 0
	for n := 0; n < len(raw); n++ {
		switch b := raw[n]; {
		case quoted:
			if b == '\\' {
				n++
			}
			quoted = b != '"'
		case b == '"':
			quoted = true
		case b >= '0' && b <= '9' || b == '-':
			if digits++; digits > longest {
				return false
			}
			continue
		case digits > 0 && (b == '.' || b == 'e' || b == 'E'):
			return false
		}
		digits = 0
	}
	return true
}
