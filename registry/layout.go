package registry

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/codec/stored"
)

// layout is what items of one kind have in common: where they are kept, and how they are written.
type layout struct {
	info *kind.Kind
	// prefix of keys.
	prefix string
	stored.Format
}

// newLayout is that of a kind's objects, which are kept as another kind's if keeper is not the same.
func newLayout(info, keeper *kind.Kind) *layout {
	return &layout{info: info, prefix: keeper.StoragePrefix, Format: stored.Of(info, keeper)}
}

// read makes an Item of a stored value, of which it looks at the frame alone: examine does more. It shares the value's bytes.
func (f *layout) read(key string, value []byte, revision int64) (*Item, error) {
	v, err := f.Open(value)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", key, err)
	}
	return &Item{layout: f, key: key, revision: revision, value: v}, nil
}

// examine makes an Item of what the store holds under a key. It fails if the value does not decode, or is not the object that the
// key promises. The layout is that of the stored kind.
//
// Whether a stored value decodes must be known before anybody sees the object: one that turns out to be broken later would
// have been shown without labels and owners until then. Decoding everything at once would cost a start seconds.
func (f *layout) examine(key string, value []byte, revision int64) (*Item, error) {
	i, err := f.read(key, value, revision)
	if err != nil {
		return nil, err
	}
	if i.value.Readable() && f.Sound(&i.value) {
		if namespace, name := f.split(key); f.Is(&i.value, namespace, name) {
			return i, nil
		}
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

// write makes an Item of an object that is about to be stored; setRevision gives it its revision.
func (f *layout) write(key string, o kind.Object) (*Item, error) {
	o.SetResourceVersion("")
	o.SetSelfLink("")
	o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	f.makeExactAgain(o)
	value, err := f.Encode(o)
	if err != nil {
		return nil, err
	}
	i := &Item{layout: f, key: key, value: value, fields: f.fieldsOf(o)}
	i.object.Store(&decoded{object: o})
	return i, nil
}

// fieldsOf are the values of the kind's fields, to be held with the item of an object that is not kept; nil if the object itself can be asked.
func (f *layout) fieldsOf(o kind.Object) *[]string {
	if len(f.info.Fields) == 0 || f.Keeps() {
		return nil
	}
	values := make([]string, len(f.info.Fields))
	for n := range values {
		values[n] = f.info.Fields[n].Value(o)
	}
	return &values
}

func (f *layout) split(key string) (namespace, name string) {
	rest := key[len(f.prefix):]
	if !f.info.Namespaced {
		return "", rest
	}
	namespace, name, _ = strings.Cut(rest, "/")
	return namespace, name
}

// well tells whether a key is built as this kind's keys are.
func (f *layout) well(key string) bool {
	rest := key[len(f.prefix):]
	slash := strings.IndexByte(rest, '/')
	if !f.info.Namespaced {
		return rest != "" && slash < 0
	}
	return slash > 0 && slash < len(rest)-1 && strings.IndexByte(rest[slash+1:], '/') < 0
}
