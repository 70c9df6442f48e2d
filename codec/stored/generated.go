package stored

import (
	"encoding/json"
	"fmt"
	"iter"
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/shape"
	"github.com/wheelhouse-k8s/wheelhouse/codec/wire"
)

// generated is the format of generated types: protobuf in upstream's envelope, byte for byte as upstream writes it. A value that is JSON, which
// upstream reads as well, must be decoded.
type generated struct {
	stored   *kind.Kind
	envelope wire.Envelope
	// message is what is known of the objects' protobuf.
	message *wire.Message
}

func newGenerated(stored *kind.Kind) *generated {
	return &generated{stored: stored, envelope: wire.NewEnvelope(stored.StorageVersion.String(), stored.GVK.Kind),
		message: wire.MessageOf(shape.Of(reflect.TypeOf(stored.New()).Elem()))}
}

// body is the object's own protobuf.
func body(s *Value) wire.Object { return s.Bytes[s.Start:s.End] }

func (g *generated) Open(value []byte) (Value, error) {
	start, end, err := g.envelope.Payload(value)
	return Value{value, uint32(start), uint32(end)}, err
}

func (g *generated) Sound(s *Value) bool { return g.message.Sound(body(s)) }

// Encode writes into one buffer of exact size.
func (g *generated) Encode(o kind.Object) (Value, error) {
	m := o.(kind.Message)
	size := m.Size()
	value, start, end := g.envelope.Room(size)
	n, err := m.MarshalToSizedBuffer(value[start:end])
	if err == nil && n != size {
		err = fmt.Errorf("%d bytes instead of %d", n, size)
	}
	if err != nil {
		return Value{}, fmt.Errorf("encode %s %s: %w", g.envelope.Kind, o.GetName(), err)
	}
	return Value{value, uint32(start), uint32(end)}, nil
}

func (g *generated) Decode(s *Value, into kind.Object) error {
	if s.Readable() {
		return into.(kind.Message).Unmarshal(body(s))
	}
	err := json.Unmarshal(s.Bytes, into)
	into.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return err
}

func (g *generated) Is(s *Value, namespace, name string) bool {
	return body(s).Name() == name && body(s).Namespace() == namespace
}

func (g *generated) UID(s *Value) types.UID              { return body(s).UID() }
func (g *generated) Labels(s *Value) labels.Labels       { return body(s).Labels() }
func (g *generated) Owners(s *Value) iter.Seq[types.UID] { return body(s).Owners() }

func (g *generated) ProtoSize(s *Value, revision int64) int {
	if revision == 0 {
		return int(s.End - s.Start)
	}
	return int(s.End-s.Start) + wire.RevisionSize(revision)
}

// AppendProto makes what is sent of what is stored by a second, appended metadata field that holds nothing but resourceVersion: decoders
// merge repeated message fields.
func (g *generated) AppendProto(b []byte, s *Value, revision int64) []byte {
	b = append(b, body(s)...)
	if revision == 0 {
		return b // a dry run's
	}
	return wire.AppendRevision(b, revision)
}

func (g *generated) AppendJSON(b []byte, _ *Value, _ int64) ([]byte, bool) { return b, false }

// Keeps: the loops in the process read the same objects all the time.
func (g *generated) Keeps() bool { return true }

// Field finds where a plain string field such as spec.nodeName stands in the protobuf encoding. It is nil if there is no such field, or if
// the kind's Value does more than to read it.
func (g *generated) Field(f kind.AnyField) func(*Value) string {
	probe := g.stored.New()
	v := reflect.ValueOf(probe).Elem()
	t := shape.Of(v.Type())
	var path []int32
	for name := range strings.SplitSeq(f.Name, ".") {
		m, ok := t.Member(name)
		if !ok || len(m.Path) > 1 || m.Encoding != "bytes" {
			return nil
		}
		path = append(path, int32(m.Number))
		t, v = m.Type, v.Field(m.Index)
	}
	if t.Class != shape.String || f.Value(probe) != "" {
		return nil
	}
	v.SetString("probe")
	if f.Value(probe) != "probe" {
		return nil
	}
	return func(s *Value) string { return string(wire.At(body(s), path...)) }
}
