package wire

import (
	"bytes"
	"encoding/binary"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/api/shape"
)

// hostile are bytes that were made to mislead who reads them. They stand for a message, a field's value, or what follows the magic.
var hostile = map[string]string{
	"empty":                         "",
	"tag cut":                       "\x8a",
	"varint cut":                    "\x08\xff",
	"varint of eleven bytes":        "\x08" + strings.Repeat("\xff", 10) + "\x01",
	"varint that overflows":         "\x08" + strings.Repeat("\xff", 9) + "\x7f",
	"length that overflows":         "\x0a" + strings.Repeat("\xff", 9) + "\x7f",
	"length as long as memory":      "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
	"length beyond the end":         "\x0a\x05abcd",
	"length without end":            "\x0a\xff\xff\xff\xff\x0f",
	"length cut":                    "\x0a\x80",
	"overlong length":               "\x0a\x83\x80\x80\x00abc",
	"overlong tag":                  "\x8a\x80\x80\x00\x03abc",
	"number beyond 32 bits":         "\x8a\x80\x80\x80\x80\x01\x03abc",
	"number zero":                   "\x02\x03abc",
	"negative number":               "\xfa\xff\xff\xff\xff\x01\x03abc",
	"fixed64 cut":                   "\x09\x00\x00\x00\x00\x00\x00\x00",
	"fixed32 cut":                   "\x0d\x00\x00\x00",
	"group":                         "\x0b\x0a\x01x\x0c",
	"group without end":             "\x0b\x0a\x01x",
	"end of no group":               "\x0c",
	"groups a thousand deep":        strings.Repeat("\x0b", 1000),
	"wire type 6":                   "\x0e\x00",
	"wire type 7":                   "\x0f\x00",
	"messages a hundred deep":       nested(100),
	"a number where bytes are":      "\x08\x01\x10\x02\x18\x03",
	"bytes where a number is":       "\x0a\x01x\x12\x01y\x1a\x01z",
	"type given twice":              "\x0a\x04\x0a\x02v1\x0a\x05\x12\x03Pod\x12\x00",
	"content encoding":              "\x12\x00\x1a\x04gzip",
	"a map's entry without a value": "\x0a\x05\x5a\x03\x0a\x01a",
}

func nested(depth int) string {
	var b []byte
	for range depth {
		b = AppendBytes(nil, 1, b)
	}
	return string(b)
}

func pod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "p", UID: "u", Labels: map[string]string{"app": "x", "empty": "", "z": "ü"},
			OwnerReferences: []metav1.OwnerReference{{UID: "o1", Name: "n"}, {UID: "o2", Kind: "k"}}},
		Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}
}

