package kind

import (
	"maps"
	"reflect"
	"slices"

	"github.com/wheelhouse-k8s/wheelhouse/api/custom"
)

// Form is what objects of a kind are made of. It decides how they are encoded, decoded, compared and read without being decoded; the
// work is done in codec.
type Form uint8

// The forms.
const (
	// Generated objects are structs with an encoding in protobuf, in which they are stored.
	Generated Form = iota
	// Tree objects have members that nobody knew when the program was made. They are JSON wherever they are not in memory.
	Tree
)

// formOf is the form of objects of the Go type *E.
func formOf[E any]() Form {
	if _, ok := any((*E)(nil)).(*custom.Object); ok {
		return Tree
	}
	return Generated
}

// Message is an object or a part of one that has an encoding in protobuf.
type Message interface {
	Marshal() ([]byte, error)
	MarshalToSizedBuffer([]byte) (int, error)
	Size() int
	Unmarshal([]byte) error
}

// status is the member of a tree that has a subresource of its own.
const status = "status"

// TreeHalves are the Halves of trees with a status: all of the object but its metadata and status is the spec. Who writes the status
// changes nothing else, not even labels.
func TreeHalves() Halves[custom.Object] {
	return Halves[custom.Object]{
		clearStatus: func(o *custom.Object) { delete(o.Members, status) },
		keepStatus:  func(after, before *custom.Object) { keepMember(after, before, status) },
		keepSpec: func(after, before *custom.Object) {
			written := *after
			*after = *before
			after.ManagedFields = written.ManagedFields
			after.Members = maps.Clone(before.Members)
			keepMember(after, &written, status)
		},
	}
}

// keepMember gives after the member that before has, or none.
func keepMember(after, before *custom.Object, name string) {
	v, ok := before.Members[name]
	switch {
	case !ok:
		delete(after.Members, name)
	case after.Members == nil:
		after.Members = map[string]any{name: v}
	default:
		after.Members[name] = v
	}
}

// treeChanges compares all of trees but their metadata and the members named.
func treeChanges(but ...string) func(after, before *custom.Object) bool {
	return func(after, before *custom.Object) bool {
		counted := 0
		for name, v := range after.Members {
			if slices.Contains(but, name) {
				continue
			}
			counted++
			if was, ok := before.Members[name]; !ok || !reflect.DeepEqual(v, was) {
				return true
			}
		}
		for name := range before.Members {
			if !slices.Contains(but, name) {
				counted--
			}
		}
		return counted != 0
	}
}
