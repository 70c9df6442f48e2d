package kind

import (
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/api/equality"
)

// Halves are the two parts of an object that different writers own; see SpecAndStatus.
type Halves[E any] struct {
	clearStatus          func(*E)
	keepStatus, keepSpec func(o, old *E)
}

// SpecAndStatus are the Halves of a Go type whose fields Spec and Status they are, as nearly all have them.
func SpecAndStatus[E any]() Halves[E] {
	spec, ok := fieldOf[E]("Spec")
	status, both := fieldOf[E]("Status")
	if !ok || !both {
		panic(fmt.Sprintf("%s has not both Spec and Status", reflect.TypeFor[E]()))
	}
	return Halves[E]{
		clearStatus: func(o *E) { status(o).SetZero() },
		keepStatus:  func(o, old *E) { status(o).Set(status(old)) },
		keepSpec:    func(o, old *E) { spec(o).Set(spec(old)) },
	}
}

// fieldOf finds a field of the Go type E by its name.
func fieldOf[E any](name string) (of func(*E) reflect.Value, ok bool) {
	f, ok := reflect.TypeFor[E]().FieldByName(name)
	if !ok || len(f.Index) > 1 {
		return nil, false
	}
	n := f.Index[0]
	return func(o *E) reflect.Value { return reflect.ValueOf(o).Elem().Field(n) }, true
}

// specChanges compares the fields Spec of objects; nil if their Go type has none. Of a tree all is spec but a status that is a half.
func specChanges[E any](halves bool) func(o, old *E) bool {
	tree := treeChanges()
	if halves {
		tree = treeChanges(status)
	}
	if f, ok := any(tree).(func(o, old *E) bool); ok {
		return f
	}
	spec, ok := fieldOf[E]("Spec")
	if !ok {
		return nil
	}
	return func(o, old *E) bool {
		a, b := spec(o).Addr().Interface(), spec(old).Addr().Interface()
		left, ok := a.(encodable)
		return !(ok && sameEncoding(left, b.(encodable))) && !equality.Semantic.DeepEqual(a, b)
	}
}