func marshal(t testing.TB, m interface{ Marshal() ([]byte, error) }) []byte {
	t.Helper()
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestUvarint(t *testing.T) {
	for _, v := range []uint64{0, 1, 127, 128, 300, 1<<14 - 1, 1 << 14, 1 << 35, 1<<63 - 1, 1 << 63, math.MaxUint64} {
		b := binary.AppendUvarint(nil, v)
		if got, n := Uvarint(append(b, 7)); got != v || n != len(b) || UvarintSize(v) != n {
			t.Errorf("%d: read %d, %d bytes, size %d", v, got, n, UvarintSize(v))
		}
		if _, n := Uvarint(b[:len(b)-1]); n != 0 {
			t.Errorf("%d: a varint that is cut has %d bytes", v, n)
		}
	}
	if v, n := Uvarint([]byte(strings.Repeat("\xff", 9) + "\x7f")); v != math.MaxUint64 || n != varintMax {
		t.Errorf("what overflows is read as %d, %d bytes: decoders lose it", v, n)
	}
}

// Every reader gives an answer whatever the bytes are, and no value that reaches beyond them.
func TestHostileBytes(t *testing.T) {
	for name, text := range hostile {
		t.Run(name, func(t *testing.T) { read(t, []byte(text)) })
	}
	for text, want := range map[string]string{
		"":                                       "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]",
		Magic + hostile["wire type 6"]:           "protobuf wire type 6 is not supported",
		Magic + hostile["group"]:                 "protobuf wire type 3 is not supported",
		Magic + hostile["tag cut"]:               "provided data is truncated",
		Magic + hostile["length beyond the end"]: "provided data is truncated",
		Magic + hostile["content encoding"]:      `unknown contentEncoding "gzip"`,
	} {
		if _, _, _, err := Open([]byte(text)); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

var podMessage = MessageOf(shape.Of(reflect.TypeFor[corev1.Pod]()))

// read reads bytes in every way and compares the answers with those of the generated decoders.
func read(t *testing.T, b []byte) {
	b = slices.Clip(b)
	for rest := b; len(rest) > 0; {
		f, after, ok := Next(rest)
		if !ok {
			break
		}
		if len(after) >= len(rest) || len(f.Bytes) > len(rest) {
			t.Fatalf("%q: a field of %d bytes leaves %d of %d", b, len(f.Bytes), len(after), len(rest))
		}
		rest = after
	}
	o := Object(b)
	_, _, _ = o.Name(), o.Namespace(), o.UID()
	for range o.Owners() {
	}
	o.Labels().Each(func(key, _ string) bool { return o.Labels().Has(key) })
	var p corev1.Pod
	if podMessage.Sound(b) {
		if err := p.Unmarshal(b); err != nil {
			t.Fatalf("%q: taken for sound, but %v", b, err)
		}
	}
	e := NewEnvelope("v1", "Pod")
	for _, value := range [][]byte{b, append([]byte(Magic), b...), append([]byte(e.head), b...)} {
		if start, end, err := e.Payload(value); err == nil && (start > end || end > len(value)) {
			t.Fatalf("%q: a payload from %d to %d", value, start, end)
		}
		apiVersion, kind, payload, err := Open(value)
		var u runtime.Unknown
		if err != nil || u.Unmarshal(value[len(Magic):]) != nil {
			continue
		}
		if apiVersion != u.APIVersion || kind != u.Kind || !bytes.Equal(payload, u.Raw) {
			t.Fatalf("%q is opened as %s %s %q, decoded as %+v", value, apiVersion, kind, payload, u)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, text := range hostile {
		f.Add([]byte(text))
	}
	body := marshal(f, pod())
	e := NewEnvelope("v1", "Pod")
	f.Add(body)
	f.Add(e.Append(nil, body)[len(Magic):])
	f.Fuzz(read)
}

func TestEnvelopeIsUpstreams(t *testing.T) {
	for _, size := range []int{0, 1, 127, 128, 20000} {
		payload := bytes.Repeat([]byte{'x'}, size)
		e := NewEnvelope("apps/v1", "Deployment")
		u := runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}, Raw: payload}
		want := append([]byte(Magic), marshal(t, &u)...)
		got := e.Append(nil, payload)
		if !bytes.Equal(got, want) || len(got) != e.Size(size) {
			t.Errorf("%d bytes: %q, announced %d, want %q", size, got, e.Size(size), want)
		}
		room, start, end := e.Room(size)
		copy(room[start:end], payload)
		if !bytes.Equal(room, want) || cap(room) != len(room) {
			t.Errorf("%d bytes in their room: %q, want %q", size, room, want)
		}
		if from, to, err := e.Payload(want); from != start || to != end || err != nil {
			t.Errorf("%d bytes stand from %d to %d, found from %d to %d: %v", size, start, end, from, to, err)
		}
	}
}

func TestObject(t *testing.T) {
	p := pod()
	o := Object(marshal(t, p))
	if o.Name() != "p" || o.Namespace() != "a" || o.UID() != "u" {
		t.Errorf("%s %s %s", o.Name(), o.Namespace(), o.UID())
	}
	if owners := slices.Collect(o.Owners()); !slices.Equal(owners, []types.UID{"o1", "o2"}) {
		t.Errorf("owners %v", owners)
	}
	have := map[string]string{}
	o.Labels().Each(func(key, value string) bool { have[key] = value; return true })
	if !reflect.DeepEqual(have, p.Labels) || o.Labels().Get("z") != "ü" || !o.Labels().Has("empty") || o.Labels().Has("none") {
		t.Errorf("labels %v", have)
	}
	if node := At(o, 2, 10); string(node) != "n1" {
		t.Errorf("node %q", node)
	}
	for _, revision := range []int64{1, 9, 10, 123456789012} {
		whole := AppendRevision(slices.Clone(o), revision)
		var again corev1.Pod
		if err := again.Unmarshal(whole); err != nil || again.Name != "p" || len(again.Labels) != 3 || len(whole) != len(o)+RevisionSize(revision) {
			t.Errorf("revision %d: %+v %v", revision, again, err)
		}
	}
}

func BenchmarkLabels(b *testing.B) {
	o := Object(marshal(b, pod()))
	b.ReportAllocs()
	for b.Loop() {
		if o.Labels().Get("app") != "x" {
			b.Fatal("the label is not found")
		}
	}
}
