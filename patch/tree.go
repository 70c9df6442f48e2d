package patch

import (
	"reflect"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	smdschema "sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
	"sigs.k8s.io/structured-merge-diff/v6/value"

	"github.com/wheelhouse-k8s/wheelhouse/api/custom"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/patch/typeschema"
)

// Nobody knows the members of a tree. Their managed fields are deduced, as upstream deduces them: maps have a path for each member, lists
// are one path, whatever they hold. Metadata has its schema.

// treeRoot is the schema's name of a whole tree.
const treeRoot = "tree"

var customType = reflect.TypeFor[custom.Object]()

// treeSchema is that of all trees.
var treeSchema = sync.OnceValue(func() *smdschema.Schema {
	text := smdschema.String
	deduced, metadata := "__untyped_deduced_", "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
	scalar := smdschema.TypeRef{Inlined: smdschema.Atom{Scalar: &text}}
	root := smdschema.TypeDef{Name: treeRoot, Atom: smdschema.Atom{Map: &smdschema.Map{
		Fields: []smdschema.StructField{
			{Name: "apiVersion", Type: scalar}, {Name: "kind", Type: scalar}, {Name: "metadata", Type: smdschema.TypeRef{NamedType: &metadata}},
		},
		ElementType: smdschema.TypeRef{NamedType: &deduced},
	}}}
	return &smdschema.Schema{Types: slices.Concat(typeschema.Load().Types, typed.DeducedParseableType.Schema.Types, []smdschema.TypeDef{root})}
})

func newTreeModel(k *kind.Kind) *typeModel {
	name := treeRoot
	return &typeModel{kind: k, schema: treeSchema(), ref: smdschema.TypeRef{NamedType: &name}}
}

// asMaps is an object as the library reads it, with what it shares with the object.
func asMaps(obj runtime.Object) (map[string]any, bool, error) {
	o, ok := obj.(*custom.Object)
	if !ok {
		return nil, false, nil
	}
	m, err := o.Map()
	return m, true, err
}

// members compares the members that nobody knows of two trees at a path, but for those that the writer does not own.
func (w *walk) members(n *node, l, r reflect.Value, path hash) (empty bool) {
	left, right := treeOf(l), treeOf(r)
	empty = true
	for name, v := range right {
		if was, ok := left[name]; !slices.Contains(n.skipped, name) {
			empty = false
			w.tree(was, ok, v, true, path.with(hashString(name)))
		}
	}
	for name, v := range left {
		if _, ok := right[name]; !ok && !slices.Contains(n.skipped, name) {
			empty = false
			w.tree(v, true, nil, false, path.with(hashString(name)))
		}
	}
	return empty
}

func treeOf(v reflect.Value) map[string]any {
	if !v.IsValid() {
		return nil
	}
	return v.Addr().Interface().(*custom.Object).Members
}

// tree compares the values at a path, of which one may be missing. What is null, or of another sort than before, is left to the library.
func (w *walk) tree(l any, hasLeft bool, r any, hasRight bool, path hash) {
	if hasLeft && hasRight && l == nil && r == nil {
		return
	}
	if hasLeft && l == nil || hasRight && r == nil {
		w.failed = true
		return
	}
	left, leftMap := l.(map[string]any)
	right, rightMap := r.(map[string]any)
	if hasLeft && hasRight && (leftMap != rightMap || isList(l) != isList(r)) {
		w.failed = true
		return
	}
	if (leftMap || rightMap) && len(left)+len(right) > 0 {
		for name, v := range right {
			was, ok := left[name]
			w.tree(was, ok, v, true, path.with(hashString(name)))
		}
		for name, v := range left {
			if _, ok := right[name]; !ok {
				w.tree(v, true, nil, false, path.with(hashString(name)))
			}
		}
	} else if hasLeft && hasRight && !sameTree(l, r) {
		w.report(path, modified)
	}
	switch {
	case !hasLeft:
		w.report(path, added)
	case !hasRight:
		w.report(path, removed)
	}
}

// sameTree compares leaves as the library does, to which 1 and 1.0 are the same.
func sameTree(l, r any) bool {
	return reflect.DeepEqual(l, r) || value.Equals(value.NewValueInterface(l), value.NewValueInterface(r))
}

func isList(v any) bool {
	_, ok := v.([]any)
	return ok
}
