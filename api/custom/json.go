package custom

import (
	"encoding/json"
	"fmt"
	"maps"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"
)

// MarshalJSON implements json.Marshaler. The server itself writes objects with codec/objectjson, which gives the same bytes.
func (o *Object) MarshalJSON() ([]byte, error) {
	head, err := json.Marshal(&parts{o.TypeMeta, o.ObjectMeta})
	if err != nil {
		return nil, err
	}
	members := o.Members
	for _, name := range own {
		if _, ok := members[name]; ok {
			members = maps.Clone(members)
			delete(members, name)
		}
	}
	if len(members) == 0 {
		return head, nil
	}
	rest, err := json.Marshal(members)
	if err != nil {
		return nil, err
	}
	return append(append(head[:len(head)-1], ','), rest[1:]...), nil
}

// UnmarshalJSON implements json.Unmarshaler; Decode tells more.
func (o *Object) UnmarshalJSON(data []byte) error {
	_, err := o.Decode(data, false)
	return err
}

// parts are the members that every object has, encoded and decoded by their types.
type parts struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
}

// Decode makes o what the JSON says. With check it tells, besides, which members are given twice and which of those that every object has
// are unknown; such a member does not keep the rest from being decoded.
func (o *Object) Decode(data []byte, check bool) (complaints []error, err error) {
	if o.read(data, check) {
		return nil, nil
	}
	return o.ask(data, check)
}

// ask is Decode as sigs.k8s.io/json has it, in several passes.
func (o *Object) ask(data []byte, check bool) (complaints []error, err error) {
	var raw map[string]json.RawMessage
	if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &raw); err != nil {
		return nil, err
	}
	decoded := Object{Members: make(map[string]any, len(raw))}
	for name, value := range raw {
		if Owns(name) {
			continue
		}
		var v any
		if err := kjson.UnmarshalCaseSensitivePreserveInts(value, &v); err != nil {
			return nil, err
		}
		decoded.Members[name] = v
	}
	if len(decoded.Members) == 0 {
		decoded.Members = nil
	}
	more, err := decoded.decodeOwn(raw, check)
	if err != nil {
		return nil, err
	}
	*o = decoded
	if check {
		complaints = Twice(data)
	}
	return append(complaints, more...), nil
}

// decodeOwn decodes what every object has, by its type.
func (o *Object) decodeOwn(raw map[string]json.RawMessage, check bool) (complaints []error, err error) {
	document := []byte{'{'}
	for _, name := range own {
		if value, ok := raw[name]; ok {
			if len(document) > 1 {
				document = append(document, ',')
			}
			document = append(fmt.Appendf(document, "%q:", name), value...)
		}
	}
	document = append(document, '}')
	var p parts
	if check {
		complaints, err = kjson.UnmarshalStrict(document, &p, kjson.DisallowUnknownFields)
	} else {
		err = kjson.UnmarshalCaseSensitivePreserveInts(document, &p)
	}
	o.TypeMeta, o.ObjectMeta = p.TypeMeta, p.ObjectMeta
	return complaints, err
}
