package stored

import (
	"bytes"
	"reflect"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	kjson "sigs.k8s.io/json"

	"github.com/wheelhouse-k8s/wheelhouse/api/custom"
	"github.com/wheelhouse-k8s/wheelhouse/api/shape"
	"github.com/wheelhouse-k8s/wheelhouse/codec/wire"
)

// Identity is what can be known of an object whatever its kind.
type Identity struct {
	Name, Namespace string
	// Owners are the uids that the object's owner references name.
	Owners []types.UID
}

// IdentityOf reads a value of any kind, in JSON or protobuf. It fails if the value is malformed, or these parts of it are not what they
// should be.
func IdentityOf(value []byte) (Identity, error) {
	if bytes.HasPrefix(value, []byte(wire.Magic)) {
		return identityInProto(value)
	}
	if is, ok := identityInPlace(bytes.TrimSuffix(value, []byte("\n"))); ok {
		return is, nil
	}
	var o struct {
		Metadata struct {
			Name            string      `json:"name"`
			Namespace       string      `json:"namespace"`
			OwnerReferences []reference `json:"ownerReferences"`
		} `json:"metadata"`
	}
	err := kjson.UnmarshalCaseSensitivePreserveInts(value, &o) // a member in other letters is another member
	is := Identity{Name: o.Metadata.Name, Namespace: o.Metadata.Namespace, Owners: uids(o.Metadata.OwnerReferences)}
	return is, err
}

// identityInPlace reads JSON that is certainly in one of the two forms that API servers write: without blanks, with all members in the order of
// their names, or as a tree is stored here. It is not ok if the value must be decoded.
func identityInPlace(value []byte) (is Identity, ok bool) {
	metadata, ok := metadataIn(value)
	if !ok {
		return is, false
	}
	ok = metadata.each(func(name, value []byte) bool {
		switch string(name) {
		case "name":
			is.Name = text(value)
			return value[0] == '"'
		case "namespace":
			is.Namespace = text(value)
			return value[0] == '"'
		case "ownerReferences":
			var references []reference
			err := kjson.UnmarshalCaseSensitivePreserveInts(value, &references)
			is.Owners = uids(references)
			return err == nil
		}
		return true
	})
	return is, ok
}

// metadataIn finds the metadata of an object in one of those forms.
func metadataIn(value []byte) (members, bool) {
	e := exact{rest: value}
	if !e.take('{') {
		return nil, false
	}
	if e.members(nil) && len(e.rest) == 0 {
		metadata := members(value[1 : len(value)-1]).find("metadata")
		if len(metadata) < 2 || metadata[0] != '{' {
			return nil, false
		}
		return metadata[1 : len(metadata)-1], true
	}
	e = exact{rest: value}
	for _, head := range []string{`{"apiVersion":`, `,"kind":`} {
		if !e.word(head) {
			return nil, false
		}
		if _, ok := e.written(); !ok {
			return nil, false
		}
	}
	if !e.word(`,"metadata":`) {
		return nil, false
	}
	begin := e.rest
	if !e.object(checkedMetadata) {
		return nil, false
	}
	metadata := begin[1 : len(begin)-len(e.rest)-1]
	more := e.take(',')
	if more == bytes.HasPrefix(e.rest, []byte("}")) || !e.members(custom.Owns) || len(e.rest) > 0 {
		return nil, false
	}
	return metadata, true
}

// metadataMessage is what is known of the protobuf of metadata.
var metadataMessage = wire.MessageOf(shape.Of(reflect.TypeFor[metav1.ObjectMeta]()))

func identityInProto(value []byte) (Identity, error) {
	_, _, payload, err := wire.Open(value)
	if err != nil {
		return Identity{}, err
	}
	if o := wire.Object(payload); soundMetadata(o) {
		return Identity{Name: o.Name(), Namespace: o.Namespace(), Owners: slices.Collect(o.Owners())}, nil
	}
	var o metav1.PartialObjectMetadata
	if err := o.Unmarshal(payload); err != nil {
		return Identity{}, err
	}
	is := Identity{Name: o.Name, Namespace: o.Namespace}
	for _, ref := range o.OwnerReferences {
		is.Owners = append(is.Owners, ref.UID)
	}
	return is, nil
}

// soundMetadata tells that an object is well-formed for certain, and that its metadata, which it has once, decodes: then it can be read where it
// stands.
func soundMetadata(payload []byte) bool {
	found := false
	for len(payload) > 0 {
		f, rest, ok := wire.Next(payload)
		if !ok || f.Number <= 0 || f.Type == wire.Group || f.Type == wire.GroupEnd {
			return false
		}
		if f.Number == 1 {
			if found || f.Type != wire.Bytes || !metadataMessage.Sound(f.Bytes) {
				return false
			}
			found = true
		}
		payload = rest
	}
	return found
}
