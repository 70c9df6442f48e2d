package patch

import (
	"reflect"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	smdschema "sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/value"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/shape"
)

// form is how a walk treats a value.
type form int

const (
	// opaque values are beyond a walk: whoever has one is left to the library.
	opaque form = iota
	// leaf: one path, whatever is below it.
	leaf
	// record: a struct, each field with its own form.
	record
	// dictionary: a Go map with string keys.
	dictionary
	// set: a list of unlike scalars, each of which is a path.
	set
	// keyed: a list of structs told apart by some of their fields.
	keyed
)

// node is the plan of a walk over the values of one Go type with one schema.
type node struct {
	form    form
	pointer bool
	fields  []fieldPlan
	// open: a record that is a tree, whose Members but the skipped are fields too.
	open    bool
	skipped []string
	keys    []keyPlan
	element *node
	// equal compares leaves.
	equal func(l, r reflect.Value) bool
}

// fieldPlan is one field of a record.
type fieldPlan struct {
	index     []int
	name      hash
	omitEmpty bool
	omitZero  func(reflect.Value) bool
	node      *node
}

// keyPlan is one field that tells the items of a keyed list apart.
type keyPlan struct {
	field *fieldPlan
	name  hash
	// scalar: only such have a hash.
	scalar bool
	// absent stands for an item without the field, if the schema has a default.
	absent     hash
	hasDefault bool
}

// get is the field of a struct if JSON would have it.
func (f *fieldPlan) get(v reflect.Value) (reflect.Value, bool) {
	for _, n := range f.index {
		v = v.Field(n)
	}
	if f.omitEmpty && isEmpty(v) || f.omitZero != nil && f.omitZero(v) {
		return v, false
	}
	return v, true
}

func isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Struct:
		return false
	case reflect.Array, reflect.Map, reflect.Slice, reflect.String:
		return v.Len() == 0
	}
	return v.IsZero()
}

// planner makes the nodes of one kind. Types may contain themselves, so nodes are known before they are complete.
type planner struct {
	schema *smdschema.Schema
	known  map[planKey]*node
}

type planKey struct {
	of  *shape.Type
	ref smdschema.TypeRef
}

// newPlan plans walks over a kind's objects. Left out are managedFields, and whole members of the object that the writer
// does not own.
func newPlan(t *typeModel, reset *fieldpath.Set) *node {
	p := &planner{schema: t.schema, known: map[planKey]*node{}}
	root := *p.node(shape.Of(reflect.TypeOf(t.kind.New()).Elem()), t.ref)
	root.open = t.kind.Form == kind.Tree
	for _, name := range []string{"spec", "status"} {
		if reset.Has(fieldpath.MakePathOrDie(name)) {
			root.fields = without(root.fields, name)
			root.skipped = append(root.skipped, name)
		}
	}
	root.fields = slices.Clone(root.fields)
	for i := range root.fields {
		if f := &root.fields[i]; f.name == hashString("metadata") {
			metadata := *f.node
			metadata.fields = without(metadata.fields, "managedFields")
			f.node = &metadata
		}
	}
	return &root
}

func without(fields []fieldPlan, name string) []fieldPlan {
	return slices.DeleteFunc(slices.Clone(fields), func(f fieldPlan) bool { return f.name == hashString(name) })
}

func (p *planner) node(t *shape.Type, ref smdschema.TypeRef) *node {
	key := planKey{t, ref}
	if n, ok := p.known[key]; ok {
		return n
	}
	n := &node{}
	p.known[key] = n
	atom, ok := p.schema.Resolve(ref)
	if !ok {
		return n
	}
	inner := t
	if t.Class == shape.Pointer {
		n.pointer = true
		inner = t.Elem
	}
	if isLeaf(atom) {
		n.form, n.equal = leaf, equalFor(t)
		return n
	}
	if inner.Go != customType && (convertsItself(t) || convertsItself(inner)) || atom.Scalar != nil || atom.Map != nil && atom.List != nil {
		return n
	}
	switch {
	case atom.Map != nil && inner.Go.Kind() == reflect.Struct:
		p.record(n, inner, atom.Map)
	case atom.Map != nil && inner.Class == shape.Map && inner.Key.Class == shape.String:
		if len(atom.Map.Fields) == 0 {
			n.form, n.element = dictionary, p.node(inner.Elem, atom.Map.ElementType)
		}
	case atom.List != nil && inner.Class == shape.List && atom.List.ElementRelationship == smdschema.Associative:
		p.list(n, inner, atom.List)
	}
	return n
}

// isLeaf tells whether all forms that a value may have are one path.
func isLeaf(a smdschema.Atom) bool {
	return (a.Map == nil || a.Map.ElementRelationship == smdschema.Atomic) && (a.List == nil || a.List.ElementRelationship == smdschema.Atomic)
}

// convertsItself tells whether the library asks values of a type for their form in JSON.
func convertsItself(t *shape.Type) bool {
	return value.TypeReflectEntryOf(t.Go).CanConvertToUnstructured()
}

func (p *planner) record(n *node, t *shape.Type, m *smdschema.Map) {
	if t.Plain {
		n.form, n.fields = record, p.fields(t, m)
	}
}

