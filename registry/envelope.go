package registry

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// magic begins every protobuf value that a Kubernetes API server stores.
const magic = "k8s\x00"

// Tags of runtime.Unknown, the envelope's message, and of its TypeMeta.
const (
	tagTypeMeta        = 0x0a
	tagRaw             = 0x12
	tagContentEncoding = 0x1a
	tagContentType     = 0x22
	tagAPIVersion      = 0x0a
	tagKind            = 0x12
)

// envelopeTail follows the object: contentEncoding and contentType, which upstream writes though they are empty.
var envelopeTail = []byte{tagContentEncoding, 0, tagContentType, 0}

// envelope writes and reads the stored form of one kind:
//
//	"k8s\x00" + runtime.Unknown{TypeMeta{apiVersion, kind}, Raw: the object in protobuf}
type envelope struct {
	apiVersion, kind string
	// head is everything before the tag of Raw.
	head []byte
}

func newEnvelope(apiVersion, kind string) envelope {
	var meta []byte
	meta = append(appendUvarint(append(meta, tagAPIVersion), uint64(len(apiVersion))), apiVersion...)
	meta = append(appendUvarint(append(meta, tagKind), uint64(len(kind))), kind...)
	head := append(appendUvarint(append([]byte(magic), tagTypeMeta), uint64(len(meta))), meta...)
	return envelope{apiVersion: apiVersion, kind: kind, head: head}
}

// encode writes o, whose resourceVersion and TypeMeta must be empty, into one buffer of exact size.
// begin is where the object's own bytes begin; envelopeTail follows them.
func (e *envelope) encode(o kind.Object) (value []byte, begin int, err error) {
	size := o.Size()
	begin = len(e.head) + 1 + uvarintLen(uint64(size))
	buf := make([]byte, begin+size+len(envelopeTail))
	b := append(buf[:0], e.head...)
	appendUvarint(append(b, tagRaw), uint64(size))
	n, err := o.MarshalToSizedBuffer(buf[begin : begin+size])
	if err != nil {
		return nil, 0, fmt.Errorf("encode %s %s: %w", e.kind, o.GetName(), err)
	}
	if n != size {
		return nil, 0, fmt.Errorf("encode %s %s: %d bytes instead of %d", e.kind, o.GetName(), n, size)
	}
	copy(buf[begin+size:], envelopeTail)
	return buf, begin, nil
}

// body finds the object's own bytes in a stored value. A value in JSON has none (0, 0).
func (e *envelope) body(value []byte) (start, end int, err error) {
	if !bytes.HasPrefix(value, []byte(magic)) {
		if len(value) > 0 && value[0] == '{' {
			return 0, 0, e.checkJSON(value)
		}
		return 0, 0, fmt.Errorf("stored value is neither protobuf nor JSON")
	}
	known := bytes.HasPrefix(value, e.head)
	rest := value[len(magic):]
	if known {
		rest = value[len(e.head):]
	}
	start = -1
	for n, v := range protoFields(rest) {
		switch n {
		case tagTypeMeta >> 3:
			if err := e.checkType(v); err != nil {
				return 0, 0, err
			}
			known = true
		case tagRaw >> 3:
			start = cap(value) - cap(v)
			end = start + len(v)
		case tagContentEncoding >> 3:
			if len(v) > 0 {
				return 0, 0, fmt.Errorf("stored value has content encoding %q", v)
			}
		}
	}
	if !known || start < 0 {
		return 0, 0, fmt.Errorf("stored value is not a complete %s", e.kind)
	}
	return start, end, nil
}

func (e *envelope) checkType(typeMeta []byte) error {
	apiVersion := protoPath(typeMeta, []uint64{tagAPIVersion >> 3})
	name := protoPath(typeMeta, []uint64{tagKind >> 3})
	return e.check(string(apiVersion), string(name))
}

func (e *envelope) checkJSON(value []byte) error {
	var head struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := json.Unmarshal(value, &head); err != nil {
		return fmt.Errorf("stored value: %w", err)
	}
	return e.check(head.APIVersion, head.Kind)
}

func (e *envelope) check(apiVersion, name string) error {
	if apiVersion != e.apiVersion || name != e.kind {
		return fmt.Errorf("stored value is a %s of %s, this server reads %s of %s", name, apiVersion, e.kind, e.apiVersion)
	}
	return nil
}
