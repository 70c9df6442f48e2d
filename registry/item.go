package registry

import (
	"fmt"
	"strconv"
	"sync/atomic"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/codec/objectjson"
	"github.com/wheelhouse-k8s/wheelhouse/codec/stored"
)

// Item is one object at one revision. It never changes; all its results are shared and must not be changed.
//
// It holds the bytes that the store delivered. The decoded object and the JSON are made when first asked for, and
// both can be dropped and made again.
type Item struct {
	layout   *layout
	key      string
	revision int64
	// value is the stored value; none for an item that was converted from another kind's item.
	value stored.Value

	object atomic.Pointer[decoded]
	json   atomic.Pointer[[]byte]
	// fields are what field selectors ask for, in the order of the kind's Fields, if the format does not keep the decoded object. They are set
	// before others see the item; without them the object is asked. (A pointer keeps the other items small.)
	fields *[]string
	// hot is set while the item's event is recent enough for its JSON to be kept for other watchers.
	hot atomic.Bool
	// stale tells that the store keeps the value in a way that a write would replace. It is known only of items that were
	// read from the store for a change.
	stale bool
}

type decoded struct {
	object kind.Object
	err    error
}

// Compute makes an Item of an object that is kept nowhere: it has no revision.
func Compute(info *kind.Kind, o kind.Object) *Item {
	i := &Item{layout: &layout{info: info}, key: o.GetName()}
	if info.Namespaced {
		i.key = o.GetNamespace() + "/" + o.GetName()
	}
	i.object.Store(&decoded{object: o})
	return i
}

// setRevision gives the revision to an item made by write.
func (i *Item) setRevision(revision int64) {
	i.revision = revision
	if d := i.object.Load(); d != nil && d.object != nil {
		d.object.SetResourceVersion(strconv.FormatInt(revision, 10))
	}
}

// at is the same object at another revision (the last state, at the revision of its deletion).
func (i *Item) at(revision int64) *Item {
	return &Item{layout: i.layout, key: i.key, revision: revision, value: i.value, fields: i.fields}
}

// Object is the decoded object, resourceVersion set, TypeMeta empty. A stored value that does not decode gives an
// object with nothing but its name; Decode tells why.
func (i *Item) Object() kind.Object {
	o, err := i.Decode()
	if err != nil {
		o = i.layout.info.New()
		o.SetName(i.Name())
		o.SetNamespace(i.Namespace())
		o.SetResourceVersion(strconv.FormatInt(i.revision, 10))
	}
	return o
}

// Decode is Object with the reason why a stored value cannot be read.
func (i *Item) Decode() (kind.Object, error) {
	if d := i.object.Load(); d != nil {
		return d.object, d.err
	}
	d := i.decode()
	if d.err == nil && !i.layout.Keeps() {
		return d.object, nil
	}
	if !i.object.CompareAndSwap(nil, d) {
		if other := i.object.Load(); other != nil {
			d = other // all callers share one object
		}
	}
	return d.object, d.err
}

func (i *Item) decode() *decoded {
	o := i.layout.info.New()
	if err := i.layout.Format.Decode(&i.value, o); err != nil {
		return &decoded{err: fmt.Errorf("key %s at revision %d does not decode: %w", i.key, i.revision, err)}
	}
	i.layout.info.Default(o)
	if !i.layout.exact(&i.value) {
		i.layout.makeExact(o) // others' writers (and JSON) leave more than ours; what is shared must need no change later
	}
	o.SetResourceVersion(strconv.FormatInt(i.revision, 10))
	return &decoded{object: o}
}

// Revision of the object's last change.
func (i *Item) Revision() int64 { return i.revision }

// Name of the object.
func (i *Item) Name() string {
	_, name := i.layout.split(i.key)
	return name
}

// Namespace of the object, "" if it is cluster-scoped.
func (i *Item) Namespace() string {
	namespace, _ := i.layout.split(i.key)
	return namespace
}

// named tells whether name and namespace are those of the item's key.
func (i *Item) named(name, namespace string) bool {
	wantNamespace, wantName := i.layout.split(i.key)
	return name == wantName && namespace == wantNamespace
}

// Proto is the object's protobuf encoding with its resourceVersion, without envelope; nil if there is none.
func (i *Item) Proto() []byte {
	return i.AppendProto(make([]byte, 0, max(0, i.ProtoSize())))
}

// ProtoSize is the length of Proto, or -1 if the object has no protobuf.
func (i *Item) ProtoSize() int {
	if i.value.Readable() {
		return i.layout.ProtoSize(&i.value, i.revision)
	}
	if o, ok := i.Object().(kind.Message); ok {
		return o.Size()
	}
	return -1
}

// AppendProto appends Proto to b.
func (i *Item) AppendProto(b []byte) []byte {
	if i.value.Readable() {
		return i.layout.AppendProto(b, &i.value, i.revision)
	}
	o, ok := i.Object().(kind.Message)
	if !ok {
		return b
	}
	size := o.Size()
	begin := len(b)
	b = append(b, make([]byte, size)...)
	if _, err := o.MarshalToSizedBuffer(b[begin:]); err != nil {
		return b[:begin]
	}
	return b
}

// Size is about how many bytes the object takes in any encoding.
func (i *Item) Size() int {
	if n := len(i.value.Bytes); n > 0 {
		return n
	}
	if n := i.ProtoSize(); n >= 0 {
		return n
	}
	b, _ := i.JSON() // what cannot be encoded takes nothing
	return len(b)
}

// JSON is the object's JSON encoding without apiVersion and kind (as an element of a list).
// Unless the format has it in the stored bytes, it is kept for other watchers while the item's event is recent, and made anew otherwise.
func (i *Item) JSON() ([]byte, error) {
	if b := i.json.Load(); b != nil {
		return *b, nil
	}
	if i.value.Readable() {
		if b, ok := i.layout.AppendJSON(nil, &i.value, i.revision); ok {
			return b, nil
		}
	}
	o, err := i.Decode()
	if err != nil {
		return nil, err
	}
	b, err := objectjson.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encode %s as JSON: %w", i.key, err)
	}
	if i.hot.Load() {
		i.json.Store(&b)
		if !i.hot.Load() {
			i.json.Store(nil)
		}
	}
	return b, nil
}

// AppendJSON appends JSON to b. It makes no copy to keep unless the item's event is recent: then watchers share one.
func (i *Item) AppendJSON(b []byte) ([]byte, error) {
	if i.value.Readable() {
		if text, ok := i.layout.AppendJSON(b, &i.value, i.revision); ok {
			return text, nil
		}
	}
	if i.hot.Load() || i.json.Load() != nil {
		shared, err := i.JSON()
		return append(b, shared...), err
	}
	o, err := i.Decode()
	if err != nil {
		return b, err
	}
	b, err = objectjson.Append(b, o)
	if err != nil {
		return b, fmt.Errorf("encode %s as JSON: %w", i.key, err)
	}
	return b, nil
}

// cool drops what is kept only for watchers. current tells that the object is still at this revision.
func (i *Item) cool(current bool) {
	i.hot.Store(false)
	i.json.Store(nil)
	if i.value.Bytes != nil && (!current || !i.layout.Keeps()) {
		i.object.Store(nil)
	}
}
