package registry

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Whether a stored value decodes must be known before anybody sees the object: one that turns out to be broken later would
// have been shown without labels and owners until then. Decoding everything at once would cost a start seconds. So a
// walk over the bytes, ten times as fast, finds those that certainly decode; only what it doubts is decoded.

// examine makes an Item of what the store holds under a key. It fails if the value does not decode, or is not the object that the
// key promises. The shape is that of the stored kind.
func (s *shape) examine(key string, value []byte, revision int64) (*Item, error) {
	i, err := s.read(key, value, revision)
	if err != nil {
		return nil, err
	}
	if i.end > 0 && s.wire.sound(i.body()) && i.named(protoMeta(i.body(), fieldName), protoMeta(i.body(), fieldNamespace)) {
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

// named tells whether name and namespace are those of the item's key.
func (i *Item) named(name, namespace string) bool {
	wantNamespace, wantName := i.shape.split(i.key)
	return name == wantName && namespace == wantNamespace
}

func protoMeta(body []byte, field uint64) string {
	return string(protoPath(body, []uint64{fieldMetadata, field}))
}

// wireRule is what the value of a field must be for it to decode for certain.
type wireRule uint8

const (
	wireDoubtful wireRule = iota // nothing is known of it
	wireVarint
	wireBytes
	wireMessage
	wireQuantity
)

// wire is what is known of the protobuf encoding of one Go type: the rules of its fields by number.
type wire struct {
	rules    []wireRule
	messages []*wire // of wireMessage
}

var wires = struct {
	sync.Mutex
	of map[reflect.Type]*wire // guarded by Mutex
}{of: map[reflect.Type]*wire{}}

func wireOf(t reflect.Type) *wire {
	wires.Lock()
	defer wires.Unlock()
	return wireLocked(t)
}

type unmarshaler interface{ Unmarshal([]byte) error }

var (
	unmarshalerType = reflect.TypeFor[unmarshaler]()
	timestamp       = &wire{rules: []wireRule{wireDoubtful, wireVarint, wireVarint}, messages: make([]*wire, 3)}
	oneText         = &wire{rules: []wireRule{wireDoubtful, wireBytes}, messages: make([]*wire, 2)}
	oneQuantity     = &wire{rules: []wireRule{wireDoubtful, wireQuantity}, messages: make([]*wire, 2)}
)

// wireLocked is called with wires locked.
func wireLocked(t reflect.Type) *wire {
	switch t {
	case reflect.TypeFor[metav1.Time](), reflect.TypeFor[metav1.MicroTime]():
		return timestamp
	case reflect.TypeFor[metav1.FieldsV1]():
		return oneText
	case reflect.TypeFor[resource.Quantity]():
		return oneQuantity
	}
	if w := wires.of[t]; w != nil {
		return w
	}
	w := &wire{}
	wires.of[t] = w // before its fields: types may contain themselves
	switch {
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.String:
		return oneText // a list of strings that is a message
	case t.Kind() == reflect.Struct:
		for n := range t.NumField() {
			w.learn(t.Field(n))
		}
	}
	return w
}

// learn takes in the rule of one field of a Go struct.
func (w *wire) learn(f reflect.StructField) {
	parts := strings.Split(f.Tag.Get("protobuf"), ",")
	if len(parts) < 2 {
		return
	}
	number, err := strconv.Atoi(parts[1])
	if err != nil || number <= 0 {
		return
	}
	t := f.Type
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	own := reflect.PointerTo(t).Implements(unmarshalerType)
	repeated := !own && t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8 // some are declared as optional
	if repeated {
		if t = t.Elem(); t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
	}
	rule, message := wireDoubtful, (*wire)(nil)
	switch {
	case isInteger(t) && !repeated: // some are declared as bytes
		rule = wireVarint
	case parts[0] != "bytes":
	case t.Kind() == reflect.Map:
		message = mapEntry(t)
	case reflect.PointerTo(t).Implements(unmarshalerType):
		message = wireLocked(t)
	case plainBytes(t):
		rule = wireBytes
	}
	if message != nil {
		rule = wireMessage
	}
	for len(w.rules) <= number {
		w.rules, w.messages = append(w.rules, wireDoubtful), append(w.messages, nil)
	}
	w.rules[number], w.messages[number] = rule, message
}

func isInteger(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Bool, reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint32, reflect.Uint64:
		return true
	}
	return false
}

func plainBytes(t reflect.Type) bool {
	return t.Kind() == reflect.String || t.Kind() == reflect.Slice && (t.Elem().Kind() == reflect.Uint8 || t.Elem().Kind() == reflect.String)
}

// mapEntry is the message of one entry of a map; nil if nothing is known of it.
func mapEntry(t reflect.Type) *wire {
	if t.Key().Kind() != reflect.String {
		return nil
	}
	entry := &wire{rules: []wireRule{wireDoubtful, wireBytes, wireBytes}, messages: make([]*wire, 3)}
	switch value := t.Elem(); {
	case reflect.PointerTo(value).Implements(unmarshalerType):
		entry.rules[2], entry.messages[2] = wireMessage, wireLocked(value)
	case value.Kind() != reflect.String && (value.Kind() != reflect.Slice || value.Elem().Kind() != reflect.Uint8):
		return nil
	}
	return entry
}

// sound tells that a message decodes for certain; false means that it must be tried.
func (w *wire) sound(b []byte) bool {
	for len(b) > 0 {
		tag, n := uvarint(b)
		number := tag >> 3
		if n == 0 || number >= uint64(len(w.rules)) {
			return false
		}
		b = b[n:]
		rule := w.rules[number]
		if rule == wireVarint {
			if _, n = uvarint(b); n == 0 || tag&7 != 0 {
				return false
			}
			b = b[n:]
			continue
		}
		size, n := uvarint(b)
		if rule == wireDoubtful || tag&7 != 2 || n == 0 || size > uint64(len(b)-n) {
			return false
		}
		value := b[n : n+int(size)]
		b = b[n+int(size):]
		if rule == wireMessage && !w.messages[number].sound(value) || rule == wireQuantity && !plainQuantity(value) {
			return false
		}
	}
	return true
}

// plainQuantity knows the quantities that everybody writes.
func plainQuantity(b []byte) bool {
	digits := 0
	for digits < len(b) && b[digits] >= '0' && b[digits] <= '9' {
		digits++
	}
	if digits == 0 || digits > 18 {
		return false
	}
	switch string(b[digits:]) {
	case "", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei":
		return true
	}
	return false
}
