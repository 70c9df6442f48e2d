package registry

import (
	"bytes"
	"sync"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/registry/objectjson"
)

// jsonBufferMax bounds the buffers that are kept for reuse.
const jsonBufferMax = 256 << 10

// jsonBuffers are reused, because an object's length is not known before it is encoded.
var jsonBuffers = sync.Pool{New: func() any { return new([]byte) }}

// encodeJSON encodes an object as upstream does; its TypeMeta is empty and leaves no trace.
func encodeJSON(o kind.Object) ([]byte, error) {
	buffer := jsonBuffers.Get().(*[]byte)
	b, err := objectjson.Append((*buffer)[:0], o)
	if err != nil {
		return nil, err
	}
	exact := bytes.Clone(b)
	if cap(b) <= jsonBufferMax {
		*buffer = b
		jsonBuffers.Put(buffer)
	}
	return exact, nil
}
