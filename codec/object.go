package codec

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/codec/objectjson"
	"github.com/wheelhouse-k8s/wheelhouse/codec/wire"
)

// ErrNotAcceptable: the object has no such form (metadata of a list was asked of a single object, or the reverse).
var ErrNotAcceptable = errors.New("the requested form does not fit the answer")

// AppendItem appends one stored object in the form that the client asked for. In JSON a newline ends it.
func (k *Kind) AppendItem(dst []byte, m Media, item Item, include metav1.IncludeObjectPolicy) ([]byte, error) {
	switch m.Form {
	case Whole:
		if m.Format == Protobuf {
			n := item.ProtoSize()
			e := &k.one.proto
			dst = item.AppendProto(e.AppendHead(slices.Grow(dst, e.Size(n)), n))
			return wire.AppendTail(dst), nil
		}
	case PartialList:
		return nil, ErrNotAcceptable
	case Partial:
		if m.Format == Protobuf {
			return appendPartialProto(dst, m.Version, item)
		}
	}
	start := len(dst)
	dst, err := k.appendForm(dst, m, item, include, true)
	if err != nil {
		return nil, err
	}
	return finish(dst, start, m)
}

// appendForm appends one object as JSON in the form, without a newline. headers asks for a table's column definitions.
func (k *Kind) appendForm(dst []byte, m Media, item Item, include metav1.IncludeObjectPolicy, headers bool) ([]byte, error) {
	switch m.Form {
	case Table:
		return k.appendOneRow(dst, m.Version, item, include, headers)
	case Partial:
		return appendPartial(dst, m.Version, item.Object())
	}
	dst = append(dst, k.one.json...)
	body := len(dst)
	dst, err := item.AppendJSON(dst)
	if err != nil {
		return nil, err
	}
	return splice(dst, body), nil
}

// appendElement appends an object as an element of a list: those of generated types leave it to the list to say what they are.
func (k *Kind) appendElement(dst []byte, item Item) ([]byte, error) {
	if k.Info.Form == kind.Tree {
		return k.appendForm(dst, Media{}, item, "", false)
	}
	return item.AppendJSON(dst)
}

// splice makes the object that begins at body part of the one that is open before it.
func splice(dst []byte, body int) []byte {
	if len(dst)-body == 2 {
		return append(dst[:body], '}')
	}
	dst[body] = ','
	return dst
}

// AppendObject appends an object that is not stored: a Status, a Scale, the answer to a review.
func AppendObject(dst []byte, m Media, o runtime.Object, gvk schema.GroupVersionKind) ([]byte, error) {
	h := headsFor(gvk)
	if m.Format == Protobuf {
		raw, err := marshalProto(o)
		if err != nil {
			return nil, err
		}
		return h.proto.Append(dst, raw), nil
	}
	start := len(dst)
	if t, ok := o.GetObjectKind().(*metav1.TypeMeta); !ok || t.Kind == "" {
		dst = append(dst, h.json...)
	}
	body := len(dst)
	dst, err := objectjson.Append(dst, o)
	if err != nil {
		return nil, err
	}
	if body > start {
		dst = splice(dst, body)
	}
	return finish(dst, start, m)
}

func marshalProto(o runtime.Object) ([]byte, error) {
	p, ok := o.(interface{ Marshal() ([]byte, error) })
	if !ok {
		return nil, ErrNotAcceptable
	}
	return p.Marshal()
}

// finish gives the JSON that begins at start its last form: YAML, indented, or a line.
func finish(dst []byte, start int, m Media) ([]byte, error) {
	switch {
	case m.Format == YAML:
		text, err := yaml.JSONToYAML(dst[start:])
		if err != nil {
			return nil, err
		}
		return append(dst[:start], text...), nil
	case m.Pretty:
		var b bytes.Buffer
		if err := json.Indent(&b, dst[start:], "", "  "); err != nil {
			return nil, err
		}
		return append(dst[:start], b.Bytes()...), nil
	}
	return append(dst, '\n'), nil
}

// partialGVK is the kind of the metadata-only form.
func partialGVK(version string) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "meta.k8s.io", Version: version, Kind: "PartialObjectMetadata"}
}

func appendPartial(dst []byte, version string, o kind.Object) ([]byte, error) {
	dst = append(dst, headsFor(partialGVK(version)).json...)
	dst, err := objectjson.Append(append(dst, `,"metadata":`...), metaOf(o))
	if err != nil {
		return nil, err
	}
	return append(dst, '}'), nil
}

func appendPartialProto(dst []byte, version string, item Item) ([]byte, error) {
	raw, err := (&metav1.PartialObjectMetadata{ObjectMeta: *metaOf(item.Object())}).Marshal()
	if err != nil {
		return nil, err
	}
	return headsFor(partialGVK(version)).proto.Append(dst, raw), nil
}
