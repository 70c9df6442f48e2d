package wire

import (
	"iter"
	"strconv"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// Fields of metav1.ObjectMeta, which is field 1 of every object, and of what is in it.
const (
	fieldMetadata        = 1
	fieldName            = 1
	fieldNamespace       = 3
	fieldUID             = 5
	fieldResourceVersion = 6
	fieldLabels          = 11
	fieldOwnerReferences = 13
	fieldOwnerUID        = 4
	fieldMapKey          = 1
	fieldMapValue        = 2
)

// Object is an object in protobuf, without envelope. What is asked of it is read where it stands; malformed bytes
// answer with less than there is.
type Object []byte

// Name of the object.
func (o Object) Name() string { return string(At(o, fieldMetadata, fieldName)) }

// Namespace of the object, "" if it has none.
func (o Object) Namespace() string { return string(At(o, fieldMetadata, fieldNamespace)) }

// UID of the object.
func (o Object) UID() types.UID { return types.UID(At(o, fieldMetadata, fieldUID)) }

// Owners yields the uids that the object's owner references name.
func (o Object) Owners() iter.Seq[types.UID] {
	return func(yield func(types.UID) bool) {
		for n, owner := range Fields(At(o, fieldMetadata)) {
			if n == fieldOwnerReferences && !yield(types.UID(At(owner, fieldOwnerUID))) {
				return
			}
		}
	}
}

// Labels of the object.
func (o Object) Labels() Labels { return Labels{At(o, fieldMetadata)} }

// AppendRevision appends what gives an object that has no resourceVersion its own: a second metadata field that holds nothing
// else. Decoders merge what is given twice.
func AppendRevision(dst []byte, revision int64) []byte {
	digits := decimals(revision)
	dst = append(dst, fieldMetadata<<3|byte(Bytes), byte(2+digits), fieldResourceVersion<<3|byte(Bytes), byte(digits))
	return strconv.AppendInt(dst, revision, 10)
}

// RevisionSize is the length of what AppendRevision appends.
func RevisionSize(revision int64) int { return 2 + 2 + decimals(revision) }

func decimals(v int64) int {
	n := 1
	for v >= 10 {
		v /= 10
		n++
	}
	return n
}

// Labels are the labels of an encoded object, read where they stand: selecting needs no decoding.
type Labels struct{ metadata []byte }

var _ labels.Labels = Labels{}

// Has tells whether the label exists.
func (l Labels) Has(label string) bool {
	_, ok := l.Lookup(label)
	return ok
}

// Get is the label's value, "" if there is none.
func (l Labels) Get(label string) string {
	v, _ := l.Lookup(label)
	return v
}

// Lookup is the label's value and whether it exists.
func (l Labels) Lookup(label string) (string, bool) {
	for n, pair := range Fields(l.metadata) {
		if n != fieldLabels {
			continue
		}
		if key, value := mapEntry(pair); string(key) == label {
			return string(value), true
		}
	}
	return "", false
}

// Each calls f for each label, until f returns false, which it returns then.
func (l Labels) Each(f func(key, value string) bool) bool {
	for n, pair := range Fields(l.metadata) {
		if n != fieldLabels {
			continue
		}
		if key, value := mapEntry(pair); !f(string(key), string(value)) {
			return false
		}
	}
	return true
}

// mapEntry is key and value of an entry of a map.
func mapEntry(entry []byte) (key, value []byte) {
	for n, v := range Fields(entry) {
		switch n {
		case fieldMapKey:
			key = v
		case fieldMapValue:
			value = v
		}
	}
	return key, value
}
