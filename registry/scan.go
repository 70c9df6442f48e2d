package registry

import (
	"iter"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// Field numbers of the protobuf encoding of metav1.ObjectMeta, which is field 1 of every object.
const (
	fieldMetadata        = 1
	fieldName            = 1
	fieldNamespace       = 3
	fieldUID             = 5
	fieldLabels          = 11
	fieldOwnerReferences = 13
	fieldOwnerUID        = 4
	fieldMapKey          = 1
	fieldMapValue        = 2
)

// protoFields yields the length-delimited fields of a protobuf message by number and skips all others.
// It ends early at malformed bytes: the decoder proper reports those.
func protoFields(b []byte) iter.Seq2[uint64, []byte] {
	return func(yield func(uint64, []byte) bool) {
		for len(b) > 0 {
			tag, n := uvarint(b)
			if n == 0 {
				return
			}
			b = b[n:]
			switch tag & 7 {
			case 0:
				_, n = uvarint(b)
				if n == 0 {
					return
				}
				b = b[n:]
			case 1, 5:
				width := 8
				if tag&7 == 5 {
					width = 4
				}
				if len(b) < width {
					return
				}
				b = b[width:]
			case 2:
				size, n := uvarint(b)
				if n == 0 || size > uint64(len(b)-n) {
					return
				}
				if !yield(tag>>3, b[n:n+int(size)]) {
					return
				}
				b = b[n+int(size):]
			default:
				return
			}
		}
	}
}

// uvarint reads a protobuf varint; n is 0 when there is none.
func uvarint(b []byte) (v uint64, n int) {
	for shift := uint(0); n < len(b) && shift < 64; shift += 7 {
		c := b[n]
		n++
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return v, n
		}
	}
	return 0, 0
}

func uvarintLen(v uint64) int {
	n := 1
	for v >= 0x80 {
		v >>= 7
		n++
	}
	return n
}

func appendUvarint(b []byte, v uint64) []byte {
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

// protoPath is the last value of a length-delimited field at a path of field numbers.
func protoPath(b []byte, path []uint64) []byte {
	for _, number := range path {
		var found []byte
		for n, v := range protoFields(b) {
			if n == number {
				found = v
			}
		}
		b = found
	}
	return b
}

// protoUID is the object's uid.
func protoUID(body []byte) types.UID {
	return types.UID(protoPath(body, []uint64{fieldMetadata, fieldUID}))
}

// protoOwners yields the uids of the object's owner references.
func protoOwners(body []byte) iter.Seq[types.UID] {
	return func(yield func(types.UID) bool) {
		for n, owner := range protoFields(protoPath(body, []uint64{fieldMetadata})) {
			if n != fieldOwnerReferences {
				continue
			}
			for n, uid := range protoFields(owner) {
				if n == fieldOwnerUID && !yield(types.UID(uid)) {
					return
				}
			}
		}
	}
}

// protoLabels are the labels of an encoded object, read where they stand: selecting needs no decoding.
type protoLabels struct{ metadata []byte }

var _ labels.Labels = protoLabels{}

func labelsOf(body []byte) protoLabels {
	return protoLabels{protoPath(body, []uint64{fieldMetadata})}
}

// Has tells whether the label exists.
func (l protoLabels) Has(label string) bool {
	_, ok := l.Lookup(label)
	return ok
}

// Get is the label's value, "" if there is none.
func (l protoLabels) Get(label string) string {
	v, _ := l.Lookup(label)
	return v
}

// Lookup is the label's value and whether it exists.
func (l protoLabels) Lookup(label string) (string, bool) {
	for n, pair := range protoFields(l.metadata) {
		if n != fieldLabels {
			continue
		}
		key, value := labelPair(pair)
		if string(key) == label {
			return string(value), true
		}
	}
	return "", false
}

// each calls f for each label, until f returns false, which it returns then.
func (l protoLabels) each(f func(key, value string) bool) bool {
	for n, pair := range protoFields(l.metadata) {
		if n != fieldLabels {
			continue
		}
		if key, value := labelPair(pair); !f(string(key), string(value)) {
			return false
		}
	}
	return true
}

// labelPair is an entry of the map of labels.
func labelPair(pair []byte) (key, value []byte) {
	for n, v := range protoFields(pair) {
		switch n {
		case fieldMapKey:
			key = v
		case fieldMapValue:
			value = v
		}
	}
	return key, value
}
