package codec

import (
	"encoding/binary"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/codec/objectjson"
	"github.com/wheelhouse-k8s/wheelhouse/codec/wire"
)

// Stream writes the events of one watch.
type Stream struct {
	kind    *Kind
	media   Media
	include metav1.IncludeObjectPolicy
	// started tells that the table's column definitions have been sent.
	started bool
}

// NewStream prepares the frames of a watch. A watch has no list: a list of metadata means metadata of each object.
func (k *Kind) NewStream(m Media, include metav1.IncludeObjectPolicy) *Stream {
	if m.Form == PartialList {
		m.Form = Partial
	}
	return &Stream{kind: k, media: m, include: include}
}

// Append appends one event: a line of JSON, or a protobuf message with its length in front.
func (s *Stream) Append(dst []byte, event string, item Item) ([]byte, error) {
	if s.media.Format == Protobuf {
		if s.media.Form != Partial {
			dst = appendFrameHead(dst, event, &s.kind.one.proto, item.ProtoSize())
			return wire.AppendTail(item.AppendProto(dst)), nil
		}
		raw, err := (&metav1.PartialObjectMetadata{ObjectMeta: *metaOf(item.Object())}).Marshal()
		if err != nil {
			return nil, err
		}
		return appendFrame(dst, event, headsFor(partialGVK(s.media.Version)), raw), nil
	}
	dst = appendEventHead(dst, event)
	dst, err := s.kind.appendForm(dst, s.media, item, s.include, !s.started)
	if err != nil {
		return nil, err
	}
	s.started = true
	return append(dst, "}\n"...), nil
}

// AppendObject appends an event whose object is no item of the kind: the Status of an error.
func (s *Stream) AppendObject(dst []byte, event string, o runtime.Object, gvk schema.GroupVersionKind) ([]byte, error) {
	if s.media.Format == Protobuf {
		raw, err := marshalProto(o)
		if err != nil {
			return nil, err
		}
		return appendFrame(dst, event, headsFor(gvk), raw), nil
	}
	dst = appendEventHead(dst, event)
	dst, err := AppendObject(dst, Media{}, o, gvk)
	if err != nil {
		return nil, err
	}
	return append(dst[:len(dst)-1], "}\n"...), nil
}

func appendEventHead(dst []byte, event string) []byte {
	dst = append(dst, `{"type":"`...)
	dst = append(dst, event...)
	return append(dst, `","object":`...)
}

// Fields of WatchEvent, and of the RawExtension that its object is.
const (
	fieldEventType   = 1
	fieldEventObject = 2
	fieldRaw         = 1
)

// appendFrame appends an event of an encoded object.
func appendFrame(dst []byte, event string, h *heads, raw []byte) []byte {
	dst = appendFrameHead(dst, event, &h.proto, len(raw))
	return wire.AppendTail(append(dst, raw...))
}

// appendFrameHead appends WatchEvent{type, object{raw}} up to the payload of the enveloped object that raw is. The
// payload's size must be known beforehand.
func appendFrameHead(dst []byte, event string, e *wire.Envelope, payload int) []byte {
	object := e.Size(payload)
	extension := wire.BytesSize(object)
	dst = binary.BigEndian.AppendUint32(dst, uint32(wire.BytesSize(len(event))+wire.BytesSize(extension)))
	dst = wire.AppendBytes(dst, fieldEventType, event)
	dst = wire.AppendLength(dst, fieldEventObject, extension)
	dst = wire.AppendLength(dst, fieldRaw, object)
	return e.AppendHead(dst, payload)
}

// Fresh makes an Item of an object that no registry keeps: a bookmark.
func Fresh(o kind.Object) Item { return fresh{o} }

type fresh struct{ object kind.Object }

func (f fresh) Object() kind.Object { return f.object }

func (f fresh) ProtoSize() int {
	if m, ok := f.object.(kind.Message); ok {
		return m.Size()
	}
	return -1
}

func (f fresh) AppendJSON(dst []byte) ([]byte, error) {
	return objectjson.Append(dst, f.object)
}

func (f fresh) AppendProto(dst []byte) []byte {
	raw, err := marshalProto(f.object)
	if err != nil {
		return dst
	}
	return append(dst, raw...)
}
