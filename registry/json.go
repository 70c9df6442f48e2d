package registry

import (
	"bytes"
	"encoding/json"
	"sync"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// jsonEncoder is an encoder with its buffer; both are reused.
type jsonEncoder struct {
	buffer  bytes.Buffer
	encoder *json.Encoder
}

// jsonBufferMax bounds the buffers that are kept for reuse.
const jsonBufferMax = 256 << 10

var jsonEncoders = sync.Pool{New: func() any {
	e := &jsonEncoder{}
	e.encoder = json.NewEncoder(&e.buffer)
	return e
}}

// encodeJSON encodes an object as upstream does; its TypeMeta is empty and leaves no trace.
func encodeJSON(o kind.Object) ([]byte, error) {
	e := jsonEncoders.Get().(*jsonEncoder)
	e.buffer.Reset()
	if err := e.encoder.Encode(o); err != nil {
		return nil, err
	}
	b := bytes.Clone(bytes.TrimSuffix(e.buffer.Bytes(), []byte("\n")))
	if e.buffer.Cap() <= jsonBufferMax {
		jsonEncoders.Put(e)
	}
	return b, nil
}
