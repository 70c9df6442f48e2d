package wire

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Magic begins every object in protobuf, stored or sent.
const Magic = "k8s\x00"

// Fields of the envelope's message (runtime.Unknown), and of the type in it (runtime.TypeMeta).
const (
	fieldType            = 1
	fieldPayload         = 2
	fieldContentEncoding = 3

	fieldAPIVersion = 1
	fieldKind       = 2
)

// tail follows the payload: contentEncoding and contentType, which upstream writes though they are empty.
const tail = "\x1a\x00\x22\x00"

// Envelope is that of one kind's objects, stored or sent:
//
//	"k8s\x00" + runtime.Unknown{TypeMeta{apiVersion, kind}, Raw: the object in protobuf}
type Envelope struct {
	APIVersion, Kind string
	// head is all that stands before the payload's length.
	head string
}

// NewEnvelope makes the envelope of a kind.
func NewEnvelope(apiVersion, kind string) Envelope {
	typeMeta := AppendBytes(AppendBytes(nil, fieldAPIVersion, apiVersion), fieldKind, kind)
	head := AppendBytes([]byte(Magic), fieldType, typeMeta)
	head = binary.AppendUvarint(head, Tag(fieldPayload, Bytes))
	return Envelope{APIVersion: apiVersion, Kind: kind, head: string(head)}
}

// Size is the length of a payload with its envelope.
func (e *Envelope) Size(payload int) int {
	return len(e.head) + UvarintSize(uint64(payload)) + payload + len(tail)
}

// AppendHead appends what stands before a payload. The payload is for the caller to append, and AppendTail comes after it.
func (e *Envelope) AppendHead(dst []byte, payload int) []byte {
	return binary.AppendUvarint(append(dst, e.head...), uint64(payload))
}

// AppendTail appends what stands after a payload.
func AppendTail(dst []byte) []byte { return append(dst, tail...) }

// Append appends a payload in its envelope.
func (e *Envelope) Append(dst, payload []byte) []byte {
	dst = e.AppendHead(slices.Grow(dst, e.Size(len(payload))), len(payload))
	return AppendTail(append(dst, payload...))
}

// Room makes an enveloped payload of n bytes, whose bytes, from start to end, are for the caller to write.
func (e *Envelope) Room(n int) (value []byte, start, end int) {
	value = make([]byte, e.Size(n))
	start = len(e.AppendHead(value[:0], n))
	copy(value[start+n:], tail)
	return value, start, start + n
}

// Payload finds an object of the kind in a stored value. One in JSON has no payload (0, 0): the value is the object.
func (e *Envelope) Payload(value []byte) (start, end int, err error) {
	rest, known := value, false
	switch {
	case hasPrefix(value, e.head):
		rest, known = value[len(e.head)-1:], true // from the payload's tag
	case hasPrefix(value, Magic):
		rest = value[len(Magic):]
	case len(value) > 0 && value[0] == '{':
		return 0, 0, e.checkJSON(value)
	default:
		return 0, 0, errors.New("stored value is neither protobuf nor JSON")
	}
	start = -1
	for n, v := range Fields(rest) {
		switch n {
		case fieldType:
			if err := e.check(string(At(v, fieldAPIVersion)), string(At(v, fieldKind))); err != nil {
				return 0, 0, err
			}
			known = true
		case fieldPayload:
			start = cap(value) - cap(v)
			end = start + len(v)
		case fieldContentEncoding:
			if len(v) > 0 {
				return 0, 0, fmt.Errorf("stored value has content encoding %q", v)
			}
		}
	}
	if !known || start < 0 {
		return 0, 0, fmt.Errorf("stored value is not a complete %s", e.Kind)
	}
	return start, end, nil
}

func hasPrefix(b []byte, prefix string) bool {
	return len(b) >= len(prefix) && string(b[:len(prefix)]) == prefix
}

func (e *Envelope) checkJSON(value []byte) error {
	var head struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := json.Unmarshal(value, &head); err != nil {
		return fmt.Errorf("stored value: %w", err)
	}
	return e.check(head.APIVersion, head.Kind)
}

func (e *Envelope) check(apiVersion, kind string) error {
	if apiVersion != e.APIVersion || kind != e.Kind {
		return fmt.Errorf("stored value is a %s of %s, this server reads %s of %s", kind, apiVersion, e.Kind, e.APIVersion)
	}
	return nil
}

var errTruncated = errors.New("provided data is truncated")

// Open opens an envelope that a client sent, of any kind; the payload is part of the body.
func Open(body []byte) (apiVersion, kind string, payload []byte, err error) {
	if !hasPrefix(body, Magic) {
		return "", "", nil, errors.New("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
	}
	var contentEncoding []byte
	err = each(body[len(Magic):], func(f Field) error {
		switch f.Number {
		case fieldType:
			return each(f.Bytes, func(f Field) error {
				switch f.Number {
				case fieldAPIVersion:
					apiVersion = string(f.Bytes)
				case fieldKind:
					kind = string(f.Bytes)
				}
				return nil
			})
		case fieldPayload:
			payload = f.Bytes
		case fieldContentEncoding:
			contentEncoding = f.Bytes
		}
		return nil
	})
	if err == nil && len(contentEncoding) > 0 {
		err = fmt.Errorf("unknown contentEncoding %q", contentEncoding)
	}
	return apiVersion, kind, payload, err
}

// each calls f for each field of a message, and says what is wrong with it.
func each(b []byte, f func(Field) error) error {
	for len(b) > 0 {
		field, rest, ok := Next(b)
		switch {
		case field.Type > Bytes && field.Type != Fixed32:
			return fmt.Errorf("protobuf wire type %d is not supported", field.Type)
		case !ok:
			return errTruncated
		}
		if err := f(field); err != nil {
			return err
		}
		b = rest
	}
	return nil
}
