package registry

import (
	"encoding/json"
	"fmt"
	"strconv"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/codec/objectjson"
	"github.com/wheelhouse-k8s/wheelhouse/codec/wire"
)

// Item is one object at one revision. It never changes; all its results are shared and must not be changed.
//
// It holds the bytes that the store delivered. The decoded object and the JSON are made when first asked for, and
// both can be dropped and made again.
type Item struct {
	form     *form
	key      string
	revision int64
	// value is the stored value; nil for an item that was converted from another kind's item.
	value []byte
	// start and end of the object's own protobuf within value; both 0 if the value is JSON or nil.
	start, end uint32

	object atomic.Pointer[decoded]
	json   atomic.Pointer[[]byte]
	// hot is set while the item's event is recent enough for its JSON to be kept for other watchers.
	hot atomic.Bool
	// stale tells that the store keeps the value in a form that a write would replace. It is known only of items that were
	// read from the store for a change.
	stale bool
}

type decoded struct {
	object kind.Object
	err    error
}

// Compute makes an Item of an object that is kept nowhere: it has no revision.
func Compute(info *kind.Kind, o kind.Object) *Item {
	i := &Item{form: &form{info: info}, key: o.GetName()}
	if info.Namespaced {
		i.key = o.GetNamespace() + "/" + o.GetName()
	}
	i.object.Store(&decoded{object: o})
	return i
}

// settle gives the revision to an item made by write.
func (i *Item) settle(revision int64) {
	i.revision = revision
	if d := i.object.Load(); d != nil && d.object != nil {
		d.object.SetResourceVersion(strconv.FormatInt(revision, 10))
	}
}

// at is the same object at another revision (the last state, at the revision of its deletion).
func (i *Item) at(revision int64) *Item {
	return &Item{form: i.form, key: i.key, revision: revision, value: i.value, start: i.start, end: i.end}
}

// body is the object's own protobuf as stored, nil if it is not stored as protobuf.
func (i *Item) body() wire.Object { return i.value[i.start:i.end] }

// Object is the decoded object, resourceVersion set, TypeMeta empty. A stored value that does not decode gives an
// object with nothing but its name; Decode tells why.
func (i *Item) Object() kind.Object {
	o, err := i.Decode()
	if err != nil {
		o = i.form.info.New()
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
	if !i.object.CompareAndSwap(nil, d) {
		if other := i.object.Load(); other != nil {
			d = other // all callers share one object
		}
	}
	return d.object, d.err
}

func (i *Item) decode() *decoded {
	o := i.form.info.New()
	var err error
	if i.end > 0 {
		err = o.Unmarshal(i.body())
	} else if err = json.Unmarshal(i.value, o); err == nil {
		o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	}
	if err != nil {
		return &decoded{err: fmt.Errorf("key %s at revision %d does not decode: %w", i.key, i.revision, err)}
	}
	i.form.info.Default(o)
	i.form.settle(o) // others' writers (and JSON) leave more than ours; what is shared must need no change later
	o.SetResourceVersion(strconv.FormatInt(i.revision, 10))
	return &decoded{object: o}
}

// Revision of the object's last change.
func (i *Item) Revision() int64 { return i.revision }

// Name of the object.
func (i *Item) Name() string {
	_, name := i.form.split(i.key)
	return name
}

// Namespace of the object, "" if it is cluster-scoped.
func (i *Item) Namespace() string {
	namespace, _ := i.form.split(i.key)
	return namespace
}

// named tells whether name and namespace are those of the item's key.
func (i *Item) named(name, namespace string) bool {
	wantNamespace, wantName := i.form.split(i.key)
	return name == wantName && namespace == wantNamespace
}

// Proto is the object's protobuf encoding with its resourceVersion, without envelope.
func (i *Item) Proto() []byte {
	return i.AppendProto(make([]byte, 0, i.ProtoSize()))
}

// ProtoSize is the length of Proto.
func (i *Item) ProtoSize() int {
	if i.end == 0 {
		return i.Object().Size()
	}
	if i.revision == 0 {
		return int(i.end - i.start)
	}
	return int(i.end-i.start) + wire.RevisionSize(i.revision)
}

// AppendProto appends Proto to b. A stored object becomes its wire form by a second, appended metadata field that
// holds nothing but resourceVersion: decoders merge repeated message fields.
func (i *Item) AppendProto(b []byte) []byte {
	if i.end == 0 {
		o := i.Object()
		size := o.Size()
		begin := len(b)
		b = append(b, make([]byte, size)...)
		if _, err := o.MarshalToSizedBuffer(b[begin:]); err != nil {
			return b[:begin]
		}
		return b
	}
	b = append(b, i.body()...)
	if i.revision == 0 {
		return b // a dry run's
	}
	return wire.AppendRevision(b, i.revision)
}

// JSON is the object's JSON encoding without apiVersion and kind (as an element of a list).
// It is kept for other watchers while the item's event is recent, and made anew otherwise.
func (i *Item) JSON() ([]byte, error) {
	if b := i.json.Load(); b != nil {
		return *b, nil
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
	if !current && i.value != nil {
		i.object.Store(nil)
	}
}
