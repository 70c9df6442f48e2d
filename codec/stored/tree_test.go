package stored

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/api/custom"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/codec/objectjson"
)

func widgets(rules kind.Rules[custom.Object]) *kind.Kind {
	return kind.Define(kind.Resource{GroupVersion: schema.GroupVersion{Group: "example.com", Version: "v1"}, Kind: "Widget", Plural: "widgets",
		Namespaced: true, List: kind.ListOf[custom.List]}, rules)
}

func widget(t *testing.T, text string) *custom.Object {
	t.Helper()
	o := &custom.Object{}
	if _, err := o.Decode([]byte(text), false); err != nil {
		t.Fatal(err)
	}
	o.TypeMeta = metav1.TypeMeta{}
	return o
}

const full = `{"metadata":{"name":"x","namespace":"y","uid":"u","labels":{"a":"b","c":"<\"}{","\"\u2028":"","z":"ü\\"},"annotations":{"text":"}\\\"{[","quote":"\""},
	"ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"p","uid":"o1"},{"apiVersion":"v1","kind":"Pod","name":"q","uid":"o2"}],
	"managedFields":[{"manager":"m","operation":"Update","apiVersion":"example.com/v1","time":"2026-01-01T00:00:00Z","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{".":{},"f:x":{}}}}]},
	"spec":{"a":[1,2.5,{"metadata":{"name":"inner"}}],"text":"\",\"kind\":\"Other"},"data":{"x":null}}`

func TestTreeIsReadWhereItStands(t *testing.T) {
	k := widgets(kind.Rules[custom.Object]{})
	f := Of(k, k)
	o := widget(t, full)
	v, err := f.Encode(o)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(v.Bytes), `{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"x"`) || !json.Valid(v.Bytes) {
		t.Errorf("%s", v.Bytes)
	}
	opened, err := f.Open(append(slices.Clone(v.Bytes), '\n'))
	if err != nil || opened.Start != v.Start || opened.End != v.End || !f.Sound(&opened) {
		t.Fatalf("%v: %d to %d instead of %d to %d", err, opened.Start, opened.End, v.Start, v.End)
	}
	if !f.Is(&v, "y", "x") || f.Is(&v, "y", "inner") || f.Is(&v, "", "x") || f.UID(&v) != "u" {
		t.Error("the name, the namespace or the uid is another")
	}
	if got, _ := f.Labels(&v).Lookup("c"); got != `<"}{` || f.Labels(&v).Has("d") {
		t.Errorf("labels %v", f.Labels(&v))
	}
	if owners := slices.Collect(f.Owners(&v)); !slices.Equal(owners, []types.UID{"o1", "o2"}) {
		t.Errorf("owners %v", owners)
	}
	back := k.New()
	if err := f.Decode(&v, back); err != nil || !reflect.DeepEqual(back, kind.Object(o)) {
		t.Errorf("decoded %#v, %v", back, err)
	}
	back.SetResourceVersion("17")
	want, err := objectjson.Marshal(back)
	if err != nil {
		t.Fatal(err)
	}
	shown, ok := f.AppendJSON([]byte("..."), &opened, 17)
	if !ok || !sameJSON(t, shown[3:], want) {
		t.Errorf("shown %s\ninstead of %s", shown, want)
	}
	if f.ProtoSize(&v, 17) != -1 || f.Keeps() {
		t.Error("a tree has protobuf, or is kept decoded")
	}
}

// A value whose bytes are not what a client is to see must be decoded.
func TestTreeIsNotShownAsItStands(t *testing.T) {
	plain := widgets(kind.Rules[custom.Object]{})
	const head = `{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"x","namespace":"y"`
	for name, value := range map[string]string{
		"a second name":     head + `,"name":"z"},"spec":1}`,
		"another version":   head + `,"resourceVersion":"3"},"spec":1}`,
		"unknown metadata":  head + `,"color":"red"},"spec":1}`,
		"metadata twice":    head + `},"spec":{"a":"}"},"metadata":{"name":"z","namespace":"y"}}`,
		"a kind in escapes": head + `},"spec":[{"a":1},"]"],"\u006bind":"Other"}`,
		"a version twice":   head + `},"apiVersion":"v1"}`,
		"in another order":  `{"kind":"Widget","apiVersion":"example.com/v1","metadata":{"name":"x","namespace":"y"},"spec":1}`,
		"a comma too many":  head + `},}`,
		"names in disorder": head + `},"b":1,"a":2}`,
		"a member twice":    head + `},"spec":{"a":1,"a":2}}`,
		"another number":    head + `},"spec":1.0}`,
		"half a character":  head + `},"spec":"\ud800"}`,
		"no text":           head + `},"spec":"` + "\xff" + `"}`,
		"with blanks":       `{ "apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"x","namespace":"y"}}`,
	} {
		f := Of(plain, plain)
		v, err := f.Open([]byte(value))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if v.Readable() && f.Sound(&v) || v.Readable() {
			t.Errorf("%s is shown as it stands", name)
		}
		if err := f.Decode(&v, plain.New()); (err != nil) != (name == "a comma too many") {
			t.Errorf("%s: %v", name, err)
		}
	}
	defaulted := widgets(kind.Rules[custom.Object]{Default: func(o *custom.Object) { o.Members = map[string]any{"a": "b"} }})
	for _, f := range []Format{Of(defaulted, defaulted), Of(widgets(kind.Rules[custom.Object]{}), plain)} {
		v, err := f.Open([]byte(head + `},"spec":1}`))
		if err != nil || !f.Sound(&v) {
			t.Fatal(err)
		}
		if _, ok := f.AppendJSON(nil, &v, 1); ok {
			t.Error("defaults, or a conversion, are passed over")
		}
	}
}

