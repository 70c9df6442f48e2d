package codec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	restwatch "k8s.io/client-go/rest/watch"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/codec/wire"
)

var podInfo = kind.Define(kind.Resource{GroupVersion: corev1.SchemeGroupVersion, Plural: "pods", Namespaced: true, List: kind.ListOf[corev1.PodList]},
	kind.Rules[corev1.Pod]{})

// golden is the folder of upstream's fully populated objects.
func golden(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/api").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "testdata", "HEAD")
}

func TestGoldenObjectsPassEveryFormat(t *testing.T) {
	dir := golden(t)
	for name, make := range map[string]func() kind.Object{
		"core.v1.Pod":        func() kind.Object { return &corev1.Pod{} },
		"core.v1.Service":    func() kind.Object { return &corev1.Service{} },
		"core.v1.Node":       func() kind.Object { return &corev1.Node{} },
		"core.v1.Secret":     func() kind.Object { return &corev1.Secret{} },
		"apps.v1.Deployment": func() kind.Object { return &appsv1.Deployment{} },
		"rbac.authorization.k8s.io.v1.ClusterRole": func() kind.Object { return &rbacv1.ClusterRole{} },
	} {
		parts := strings.Split(name, ".")
		gvk := schema.GroupVersionKind{Group: strings.Join(parts[:len(parts)-2], "."), Version: parts[len(parts)-2], Kind: parts[len(parts)-1]}
		if gvk.Group == "core" {
			gvk.Group = ""
		}
		for f, ending := range map[Format]string{JSON: ".json", YAML: ".yaml", Protobuf: ".pb"} {
			t.Run(name+ending, func(t *testing.T) {
				body, err := os.ReadFile(filepath.Join(dir, name+ending))
				if err != nil {
					t.Fatal(err)
				}
				o := make()
				got, texts, err := Decode(f, body, o, gvk, "Strict")
				if err != nil || got != gvk || len(texts) != 0 {
					t.Fatalf("decoded as %v, %q, %v", got, texts, err)
				}
				k := NewKind(&kind.Kind{GVK: gvk})
				again, err := k.AppendItem(nil, Media{Format: f, Pretty: f == JSON}, Fresh(o), "")
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(bytes.TrimSpace(again), bytes.TrimSpace(body)) && !sameMembers(f, again, body) {
					t.Errorf("encoded again:\n%s\nwant:\n%s", again, body)
				}
			})
		}
	}
}

// sameMembers compares JSON without regard to the order of members; other formats must be the same bytes.
func sameMembers(f Format, a, b []byte) bool {
	var x, y any
	return f == JSON && json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && apiequality.Semantic.DeepEqual(x, y)
}

func TestNegotiate(t *testing.T) {
	const table = "as=Table;v=v1;g=meta.k8s.io"
	for _, c := range []struct {
		accept string
		want   Media
		ok     bool
	}{
		{"", Media{}, true},
		{"*/*", Media{}, true},
		{"application/json;pretty=1", Media{Pretty: true}, true},
		{"application/json; charset=utf-8", Media{}, true},
		{"application/json;stream=watch", Media{}, true},
		{"application/json;stream=other", Media{}, false},
		{"application/xml,*/*;q=0.1", Media{}, true},
		{"application/yaml;q=0.2,application/json;q=0.9", Media{}, true},
		{"application/json;q=0.5,application/yaml", Media{Format: YAML}, true},
		{"application/vnd.kubernetes.protobuf;stream=watch", Media{Format: Protobuf}, true},
		{"application/json;" + table, Media{Form: Table, Version: "v1"}, true},
		{"application/json;" + table + ",application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json", Media{Form: Table, Version: "v1"}, true},
		{"application/vnd.kubernetes.protobuf;" + table + ",application/json", Media{}, true},
		{"application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", Media{Format: Protobuf, Form: PartialList, Version: "v1"}, true},
		{"application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1beta1", Media{Form: Partial, Version: "v1beta1"}, true},
		{"application/json;as=Table", Media{}, false},
		{"application/json;as=Table;g=meta.k8s.io;v=v2", Media{}, false},
		{"application/json;as=Table;g=meta.k8s.io;v=v2,application/json", Media{}, true},
		{"application/*", Media{}, false},
		{"text/html", Media{}, false},
		{"bogus", Media{}, false},
	} {
		// Twice: the second answer comes from what has been remembered.
		for range 2 {
			got, ok := Negotiate(c.accept)
			if ok != c.ok || ok && got != c.want {
				t.Errorf("%q: got %+v %v, want %+v %v", c.accept, got, ok, c.want, c.ok)
			}
		}
	}
}

