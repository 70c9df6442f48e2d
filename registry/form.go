package registry

import (
	"fmt"
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/shape"
	"github.com/wheelhouse-k8s/wheelhouse/codec/wire"
)

// form is what items of one kind have in common: where they are kept, how a value is made of an object, and what of a value can be
// read without decoding it. Nothing else in the package knows how objects are written.
type form struct {
	info *kind.Kind
	// prefix of keys.
	prefix   string
	envelope wire.Envelope
	// message is what is known of the objects' protobuf.
	message *wire.Message
}

func newForm(info *kind.Kind, stored *kind.Kind) *form {
	return &form{
		info: info, prefix: stored.StoragePrefix, envelope: wire.NewEnvelope(stored.StorageVersion.String(), stored.GVK.Kind),
		message: wire.MessageOf(shape.Of(reflect.TypeOf(stored.New()).Elem())),
	}
}

// read makes an Item of a stored value, of which it looks at the envelope alone: examine does more. It shares the value's bytes.
func (f *form) read(key string, value []byte, revision int64) (*Item, error) {
	start, end, err := f.envelope.Payload(value)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", key, err)
	}
	return &Item{form: f, key: key, revision: revision, value: value, start: uint32(start), end: uint32(end)}, nil
}

// examine makes an Item of what the store holds under a key. It fails if the value does not decode, or is not the object that the
// key promises. The form is that of the stored kind.
//
// Whether a stored value decodes must be known before anybody sees the object: one that turns out to be broken later would
// have been shown without labels and owners until then. Decoding everything at once would cost a start seconds.
func (f *form) examine(key string, value []byte, revision int64) (*Item, error) {
	i, err := f.read(key, value, revision)
	if err != nil {
		return nil, err
	}
	if body := i.body(); i.end > 0 && f.message.Sound(body) && i.named(body.Name(), body.Namespace()) {
		return i, nil
	}
	o, err := i.Decode()
	if err != nil {
		return nil, err
	}
	if !i.named(o.GetName(), o.GetNamespace()) {
		return nil, fmt.Errorf("key %s: stored value is the object %q of namespace %q", key, o.GetName(), o.GetNamespace())
	}
	return i, nil
}

// write makes an Item of an object that is about to be stored; its revision is set by settle.
func (f *form) write(key string, o kind.Object) (*Item, error) {
	o.SetResourceVersion("")
	o.SetSelfLink("")
	o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	f.settleAgain(o)
	value, start, end, err := f.encode(o)
	if err != nil {
		return nil, err
	}
	i := &Item{form: f, key: key, value: value, start: uint32(start), end: uint32(end)}
	i.object.Store(&decoded{object: o})
	return i, nil
}

// encode writes o, whose resourceVersion and TypeMeta must be empty, into one buffer of exact size. The object's own bytes stand
// from start to end.
func (f *form) encode(o kind.Object) (value []byte, start, end int, err error) {
	size := o.Size()
	value, start, end = f.envelope.Room(size)
	n, err := o.MarshalToSizedBuffer(value[start:end])
	if err != nil {
		return nil, 0, 0, fmt.Errorf("encode %s %s: %w", f.envelope.Kind, o.GetName(), err)
	}
	if n != size {
		return nil, 0, 0, fmt.Errorf("encode %s %s: %d bytes instead of %d", f.envelope.Kind, o.GetName(), n, size)
	}
	return value, start, end, nil
}

func (f *form) split(key string) (namespace, name string) {
	rest := key[len(f.prefix):]
	if !f.info.Namespaced {
		return "", rest
	}
	namespace, name, _ = strings.Cut(rest, "/")
	return namespace, name
}

// well tells whether a key has the form of this kind's keys.
func (f *form) well(key string) bool {
	rest := key[len(f.prefix):]
	slash := strings.IndexByte(rest, '/')
	if !f.info.Namespaced {
		return rest != "" && slash < 0
	}
	return slash > 0 && slash < len(rest)-1 && strings.IndexByte(rest[slash+1:], '/') < 0
}