// fields plans the members of a struct.
func (p *planner) fields(t *shape.Type, m *smdschema.Map) []fieldPlan {
	fields := make([]fieldPlan, 0, len(t.Members))
	for i := range t.Members {
		member := &t.Members[i]
		plan := fieldPlan{index: member.Path, name: hashString(member.Name), omitEmpty: member.OmitEmpty, node: &node{}}
		if member.OmitZero {
			plan.omitZero = value.OmitZeroFunc(member.Type.Go)
		}
		if described, ok := m.FindField(member.Name); ok {
			plan.node = p.node(member.Type, described.Type)
		}
		fields = append(fields, plan)
	}
	return fields
}

func (p *planner) list(n *node, t *shape.Type, l *smdschema.List) {
	element := p.node(t.Elem, l.ElementType)
	switch {
	case len(l.Keys) == 0 && element.form == leaf && isScalar(t.Elem):
		n.form, n.element = set, element
	case len(l.Keys) > 0 && (element.form == record || element.form == leaf):
		keys, ok := p.keys(t.Elem, l)
		if ok {
			n.form, n.element, n.keys = keyed, element, keys
		}
	}
}

// keys plans how a list's items are told apart. It is not ok if that takes more than scalars.
func (p *planner) keys(item *shape.Type, l *smdschema.List) ([]keyPlan, bool) {
	item = item.Target()
	atom, ok := p.schema.Resolve(l.ElementType)
	if !ok || atom.Map == nil || !item.Plain {
		return nil, false
	}
	fields := p.fields(item, atom.Map)
	var keys []keyPlan
	for _, name := range l.Keys {
		key := keyPlan{name: hashString(name)}
		if member, ok := item.Member(name); ok {
			key.scalar = isScalar(member.Type.Target())
		}
		for i := range fields {
			if fields[i].name == key.name {
				key.field = &fields[i]
			}
		}
		described, _ := atom.Map.FindField(name)
		key.absent, key.hasDefault = hashDefault(described.Default)
		if key.field == nil || key.field.node.form != leaf || described.Default != nil && !key.hasDefault {
			return nil, false
		}
		keys = append(keys, key)
	}
	return keys, true
}

// hashDefault knows the defaults that keys have: strings and whole numbers.
func hashDefault(v any) (hash, bool) {
	switch v := v.(type) {
	case string:
		return hashString(v), true
	case float64:
		return hashNumber(uint64(int64(v))), v == float64(int64(v))
	}
	return hash{}, false
}

func isScalar(t *shape.Type) bool {
	switch t.Class {
	case shape.String, shape.Bool, shape.Int:
		return !convertsItself(t)
	}
	return false
}

// equalFor is how leaves of a type are compared: as JSON would show them.
func equalFor(t *shape.Type) func(l, r reflect.Value) bool {
	switch t.Class {
	case shape.Time:
		return func(l, r reflect.Value) bool { return sameSecond(l.Addr().Interface(), r.Addr().Interface()) }
	case shape.MicroTime:
		return func(l, r reflect.Value) bool { return sameMicrosecond(l.Addr().Interface(), r.Addr().Interface()) }
	case shape.Pointer:
		switch t.Elem.Class {
		case shape.Time:
			return func(l, r reflect.Value) bool { return sameSecond(l.Interface(), r.Interface()) }
		case shape.MicroTime:
			return func(l, r reflect.Value) bool { return sameMicrosecond(l.Interface(), r.Interface()) }
		}
		if isScalar(t.Elem) && !convertsItself(t) {
			inner := equalFor(t.Elem)
			return func(l, r reflect.Value) bool {
				if l.IsNil() || r.IsNil() {
					return l.IsNil() == r.IsNil()
				}
				return inner(l.Elem(), r.Elem())
			}
		}
	}
	if convertsItself(t) {
		return equalAny
	}
	switch t.Class {
	case shape.String:
		return func(l, r reflect.Value) bool { return l.String() == r.String() }
	case shape.Bool:
		return func(l, r reflect.Value) bool { return l.Bool() == r.Bool() }
	case shape.Int:
		return func(l, r reflect.Value) bool { return l.Int() == r.Int() }
	}
	return equalAny
}

func sameSecond(l, r any) bool {
	a, b := l.(*metav1.Time), r.(*metav1.Time)
	if a.IsZero() || b.IsZero() {
		return a.IsZero() == b.IsZero()
	}
	return a.Unix() == b.Unix()
}

func sameMicrosecond(l, r any) bool {
	a, b := l.(*metav1.MicroTime), r.(*metav1.MicroTime)
	if a.IsZero() || b.IsZero() {
		return a.IsZero() == b.IsZero()
	}
	return a.UnixMicro() == b.UnixMicro()
}

// equalAny compares as the library does, after a cheaper look.
func equalAny(l, r reflect.Value) bool {
	a, b := addressable(l), addressable(r)
	if reflect.DeepEqual(a, b) {
		return true
	}
	left, err := value.NewValueReflect(a)
	if err != nil {
		return false
	}
	right, err := value.NewValueReflect(b)
	return err == nil && value.Equals(left, right)
}

// addressable is a pointer to v, or v if it is one.
func addressable(v reflect.Value) any {
	switch {
	case v.Kind() == reflect.Pointer:
		return v.Interface()
	case v.CanAddr():
		return v.Addr().Interface()
	}
	box := reflect.New(v.Type())
	box.Elem().Set(v)
	return box.Interface()
}
