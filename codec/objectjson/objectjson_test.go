package objectjson

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/wheelhouse-k8s/wheelhouse/api/custom"
)

func same(t *testing.T, o any) {
	t.Helper()
	want, wantErr := json.Marshal(o)
	got, err := Append(nil, o)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%T: error %v, encoding/json says %v", o, err, wantErr)
	}
	if err == nil && string(got) != string(want) {
		t.Fatalf("%T:\n%s\nencoding/json:\n%s", o, got, want)
	}
}

// Every object that upstream keeps for tests of its encodings.
func TestGolden(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/api").Output()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "testdata", "HEAD", "*.pb"))
	if err != nil || len(files) < 100 {
		t.Fatal(len(files), err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		o, _, err := scheme.Codecs.UniversalDeserializer().Decode(b, nil, nil)
		if err != nil {
			continue // a version that the scheme does not know
		}
		same(t, o)
		same(t, reflect.New(reflect.TypeOf(o).Elem()).Interface())
	}
}

// Every type of the scheme, filled at random.
func TestRandom(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, of := range scheme.Scheme.AllKnownTypes() {
		if of.PkgPath() == "k8s.io/apimachinery/pkg/apis/meta/internalversion" {
			continue
		}
		for range 3 {
			v := reflect.New(of)
			fill(v.Elem(), random, 6)
			same(t, v.Interface())
		}
	}
}

func fill(v reflect.Value, random *rand.Rand, depth int) {
	if random.IntN(4) == 0 || depth == 0 || !v.CanSet() {
		return
	}
	texts := []string{"", "x", "a<b>&c", "quote\"back\\slash", "line\nend", "ünï", "\u2028", "bad\xff", "\x7f"}
	switch o := v.Addr().Interface().(type) {
	case *metav1.Time:
		*o = metav1.Unix(random.Int64N(4e9), 5)
		return
	case *metav1.MicroTime:
		*o = metav1.NewMicroTime(time.Unix(random.Int64N(4e9), 5000))
		return
	case *resource.Quantity:
		*o = resource.MustParse([]string{"1", "100m", "1Gi", "1500", "0.5"}[random.IntN(5)])
		return
	case *intstr.IntOrString:
		*o = []intstr.IntOrString{intstr.FromInt32(5), intstr.FromString("50%<")}[random.IntN(2)]
		return
	case *metav1.FieldsV1:
		*o = *metav1.NewFieldsV1([]string{`{}`, `{"f:a":{}}`, `{ "f:a": {} }`, `{"k:{\"n\":\"x\"}":{".":{},"f:b":{}},"f:c":{"f:d":{}}}`, `{"v:\"<\"":{}}`}[random.IntN(5)])
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int32, reflect.Int64, reflect.Int:
		v.SetInt(random.Int64N(1000) - 500)
	case reflect.String:
		v.SetString(texts[random.IntN(len(texts))])
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), random, depth-1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), random.IntN(3), 4))
		for n := range v.Len() {
			fill(v.Index(n), random, depth-1)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range random.IntN(4) {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(key, random, depth)
			fill(value, random, depth-1)
			v.SetMapIndex(key, value)
		}
	case reflect.Struct:
		for n := range v.NumField() {
			fill(v.Field(n), random, depth-1)
		}
	}
}

func TestOdd(t *testing.T) {
	type embedded struct{ A, B int }
	type clash struct {
		embedded
		A string
	}
	type odd struct {
		F     float64
		I8    int8 `json:",omitempty"`
		U     uint32
		S     int64 `json:"s,string"`
		Any   any
		Array [2]int
		Bytes []byte
		Keys  map[int]string
		Deep  *odd `json:",omitempty"`
	}
	for _, o := range []any{
		&odd{Deep: &odd{F: 1.5}}, &clash{A: "x"}, odd{}, (*odd)(nil), nil, 5, &odd{Bytes: []byte{}, Any: &odd{}},
		&metav1.FieldsV1{}, &rbacv1.ClusterRole{Rules: []rbacv1.PolicyRule{}}, &corev1.Secret{Data: map[string][]byte{"b": nil, "a": {}}},
		&intstr.IntOrString{Type: 7}, &metav1.Time{Time: time.Date(12345, 1, 1, 0, 0, 0, 0, time.UTC)}, &metav1.Time{Time: time.Date(7, 1, 1, 0, 0, 0, 0, time.FixedZone("x", 3600))},
	} {
		same(t, o)
	}
	// What is no JSON is found, not passed on.
	for _, raw := range []string{"{", "}", "{}}", "{}{}", `{"a":}`, `{"a":{},}`, `{"a"{}}`, `{"a":{}`, `{,}`, `x`, `{"a":{}"b":{}}`, `{"a":{},"b"}`, `{"a\u00e9":{}}`, `{"a":1}`, ` {}`, `{"a":{} }`} {
		f := metav1.NewFieldsV1(raw)
		if PlainFields([]byte(raw)) {
			t.Errorf("%s is taken for plain", raw)
		}
		same(t, f)
	}
}

// Every character, alone and among others, and what is none.
func TestStrings(t *testing.T) {
	texts := []string{"", "a\xff", "\xc3", "\xed\xa0\x80", "x\u2027\u2028\u2029\u202a", "\U0001f600 <&>", "\ufffd"}
	for c := range 0x180 {
		texts = append(texts, string(rune(c)), "a"+string(rune(c))+"b", "ü"+string([]byte{byte(c)}))
	}
	for _, text := range texts {
		want, _ := json.Marshal(text)
		if got := AppendString([]byte("x"), text); string(got[1:]) != string(want) {
			t.Errorf("%q is written %s, encoding/json writes %s", text, got[1:], want)
		}
	}
}

func FuzzString(f *testing.F) {
	f.Add("a<b>&c \"quoted\" \u2028 \xff")
	f.Fuzz(func(t *testing.T, text string) {
		if want, _ := json.Marshal(text); string(AppendString(nil, text)) != string(want) {
			t.Fatalf("%q is written %s, encoding/json writes %s", text, AppendString(nil, text), want)
		}
	})
}

func BenchmarkPod(b *testing.B) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/api").Output()
	if err != nil {
		b.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "testdata", "HEAD", "core.v1.Pod.json"))
	if err != nil {
		b.Fatal(err)
	}
	var pod corev1.Pod
	if err := json.Unmarshal(raw, &pod); err != nil {
		b.Fatal(err)
	}
	b.Run("objectjson", func(b *testing.B) {
		var buf []byte
		for b.Loop() {
			buf, _ = Append(buf[:0], &pod)
		}
	})
	b.Run("encoding/json", func(b *testing.B) {
		for b.Loop() {
			_, _ = json.Marshal(&pod)
		}
	})
}

// Trees are written as their own method writes them.
func TestTrees(t *testing.T) {
	for _, text := range []string{
		`{}`, `{"kind":"K","apiVersion":"a/v1","metadata":{"name":"x"},"spec":{"b":1,"a":[true,null,"<\u2028>",1.5,1e30,1e-9,-0.0,{}],"":[]},"data":{}}`,
	} {
		o := &custom.Object{}
		if err := json.Unmarshal([]byte(text), o); err != nil {
			t.Fatal(err)
		}
		same(t, o)
		same(t, &custom.List{Items: []custom.Object{*o, {}}})
	}
	same(t, &custom.Object{Members: map[string]any{"kind": 1, "a": map[string]any(nil), "b": []any(nil), "c": int32(4), "d": struct{ X int }{5}}})
	same(t, &custom.Object{Members: map[string]any{"a": map[string]any{"b": math.Inf(1)}}})
}
