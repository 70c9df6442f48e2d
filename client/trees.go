package client

import (
	"encoding/json"
	"fmt"
	"io"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	serializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/wheelhouse-k8s/wheelhouse/api/custom"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// trees are how the objects of one kind that are trees are read and written: no scheme knows their type.
type trees struct{ kind *kind.Kind }

// SupportedMediaTypes implements runtime.NegotiatedSerializer.
func (t trees) SupportedMediaTypes() []runtime.SerializerInfo {
	return []runtime.SerializerInfo{{
		MediaType: jsonType, MediaTypeType: "application", MediaTypeSubType: "json", EncodesAsText: true, Serializer: t,
		StreamSerializer: &runtime.StreamSerializerInfo{EncodesAsText: true, Serializer: t, Framer: serializer.Framer},
	}}
}

// EncoderForVersion implements runtime.NegotiatedSerializer.
func (t trees) EncoderForVersion(e runtime.Encoder, _ runtime.GroupVersioner) runtime.Encoder {
	return e
}

// DecoderToVersion implements runtime.NegotiatedSerializer.
func (t trees) DecoderToVersion(d runtime.Decoder, _ runtime.GroupVersioner) runtime.Decoder {
	return d
}

// Identifier implements runtime.Encoder.
func (t trees) Identifier() runtime.Identifier { return "trees" }

// Encode implements runtime.Encoder. An object says what it is.
func (t trees) Encode(o runtime.Object, w io.Writer) error {
	if tree, ok := o.(*custom.Object); ok {
		told := *tree
		told.SetGroupVersionKind(t.kind.GVK)
		o = &told
	}
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

// Decode implements runtime.Decoder.
func (t trees) Decode(data []byte, _ *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	if into != nil { // the frame of a watch's event
		return into, nil, json.Unmarshal(data, into)
	}
	var is metav1.TypeMeta
	if err := json.Unmarshal(data, &is); err != nil {
		return nil, nil, err
	}
	gvk := is.GroupVersionKind()
	var o runtime.Object
	switch gvk {
	case t.kind.GVK:
		o = t.kind.New()
	case t.kind.GVK.GroupVersion().WithKind(t.kind.ListKind):
		o = t.kind.NewList()
	default: // a Status, a Scale
		return scheme.Codecs.UniversalDeserializer().Decode(data, nil, nil)
	}
	if err := json.Unmarshal(data, o); err != nil {
		return nil, &gvk, fmt.Errorf("decode a %s: %w", gvk.Kind, err)
	}
	o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	if list, ok := o.(*custom.List); ok {
		for n := range list.Items {
			list.Items[n].TypeMeta = metav1.TypeMeta{}
		}
	}
	return o, &gvk, nil
}