func TestDecodeComplaints(t *testing.T) {
	want := podInfo.GVK
	for _, c := range []struct {
		name, body, validation string
		format                 Format
		warnings               []string
		err                    string
	}{
		{name: "unknown field", body: `{"kind":"Pod","apiVersion":"v1","spec":{"foo":1}}`, warnings: []string{`unknown field "spec.foo"`}},
		{name: "duplicate field", body: `{"metadata":{"name":"a","name":"b"}}`, warnings: []string{`duplicate field "metadata.name"`}},
		{name: "ignored", body: `{"spec":{"foo":1}}`, validation: "Ignore"},
		{name: "strict", body: `{"spec":{"foo":1}}`, validation: "Strict", err: `strict decoding error: unknown field "spec.foo"`},
		{name: "case matters", body: `{"Spec":{}}`, warnings: []string{`unknown field "Spec"`}},
		{name: "empty", body: ``, err: "unexpected end of JSON input"},
		{name: "null", body: `null`},
		{name: "garbage", body: `{garbage`, err: "invalid character"},
		{name: "wrong type", body: `{"metadata":{"labels":[]}}`, err: "cannot unmarshal"},
		{name: "bad version", body: `{"apiVersion":"a/b/c","kind":"Pod"}`, err: "unexpected GroupVersion string"},
		{name: "yaml", format: YAML, body: "metadata:\n  name: a\n"},
		{name: "yaml twice", format: YAML, body: "metadata:\n  name: a\n  name: b\n", warnings: []string{"line 3"}},
		{name: "no protobuf", format: Protobuf, body: "{}", err: "does not appear to be a protobuf message"},
		{name: "cut protobuf", format: Protobuf, body: "k8s\x00\x0a\x7f", err: "truncated"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, texts, err := Decode(c.format, []byte(c.body), &corev1.Pod{}, want, c.validation)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error is %v, want %q", err, c.err)
				}
				return
			}
			if err != nil || got != want || len(texts) != len(c.warnings) {
				t.Fatalf("got %v, %q, %v", got, texts, err)
			}
			for i := range texts {
				if !strings.Contains(texts[i], c.warnings[i]) {
					t.Errorf("warning %q, want %q", texts[i], c.warnings[i])
				}
			}
		})
	}
}

func pods(n int) []Item {
	var items []Item
	for i := range n {
		items = append(items, Fresh(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("pod-%05d", i), Namespace: "default",
			Labels: map[string]string{"app": "<web>"}, ResourceVersion: fmt.Sprint(i + 1)}, Spec: corev1.PodSpec{NodeName: strings.Repeat("n", 200)}}))
	}
	return items
}

func TestListsDecodeByClientGo(t *testing.T) {
	remaining := int64(7)
	meta := metav1.ListMeta{ResourceVersion: "42", Continue: "next", RemainingItemCount: &remaining}
	for _, n := range []int{0, 1, 100, parallelFrom + 3*chunkItems + 1} {
		l := List[Item]{Kind: NewKind(podInfo), Meta: meta, Items: pods(n)}
		for _, m := range []Media{{}, {Pretty: true}, {Format: YAML}, {Format: Protobuf}} {
			var b bytes.Buffer
			if err := l.Write(&b, m); err != nil {
				t.Fatal(err)
			}
			if size := l.Size(m); size >= 0 && size != b.Len() {
				t.Errorf("%d items %+v: wrote %d bytes, announced %d", n, m, b.Len(), size)
			}
			o, gvk, err := scheme.Codecs.UniversalDeserializer().Decode(b.Bytes(), nil, nil)
			if err != nil {
				t.Fatalf("%d items %+v: %v", n, m, err)
			}
			list := o.(*corev1.PodList)
			if gvk.Kind != "PodList" || !apiequality.Semantic.DeepEqual(list.ListMeta, meta) || len(list.Items) != n {
				t.Errorf("%d items %+v: decoded %v with %d items, %+v", n, m, gvk, len(list.Items), list.ListMeta)
			}
			for i := range list.Items {
				if !apiequality.Semantic.DeepEqual(&list.Items[i], l.Items[i].Object()) {
					t.Fatalf("%d items %+v: item %d differs", n, m, i)
				}
			}
		}
	}
}

func TestMetadataOnly(t *testing.T) {
	l := List[Item]{Kind: NewKind(podInfo), Meta: metav1.ListMeta{ResourceVersion: "42"}, Items: pods(600)}
	for _, f := range []Format{JSON, YAML} {
		var b bytes.Buffer
		if err := l.Write(&b, Media{Format: f, Form: PartialList, Version: "v1"}); err != nil {
			t.Fatal(err)
		}
		var list metav1.PartialObjectMetadataList
		if _, _, err := Decode(f, b.Bytes(), &list, metav1.SchemeGroupVersion.WithKind("PartialObjectMetadataList"), "Strict"); err != nil {
			t.Fatal(err)
		}
		if len(list.Items) != 600 || list.Items[599].Name != "pod-00599" || list.Items[0].Kind != "PartialObjectMetadata" {
			t.Errorf("%v: got %d items, first %+v", f, len(list.Items), list.Items[0])
		}
	}
	var b bytes.Buffer
	if err := l.Write(&b, Media{Format: Protobuf, Form: PartialList, Version: "v1"}); err != nil {
		t.Fatal(err)
	}
	_, name, payload, err := wire.Open(b.Bytes())
	var list metav1.PartialObjectMetadataList
	if err != nil || name != "PartialObjectMetadataList" || list.Unmarshal(payload) != nil || len(list.Items) != 600 {
		t.Errorf("protobuf: %+v %v, %d items", name, err, len(list.Items))
	}
	if err := l.Write(&b, Media{Form: Partial, Version: "v1"}); err != ErrNotAcceptable {
		t.Errorf("a list as one object's metadata: %v", err)
	}
	if _, err := l.Kind.AppendItem(nil, Media{Form: PartialList, Version: "v1"}, l.Items[0], ""); err != ErrNotAcceptable {
		t.Errorf("an object as a list of metadata: %v", err)
	}
}

