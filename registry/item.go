package registry

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/registry/objectjson"
)

// Item is one object at one revision. It never changes; all its results are shared and must not be changed.
//
// It holds the bytes that the store delivered. The decoded object and the JSON are made when first asked for, and
// both can be dropped and made again.
type Item struct {
	shape    *shape
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

// shape is what items of one kind have in common.
type shape struct {
	info *kind.Info
	envelope
	// prefix of keys.
	prefix string
	// wire is what is known of the objects' encoding.
	wire *wire
}

type decoded struct {
	object kind.Object
	err    error
}

func newShape(info *kind.Info, stored *kind.Info) *shape {
	return &shape{
		info: info, envelope: newEnvelope(stored.StorageVersion.String(), stored.GVK.Kind), prefix: stored.StoragePrefix,
		wire: wireOf(reflect.TypeOf(stored.New()).Elem()),
	}
}

// read makes an Item of a stored value, of which it looks at the envelope alone: examine does more. It shares the value's bytes.
func (s *shape) read(key string, value []byte, revision int64) (*Item, error) {
	start, end, err := s.body(value)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", key, err)
	}
	return &Item{shape: s, key: key, revision: revision, value: value, start: uint32(start), end: uint32(end)}, nil
}

// write makes an Item of an object that is about to be stored; its revision is set by settle.
func (s *shape) write(key string, o kind.Object) (*Item, error) {
	o.SetResourceVersion("")
	o.SetSelfLink("")
	o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	s.settleAgain(o)
	value, begin, err := s.encode(o)
	if err != nil {
		return nil, err
	}
	i := &Item{shape: s, key: key, value: value, start: uint32(begin), end: uint32(len(value) - len(envelopeTail))}
	i.object.Store(&decoded{object: o})
	return i, nil
}

// Compute makes an Item of an object that is kept nowhere: it has no revision.
func Compute(info *kind.Info, o kind.Object) *Item {
	s := &shape{info: info}
	i := &Item{shape: s, key: o.GetName()}
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
	return &Item{shape: i.shape, key: i.key, revision: revision, value: i.value, start: i.start, end: i.end}
}

// body is the object's own protobuf as stored, nil if it is not stored as protobuf.
func (i *Item) body() []byte { return i.value[i.start:i.end] }

// Object is the decoded object, resourceVersion set, TypeMeta empty. A stored value that does not decode gives an
// object with nothing but its name; Decode tells why.
func (i *Item) Object() kind.Object {
	o, err := i.Decode()
	if err != nil {
		o = i.shape.info.New()
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
	o := i.shape.info.New()
	var err error
	if i.end > 0 {
		err = o.Unmarshal(i.body())
	} else if err = json.Unmarshal(i.value, o); err == nil {
		o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	}
	if err != nil {
		return &decoded{err: fmt.Errorf("key %s at revision %d does not decode: %w", i.key, i.revision, err)}
	}
	i.shape.info.Default(o)
	i.shape.settle(o) // others' writers (and JSON) leave more than ours; what is shared must need no change later
	o.SetResourceVersion(strconv.FormatInt(i.revision, 10))
	return &decoded{object: o}
}

// Revision of the object's last change.
func (i *Item) Revision() int64 { return i.revision }

// Name of the object.
func (i *Item) Name() string {
	_, name := i.shape.split(i.key)
	return name
}

// Namespace of the object, "" if it is cluster-scoped.
func (i *Item) Namespace() string {
	namespace, _ := i.shape.split(i.key)
	return namespace
}

func (s *shape) split(key string) (namespace, name string) {
	rest := key[len(s.prefix):]
	if !s.info.Namespaced {
		return "", rest
	}
	namespace, name, _ = strings.Cut(rest, "/")
	return namespace, name
}

// well tells whether a key has the form of this kind's keys.
func (s *shape) well(key string) bool {
	rest := key[len(s.prefix):]
	slash := strings.IndexByte(rest, '/')
	if !s.info.Namespaced {
		return rest != "" && slash < 0
	}
	return slash > 0 && slash < len(rest)-1 && strings.IndexByte(rest[slash+1:], '/') < 0
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
	return int(i.end-i.start) + 2 + 2 + decimals(i.revision)
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
	digits := decimals(i.revision)
	b = append(b, fieldMetadata<<3|2, byte(2+digits), fieldResourceVersion<<3|2, byte(digits))
	return strconv.AppendInt(b, i.revision, 10)
}

// fieldResourceVersion is the field number of ObjectMeta.resourceVersion.
const fieldResourceVersion = 6

func decimals(v int64) int {
	n := 1
	for v >= 10 {
		v /= 10
		n++
	}
	return n
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
	b, err := encodeJSON(o)
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

// labels of the object.
func (i *Item) labels() labels.Labels {
	if i.end > 0 {
		return labelsOf(i.body())
	}
	return labels.Set(i.Object().GetLabels())
}
