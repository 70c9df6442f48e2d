package stored

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	kjson "sigs.k8s.io/json"

	"github.com/wheelhouse-k8s/wheelhouse/api/custom"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/codec/objectjson"
)

// tree is the format of custom.Object: JSON that begins with version, kind and metadata, as upstream's does but for objects with members that
// sort before those. A value that begins otherwise must be decoded. What can be read lies between the braces of the metadata.
type tree struct {
	stored *kind.Kind
	// head is `{"apiVersion":"example.com/v1","kind":"Widget"`.
	head []byte
	// raw: the bytes of a value are what a client gets to see.
	raw bool
}

const metadataHead = `"metadata":{`

func newTree(k, stored *kind.Kind) *tree {
	head := append([]byte(nil), `{"apiVersion":`...)
	head = objectjson.AppendString(head, stored.StorageVersion.String())
	head = append(head, `,"kind":`...)
	head = objectjson.AppendString(head, stored.GVK.Kind)
	return &tree{stored: stored, head: head, raw: k == stored && !stored.Defaults}
}

func (t *tree) Open(value []byte) (Value, error) {
	s := Value{Bytes: value}
	if rest, ok := bytes.CutPrefix(value, t.head); ok {
		if rest, ok = bytes.CutPrefix(rest, []byte(","+metadataHead)); ok {
			if end := width(rest, '}'); end > 0 && end < len(rest) {
				s.Start = uint32(len(value) - len(rest))
				s.End = s.Start + uint32(end)
				return s, nil
			}
		}
	}
	var is metav1.TypeMeta
	if len(value) == 0 || value[0] != '{' {
		return Value{}, errors.New("stored value is no JSON object")
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(value, &is); err != nil {
		return Value{}, err
	}
	if is.Kind != t.stored.GVK.Kind || is.APIVersion != t.stored.StorageVersion.String() {
		return Value{}, fmt.Errorf("stored value is a %s of %s, not a %s of %s", is.Kind, is.APIVersion, t.stored.GVK.Kind, t.stored.StorageVersion)
	}
	return s, nil
}

// Sound makes a value that others may not get to see as it is one that is not Readable: it was written by another hand, and has to be
// decoded to be known. So has one with a resourceVersion of its own, since AppendJSON adds the true one.
func (t *tree) Sound(s *Value) bool {
	rest := exact{rest: bytes.TrimSuffix(s.Bytes[s.End+1:], []byte("\n"))}
	if more := rest.take(','); more != bytes.HasPrefix(rest.rest, []byte("}")) && rest.members(custom.Owns) && len(rest.rest) == 0 {
		if metadata := t.metadata(s); isMetadata(metadata) || staysSame(metadata) {
			return true
		}
	}
	s.Start, s.End = 0, 0
	return false
}

// staysSame tells whether metadata is written as it stands once it is decoded.
func staysSame(metadata []byte) bool {
	var of metav1.ObjectMeta
	if kjson.UnmarshalCaseSensitivePreserveInts(metadata, &of) != nil || of.ResourceVersion != "" {
		return false
	}
	again, err := objectjson.Marshal(&of)
	return err == nil && bytes.Equal(again, metadata)
}

// metadata is the object's, as a document.
func (t *tree) metadata(s *Value) []byte { return s.Bytes[s.Start-1 : s.End+1] }

func (t *tree) Encode(o kind.Object) (Value, error) {
	value, err := objectjson.MarshalAfter(t.head, o)
	if err != nil {
		return Value{}, fmt.Errorf("encode %s %s: %w", t.stored.GVK.Kind, o.GetName(), err)
	}
	value[len(t.head)] = ',' // instead of the brace that begins the object: it has begun with the head
	return t.Open(value)
}

func (t *tree) Decode(s *Value, into kind.Object) error {
	o := into.(*custom.Object)
	_, err := o.Decode(s.Bytes, false)
	o.TypeMeta = metav1.TypeMeta{}
	return err
}

// members of the metadata.
func (t *tree) members(s *Value) members { return s.Bytes[s.Start:s.End] }

func (t *tree) Is(s *Value, namespace, name string) bool {
	m := t.members(s)
	return text(m.find("name")) == name && text(m.find("namespace")) == namespace
}

func (t *tree) UID(s *Value) types.UID        { return types.UID(text(t.members(s).find("uid"))) }
func (t *tree) Labels(s *Value) labels.Labels { return labelsAt(t.members(s).find("labels")) }

func (t *tree) Owners(s *Value) iter.Seq[types.UID] {
	return slices.Values(owners(t.members(s).find("ownerReferences")))
}

// Field: a path in JSON is not worth more than decoding.
func (t *tree) Field(kind.AnyField) func(*Value) string { return nil }

func (t *tree) AppendProto(b []byte, _ *Value, _ int64) []byte { return b }
func (t *tree) ProtoSize(*Value, int64) int                    { return -1 }

func (t *tree) AppendJSON(b []byte, s *Value, revision int64) ([]byte, bool) {
	if !t.raw || !s.Readable() || s.Start == s.End {
		return b, false
	}
	b = append(append(b, '{'), metadataHead...)
	if revision != 0 {
		b = append(b, `"resourceVersion":"`...)
		b = append(strconv.AppendInt(b, revision, 10), `",`...)
	}
	return append(b, bytes.TrimRight(s.Bytes[s.Start:], "\n")...), true
}

// Keeps: nobody in the process reads trees again and again, and in memory they take many times what they take as bytes.
func (t *tree) Keeps() bool { return false }