func TestTables(t *testing.T) {
	k := NewKind(podInfo)
	l := List[Item]{Kind: k, Meta: metav1.ListMeta{ResourceVersion: "42"}, Items: pods(2)}
	for _, c := range []struct {
		include metav1.IncludeObjectPolicy
		object  string
	}{
		{"", `{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"pod-00000",`},
		{"Metadata", `{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"pod-00000",`},
		{"Object", `{"kind":"Pod","apiVersion":"v1","metadata":{"name":"pod-00000",`},
		{"None", `null`},
	} {
		l.Include = c.include
		var b bytes.Buffer
		if err := l.Write(&b, Media{Form: Table, Version: "v1"}); err != nil {
			t.Fatal(err)
		}
		var table metav1.Table
		if err := json.Unmarshal(b.Bytes(), &table); err != nil {
			t.Fatalf("%v: %s", err, b.Bytes())
		}
		if table.Kind != "Table" || len(table.Rows) != 2 || len(table.ColumnDefinitions) != 2 || table.Rows[0].Cells[0] != "pod-00000" {
			t.Errorf("%q: %s", c.include, b.Bytes())
		}
		if got := string(table.Rows[0].Object.Raw); c.include != "None" && !strings.HasPrefix(got, c.object) {
			t.Errorf("%q: row object %s, want %s…", c.include, got, c.object)
		}
	}
	one, err := k.AppendItem(nil, Media{Form: Table, Version: "v1beta1"}, l.Items[1], "None")
	if err != nil || !strings.HasPrefix(string(one), `{"kind":"Table","apiVersion":"meta.k8s.io/v1beta1","metadata":{"resourceVersion":"2"},"columnDefinitions":[{`) ||
		!strings.HasSuffix(string(one), `"object":null}]}`+"\n") {
		t.Errorf("table of one object: %s %v", one, err)
	}
}

func TestWatchFramesDecodeByClientGo(t *testing.T) {
	k, items := NewKind(podInfo), pods(3)
	status := &metav1.Status{Status: "Failure", Reason: "Expired", Code: 410}
	for _, f := range []Format{JSON, Protobuf} {
		info, ok := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), f.ContentType())
		if !ok {
			t.Fatal(f)
		}
		s := k.NewStream(Media{Format: f}, "")
		var b []byte
		var err error
		for i, event := range []string{"ADDED", "MODIFIED", "DELETED"} {
			if b, err = s.Append(b, event, items[i]); err != nil {
				t.Fatal(err)
			}
		}
		if b, err = s.AppendObject(b, "ERROR", status, schema.GroupVersionKind{Version: "v1", Kind: "Status"}); err != nil {
			t.Fatal(err)
		}
		frames := info.StreamSerializer.Framer.NewFrameReader(readCloser{bytes.NewReader(b)})
		d := restwatch.NewDecoder(streamDecoder(frames, info), scheme.Codecs.UniversalDeserializer())
		for i, want := range []string{"ADDED", "MODIFIED", "DELETED", "ERROR"} {
			event, o, err := d.Decode()
			if err != nil || string(event) != want {
				t.Fatalf("%v event %d: %v %v", f, i, event, err)
			}
			if i < 3 && !apiequality.Semantic.DeepEqual(withoutType(o.(*corev1.Pod)), items[i].Object()) {
				t.Errorf("%v event %d: %+v", f, i, o)
			}
			if i == 3 && o.(*metav1.Status).Code != 410 {
				t.Errorf("%v: %+v", f, o)
			}
		}
	}
	s := k.NewStream(Media{Form: Table, Version: "v1"}, "None")
	first, _ := s.Append(nil, "ADDED", items[0])
	second, err := s.Append(nil, "MODIFIED", items[0])
	if err != nil || !bytes.Contains(first, []byte(`"columnDefinitions":[{`)) || !bytes.Contains(second, []byte(`"columnDefinitions":null`)) {
		t.Errorf("tables: %s%s%v", first, second, err)
	}
}

func withoutType(p *corev1.Pod) *corev1.Pod {
	p.TypeMeta = metav1.TypeMeta{}
	return p
}
