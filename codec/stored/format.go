// Package stored knows how objects are kept: what a stored value looks like, and what of it can be read without decoding it. There is one
// format for the generated types of the API, in protobuf, and one for trees, in JSON.
package stored

import (
	"iter"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// Value is a value as the store has it. Start and End tell where in it that begins and ends which can be read without decoding; both are 0
// if nothing can.
type Value struct {
	Bytes      []byte
	Start, End uint32
}

// Readable tells whether the value can be read without being decoded.
func (s *Value) Readable() bool { return s.End > 0 }

// Format is how the objects of one kind are kept. What is asked of a value that is not Readable is not defined.
type Format interface {
	// Open looks at a value's frame alone. The value is shared.
	Open(value []byte) (Value, error)
	// Sound tells whether a readable value decodes for certain. If not, it may decode all the same, and may not be readable any more.
	Sound(s *Value) bool
	// Encode writes an object whose resourceVersion and TypeMeta are empty. Equal objects have equal values.
	Encode(o kind.Object) (Value, error)
	// Decode reads any value into an empty object, whose TypeMeta is empty afterwards. Nothing is defaulted.
	Decode(s *Value, into kind.Object) error

	// Is tells whether the object has that name and namespace.
	Is(s *Value, namespace, name string) bool
	UID(s *Value) types.UID
	Labels(s *Value) labels.Labels
	// Owners yields the uids that the object's owner references name.
	Owners(s *Value) iter.Seq[types.UID]

	// Field gives what reads a field without decoding; nil if there is no such way.
	Field(f kind.AnyField) func(s *Value) string

	// AppendProto appends the object's protobuf with its resourceVersion (none if revision is 0), and ProtoSize is its length: -1 in a
	// format without protobuf.
	AppendProto(b []byte, s *Value, revision int64) []byte
	ProtoSize(s *Value, revision int64) int
	// AppendJSON appends the object's JSON without kind and version, with its resourceVersion. It is not ok if the object must be
	// decoded first.
	AppendJSON(b []byte, s *Value, revision int64) (json []byte, ok bool)
	// Keeps tells whether a decoded object is worth the memory while its value is kept.
	Keeps() bool
}

// Of is the format of the objects of a kind, of which stored is the kind that keeps them: itself, or another.
func Of(k, stored *kind.Kind) Format {
	if stored.Form == kind.Tree {
		return newTree(k, stored)
	}
	return newGenerated(stored)
}
