package kind

import (
	"bytes"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/api/equality"
)

// Encodable is a generated type with a protobuf encoding, which is the same for equal values.
type Encodable interface {
	comparable
	encodable
}

type encodable interface {
	Size() int
	MarshalToSizedBuffer([]byte) (int, error)
}

// Same tells whether two values mean the same. It compares encodings first: values that have not changed are found
// equal without reflection.
func Same[T Encodable](a, b T) bool {
	var none T
	if a == b {
		return true
	}
	if a == none || b == none {
		return false
	}
	return sameEncoding(a, b) || equality.Semantic.DeepEqual(a, b)
}

// encodings is room for two encodings that are compared.
var encodings = sync.Pool{New: func() any { return new([]byte) }}

func sameEncoding(a, b encodable) bool {
	size := a.Size()
	if size != b.Size() {
		return false
	}
	buffer := encodings.Get().(*[]byte)
	defer encodings.Put(buffer)
	*buffer = slices.Grow((*buffer)[:0], 2*size)
	left, right := (*buffer)[:size], (*buffer)[size:2*size]
	if _, err := a.MarshalToSizedBuffer(left); err != nil {
		return false
	}
	_, err := b.MarshalToSizedBuffer(right)
	return err == nil && bytes.Equal(left, right)
}