func TestTreeRefuses(t *testing.T) {
	k := widgets(kind.Rules[custom.Object]{})
	f := Of(k, k)
	for name, value := range map[string]string{
		"nothing": "", "protobuf": "k8s\x00...", "a list": `[]`, "another kind": `{"apiVersion":"example.com/v1","kind":"Gadget","metadata":{}}`,
		"another version": `{"apiVersion":"example.com/v2","kind":"Widget","metadata":{}}`, "no kind": `{"metadata":{"name":"x"}}`,
		"cut in the metadata": `{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"x`,
		"a text for metadata": `{"apiVersion":"example.com/v1","kind":"Widget","metadata":"x"}`,
		"numbers for a name":  `{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":1}}`,
		"cut in the members":  `{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"x"},"spec":{`,
	} {
		v, err := f.Open([]byte(value))
		if err == nil && v.Readable() {
			f.Sound(&v)
		}
		if err == nil {
			err = f.Decode(&v, k.New())
		}
		if err == nil {
			t.Errorf("%s is taken", name)
		}
		if v.Readable() {
			t.Errorf("%s is readable", name)
		}
	}
}

// TestTreeMutants: whatever a disk or a hand made of the bytes, what is taken for sound decodes, and is shown as what it decodes to.
func TestTreeMutants(t *testing.T) {
	k := widgets(kind.Rules[custom.Object]{})
	f := Of(k, k)
	whole, err := f.Encode(widget(t, full))
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(3, 4))
	parts := []string{`"`, `\`, `{`, `}`, `[`, `]`, `,`, `:`, `"kind":"x",`, `"metadata":{},`, `"name":"z",`, ` `, `null`, "\xff"}
	sound := 0
	for range 30_000 {
		b := slices.Clone(whole.Bytes)
		for range 1 + random.IntN(2) {
			at := random.IntN(len(b))
			switch random.IntN(3) {
			case 0:
				b[at] = byte(random.Uint32())
			case 1:
				b = slices.Delete(b, at, min(len(b), at+1+random.IntN(8)))
			default:
				b = slices.Insert(b, at, []byte(parts[random.IntN(len(parts))])...)
			}
		}
		v, err := f.Open(b)
		if err != nil || !v.Readable() || !f.Sound(&v) {
			continue
		}
		sound++
		o := k.New()
		if err := f.Decode(&v, o); err != nil {
			t.Fatalf("%s: taken for sound, but %v", b, err)
		}
		if !f.Is(&v, o.GetNamespace(), o.GetName()) || f.UID(&v) != o.GetUID() || !reflect.DeepEqual(labelsOf(f, &v), o.GetLabels()) ||
			!slices.Equal(slices.Collect(f.Owners(&v)), ownersOf(o)) {
			t.Fatalf("%s: read otherwise than decoded", b)
		}
		o.SetResourceVersion("5")
		want, err := objectjson.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		if shown, ok := f.AppendJSON(nil, &v, 5); ok && !sameJSON(t, shown, want) {
			t.Fatalf("%s\nis shown as %s\nand decodes to %s", b, shown, want)
		}
	}
	if sound < 1000 {
		t.Errorf("only %d mutants were sound", sound)
	}
}

func labelsOf(f Format, v *Value) map[string]string {
	var set map[string]string
	f.Labels(v).(treeLabels).Each(func(key, value string) bool {
		if set == nil {
			set = map[string]string{}
		}
		set[key] = value
		if got, ok := f.Labels(v).Lookup(key); !ok || got != value || f.Labels(v).Get(key) != value {
			set[key] = "another by its key"
		}
		return true
	})
	return set
}

func ownersOf(o kind.Object) (uids []types.UID) {
	for _, r := range o.GetOwnerReferences() {
		uids = append(uids, r.UID)
	}
	return uids
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var left, right any
	for text, into := range map[*[]byte]*any{&a: &left, &b: &right} {
		d := json.NewDecoder(bytes.NewReader(*text))
		d.UseNumber()
		if err := d.Decode(into); err != nil {
			t.Fatalf("%s: %v", *text, err)
		}
	}
	return reflect.DeepEqual(left, right)
}
