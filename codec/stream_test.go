package codec

import (
	"io"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/streaming"
)

type readCloser struct{ io.Reader }

func (readCloser) Close() error { return nil }

// streamDecoder is the reader of watch events that client-go uses.
func streamDecoder(frames io.ReadCloser, info runtime.SerializerInfo) streaming.Decoder {
	return streaming.NewDecoder(frames, info.StreamSerializer.Serializer)
}
