package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/wheelhouse-k8s/wheelhouse/api/custom"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/codec/canonical"
	"github.com/wheelhouse-k8s/wheelhouse/codec/wire"
)

// golden is an object that upstream encoded with every field set.
func golden(t *testing.T, name string) []byte {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/api").Output()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "testdata", "HEAD", name+".pb"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func clusterRoles() *kind.Kind {
	return kind.Define(kind.Resource{GroupVersion: rbacv1.SchemeGroupVersion, Plural: "clusterroles", List: kind.ListOf[rbacv1.ClusterRoleList]},
		kind.Rules[rbacv1.ClusterRole]{})
}

// events shows that the stored form of a kind with many kinds of fields is upstream's.
func events() *kind.Kind {
	return kind.Define(kind.Resource{GroupVersion: corev1.SchemeGroupVersion, Plural: "events", Namespaced: true, List: kind.ListOf[corev1.EventList]},
		kind.Rules[corev1.Event]{})
}

func TestStoredFormIsUpstreams(t *testing.T) {
	infos := append(generated.kinds(), clusterRoles(), events())
	for _, info := range infos {
		t.Run(info.GVK.Kind, func(t *testing.T) {
			group := info.GVK.Group
			if group == "" {
				group = "core"
			}
			want := golden(t, group+".v1."+info.GVK.Kind)
			s := newLayout(info, info)
			read, err := s.read(info.Key("ns", "name"), want, 7)
			if err != nil {
				t.Fatal(err)
			}
			o, err := read.Decode()
			if err != nil {
				t.Fatal(err)
			}
			if o.GetResourceVersion() != "7" {
				t.Errorf("resourceVersion %q", o.GetResourceVersion())
			}
			// The golden object carries a resourceVersion and a selfLink, which are not stored.
			plain := kind.Copy(o)
			plain.SetResourceVersion("resourceVersionValue")
			plain.SetSelfLink("selfLinkValue")
			got, err := s.Encode(plain)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes, want) {
				t.Errorf("encoded %d bytes differ from upstream's %d", len(got.Bytes), len(want))
			}
			if got.Start != read.value.Start {
				t.Errorf("body begins at %d, found at %d", got.Start, read.value.Start)
			}
		})
	}
}

func TestProtoCarriesResourceVersion(t *testing.T) {
	for _, info := range append(generated.kinds(), clusterRoles(), events()) {
		for _, revision := range []int64{1, 9, 10, 123456789012} {
			group := info.GVK.Group
			if group == "" {
				group = "core"
			}
			o := info.New()
			s := newLayout(info, info)
			full, err := s.read(info.Key("ns", "name"), golden(t, group+".v1."+info.GVK.Kind), 1)
			if err != nil {
				t.Fatal(err)
			}
			i, err := s.write("key", kind.Copy(full.Object()))
			if err != nil {
				t.Fatal(err)
			}
			i.setRevision(revision)
			proto := i.Proto()
			if len(proto) != i.ProtoSize() {
				t.Errorf("%s: %d bytes, announced %d", info.GVK.Kind, len(proto), i.ProtoSize())
			}
			if err := o.(kind.Message).Unmarshal(proto); err != nil {
				t.Fatal(err)
			}
			if !apiequality.Semantic.DeepEqual(o, i.Object()) {
				t.Errorf("%s at %d: decoded object differs", info.GVK.Kind, revision)
			}
			if b := i.AppendProto([]byte("x")); !bytes.Equal(b[1:], proto) {
				t.Errorf("%s: AppendProto differs from Proto", info.GVK.Kind)
			}
		}
	}
}

func TestEnvelopeRefuses(t *testing.T) {
	s := newLayout(generated.kinds()[0], generated.kinds()[0])
	whole, err := s.write("k", generated.configMap("a", "b", nil))
	if err != nil {
		t.Fatal(err)
	}
	secret := wire.NewEnvelope("v1", "Secret")
	foreign := secret.Append(nil, nil)
	for name, value := range map[string][]byte{
		"empty": nil, "noise": []byte("noise"), "magic alone": []byte(wire.Magic), "another kind": foreign,
		"cut": whole.value.Bytes[:len(whole.value.Bytes)/2], "another kind in JSON": []byte(`{"kind":"Secret","apiVersion":"v1"}`),
		"encrypted": []byte("k8s:enc:aescbc:v1:key1:xxxx"),
	} {
		if i, err := s.read("/registry/configmaps/a/b", value, 1); err == nil {
			t.Errorf("%s: read as %v", name, i.Object())
		}
	}
	i, err := s.read("/registry/configmaps/a/b", []byte(`{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"b","namespace":"a","uid":"u"},"data":{"k":"v"}}`), 5)
	if err != nil {
		t.Fatal(err)
	}
	o := i.Object().(*corev1.ConfigMap)
	if o.Data["k"] != "v" || o.ResourceVersion != "5" || o.Kind != "" || uidOf(i) != "u" {
		t.Errorf("JSON read as %#v", o)
	}
	var again corev1.ConfigMap
	if err := again.Unmarshal(i.Proto()); err != nil || again.Data["k"] != "v" || again.ResourceVersion != "5" {
		t.Errorf("protobuf of a value stored as JSON: %v %#v", err, again)
	}
}

// What is read from the bytes must be what the decoded object says.
func TestScanAgreesWithDecoding(t *testing.T) { forEachForm(t, testScanAgreesWithDecoding) }

func testScanAgreesWithDecoding(t *testing.T, f testForm) {
	info := f.kinds()[1]
	s := newLayout(info, info)
	full := f.pod("a", "full", "n1")
	m := meta(full)
	m.UID, m.Labels = "u1", map[string]string{"app": "x", "empty": "", "z": "ü", "quoted": "\"}{"}
	m.OwnerReferences = []metav1.OwnerReference{{UID: "o1", Name: "n"}, {UID: "o2", Kind: "k"}}
	for _, o := range []kind.Object{f.pod("a", "bare", ""), full} {
		written, err := s.write(info.Key(o.GetNamespace(), o.GetName()), o)
		if err != nil {
			t.Fatal(err)
		}
		i, p := must(s.examine(written.key, written.value.Bytes, 3))(t), meta(o)
		if got := uidOf(i); got != string(p.UID) {
			t.Errorf("uid %q", got)
		}
		var uids []types.UID
		for _, ref := range p.OwnerReferences {
			uids = append(uids, ref.UID)
		}
		if got := owners(i); !slices.Equal(got, uids) {
			t.Errorf("owners %v", got)
		}
		for _, key := range []string{"app", "empty", "z", "quoted", "none"} {
			want, exists := p.Labels[key]
			got, ok := i.labels().Lookup(key)
			if got != want || ok != exists || i.labels().Has(key) != exists || i.labels().Get(key) != want {
				t.Errorf("label %s: %q %v", key, got, ok)
			}
		}
		if i.Name() != p.Name || i.Namespace() != p.Namespace {
			t.Errorf("%s/%s", i.Namespace(), i.Name())
		}
		if i.object.Load() != nil {
			t.Error("it was decoded for that")
		}
		x := newFieldIndexes(s)[0]
		if got := x.value(i); got != get(o, "spec.nodeName") {
			t.Errorf("node %q", got)
		}
		if f == generated && (x.read == nil || i.object.Load() != nil) {
			t.Error("spec.nodeName is not read from the bytes")
		}
	}
	computed := kind.Define(kind.Resource{}, kind.Rules[corev1.Pod]{Fields: []kind.Field[corev1.Pod]{
		{Name: "spec.nodeName", Indexed: true, Value: func(p *corev1.Pod) string { return "on " + p.Spec.NodeName }},
	}})
	if newFieldIndexes(newLayout(computed, computed))[0].read != nil {
		t.Error("a computed value is read from the bytes")
	}
}

// A writer's object stands for the stored one, so its JSON must be that of the decoded bytes.
func TestCanonicalIsWhatDecodes(t *testing.T) {
	generatedPod, treePod := generated.kinds()[1], trees.kinds()[1]
	for o, info := range map[kind.Object]*kind.Kind{
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "r", Labels: map[string]string{}}, Rules: []rbacv1.PolicyRule{}}: clusterRoles(),
		&rbacv1.ClusterRole{Rules: []rbacv1.PolicyRule{{Verbs: []string{}, APIGroups: []string{}}}}:                              clusterRoles(),
		&corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{}, Tolerations: []corev1.Toleration{}}}:                  generatedPod,
		&corev1.Pod{Spec: corev1.PodSpec{Volumes: []corev1.Volume{{VolumeSource: corev1.VolumeSource{
			Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{}}}}}}}: generatedPod,
		&custom.Object{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{}, CreationTimestamp: metav1.Now()}, Members: map[string]any{
			"kind": "x", "none": map[string]any(nil), "list": []any{}, "n": []any{1, 2.0, 1e30, 0.5, nil}, "<": "\xff\u2028"}}: treePod,
		&custom.Object{Members: map[string]any{"metadata": 1}}: treePod,
	} {
		s := newLayout(info, info)
		if err := canonical.MakeExact(o, canonical.Options{ReplaceInvalid: true}); err != nil {
			t.Fatal(err)
		}
		i, err := s.write(info.Key("a", "b"), o)
		if err != nil {
			t.Fatal(err)
		}
		i.setRevision(4)
		mine, err := i.JSON()
		if err != nil {
			t.Fatal(err)
		}
		decoded := i.at(4)
		if text := must(decoded.JSON())(t); string(mine) != string(text) {
			t.Errorf("written as %s\ndecoded as %s", mine, text)
		}
		if !reflect.DeepEqual(i.Object(), decoded.Object()) {
			t.Errorf("written as %#v\ndecoded as %#v", i.Object(), decoded.Object())
		}
	}
}

func TestJSONIsAListElement(t *testing.T) { forEachForm(t, testJSONIsAListElement) }

func testJSONIsAListElement(t *testing.T, f testForm) {
	info := f.kinds()[1]
	i, err := newLayout(info, info).write(info.Key("a", "b"), f.pod("a", "b", "<n>"))
	if err != nil {
		t.Fatal(err)
	}
	i.setRevision(12)
	first, err := i.JSON()
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(first, &fields); err != nil {
		t.Fatal(err)
	}
	for _, absent := range []string{"kind", "apiVersion"} {
		if _, ok := fields[absent]; ok {
			t.Errorf("%s is there", absent)
		}
	}
	if want := map[string]any{"name": "b", "namespace": "a", "resourceVersion": "12"}; !reflect.DeepEqual(fields["metadata"], want) {
		t.Errorf("metadata %v", fields["metadata"])
	}
	if i.json.Load() != nil {
		t.Error("the JSON of an item without a recent event is kept")
	}
	i.hot.Store(true)
	if !f.keeps() {
		if _, err := i.AppendJSON(nil); err != nil || i.json.Load() != nil {
			t.Error("what is shown as it is stored is kept once more")
		}
		i.cool(true)
		if i.object.Load() != nil {
			t.Error("a tree is kept decoded")
		}
		return
	}
	second, _ := i.JSON()
	third, _ := i.JSON()
	appended, err := i.AppendJSON([]byte("x"))
	if fresh, _ := i.at(12).AppendJSON([]byte("x")); err != nil || string(appended) != "x"+string(first) || string(fresh) != string(appended) {
		t.Errorf("appended %s", appended)
	}
	if &second[0] != &third[0] {
		t.Error("the JSON of a recent item is not shared")
	}
	i.cool(true)
	i.hot.Store(true)
	if _, err := i.AppendJSON(nil); err != nil || i.json.Load() == nil {
		t.Error("the JSON of a recent item is not kept for the next watcher")
	}
	i.cool(true)
	if i.json.Load() != nil || i.object.Load() == nil {
		t.Error("cooling must drop the JSON and keep the object")
	}
}

func TestContinueTokens(t *testing.T) {
	scope := "/registry/pods/a/"
	token := encodeContinue(scope+"x\x00", scope, 42)
	key, revision, err := decodeContinue(token, scope)
	if err != nil || key != scope+"x\x00" || revision != 42 {
		t.Errorf("%q %d %v", key, revision, err)
	}
	// A token that upstream made.
	key, revision, err = decodeContinue("eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6NTEyLCJzdGFydCI6ImVcdTAwMDAifQ", scope)
	if err != nil || key != scope+"e\x00" || revision != 512 {
		t.Errorf("%q %d %v", key, revision, err)
	}
	for _, bad := range []string{"bogus", "", "e30", encodeContinue("/x", "", 0), encodeContinue("../secrets/", "", 3), encodeContinue("a/../../secrets/x", "", 3)} {
		if key, _, err := decodeContinue(bad, scope); err == nil {
			t.Errorf("token %q leads to %q", bad, key)
		}
	}
}

func TestGenerateName(t *testing.T) {
	long := strings.Repeat("x", 100)
	for _, prefix := range []string{"", "a-", long} {
		name := generateName(prefix)
		if len(name) > 63 || len(name) < 5 || !strings.HasPrefix(name, prefix[:min(len(prefix), 58)]) {
			t.Errorf("%q from %q", name, prefix)
		}
	}
}

// What another API server stored may hold what this one would have made exact. Its object is made so once, when it is decoded: a later update
// of its status shares its spec, and must not write there.
func TestStatusUpdateLeavesTheSpecAlone(t *testing.T) {
	forEachForm(t, testStatusUpdateLeavesTheSpecAlone)
}

func testStatusUpdateLeavesTheSpecAlone(t *testing.T, f testForm) {
	b := f.start(t, Options{})
	pods := b.resource(t, "pods")
	value, exact := f.inexactPod(t)
	revision := must(b.store.Create(bg, pods.key("a", "x"), value, 0))(t)
	if err := b.WaitFor(bg, revision); err != nil {
		t.Fatal(err)
	}
	var before, old kind.Object
	change := func(_ context.Context, present kind.Object) (kind.Object, error) {
		if !exact(present) || present.GetDeletionTimestamp() != nil {
			t.Errorf("not exact: %v", present)
		}
		before, old = kind.Copy(present), present
		changed := kind.Copy(present)
		set(changed, "status.phase", "Running")
		return changed, nil
	}
	i, _, err := pods.Update(bg, "a", "x", change, UpdateOptions{Part: "status"})
	if err != nil || !exact(i.Object()) || get(i.Object(), "status.phase") != "Running" {
		t.Errorf("updated to %v, %v", i, err)
	}
	if !reflect.DeepEqual(before, old) {
		t.Error("the present object was written to")
	}
}

// inexactPod is a pod a/x as others have stored it, and what tells whether it has been made exact.
func (f testForm) inexactPod(t *testing.T) (value []byte, exact func(kind.Object) bool) {
	if f == trees {
		value := `{"kind":"Pod","apiVersion":"v1","spec":{"nodeName":"n","port":5.0,"port":80e0},"metadata":{"name":"x","namespace":"a","deletionTimestamp":null,"labels":{}}}`
		return []byte(value), func(o kind.Object) bool {
			spec := o.(*custom.Object).Members["spec"].(map[string]any)
			return spec["port"] == int64(80) && o.GetLabels() == nil
		}
	}
	p := f.pod("a", "x", "n").(*corev1.Pod)
	port := intstr.IntOrString{IntVal: 5, StrVal: "odd"}
	p.Spec.Containers = []corev1.Container{{LivenessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: port}}}}}
	p.DeletionTimestamp = &metav1.Time{}
	written := must(newLayout(f.kinds()[1], f.kinds()[1]).Encode(p))(t)
	return written.Bytes, func(o kind.Object) bool {
		return o.(*corev1.Pod).Spec.Containers[0].LivenessProbe.HTTPGet.Port.StrVal == ""
	}
}

// In JSON a text that is none is read as one that is, and stays so.
func TestStoredTextsOfTreesThatAreNone(t *testing.T) {
	b := trees.start(t, Options{})
	pods := b.resource(t, "pods")
	value := `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x","namespace":"a","labels":{"a":"` + "\xff" + `"}},"spec":{"hostname":"` + "\xff" + `"}}`
	must(b.store.Create(bg, pods.key("a", "x"), []byte(value), 0))(t)
	for n, label := range []string{"1", "2"} {
		if n > 0 {
			must(second2(pods.Update(bg, "a", "x", to(func(o kind.Object) { meta(o).Labels["b"] = label }), UpdateOptions{Trusted: true})))(t)
		}
		o := shown(t, must(pods.Get(bg, "a", "x", ""))(t))
		if o.GetLabels()["a"] != "\ufffd" || get(o, "spec.hostname") != "\ufffd" {
			t.Errorf("shown as %v", o)
		}
	}
}

// What others have stored with a text that is none is exact in all else, however it is read, and stays so when it is changed.
func TestStoredTextsThatAreNone(t *testing.T) {
	b := generated.start(t, Options{})
	pods := b.resource(t, "pods")
	o := generated.pod("a", "odd", "n").(*corev1.Pod)
	started := metav1.NewTime(time.Unix(1700000000, 5))
	o.Labels, o.Annotations, o.Status.StartTime = map[string]string{"a": "\xff"}, map[string]string{}, &started
	value, err := pods.table.Encode(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.store.Create(bg, "/registry/pods/a/odd", value.Bytes, 0); err != nil {
		t.Fatal(err)
	}
	exact := func(when string, o kind.Object) {
		t.Helper()
		if p := o.(*corev1.Pod); p.Labels["a"] != "\xff" || p.Annotations != nil || p.Status.StartTime.Nanosecond() != 0 {
			t.Errorf("%s: %v %v %v", when, p.Labels, p.Annotations, p.Status.StartTime)
		}
	}
	exact("read", must(pods.Get(bg, "a", "odd", ""))(t).Object())
	later := metav1.NewTime(time.Unix(1700000001, 7))
	item, _, err := pods.Update(bg, "a", "odd", func(_ context.Context, old kind.Object) (kind.Object, error) {
		next := kind.Copy(old).(*corev1.Pod)
		next.Annotations, next.Status.StartTime = map[string]string{}, &later
		return next, nil
	}, UpdateOptions{Trusted: true, Admit: func(_ context.Context, next, _ kind.Object) error {
		exact("admitted", next)
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	exact("changed", item.Object())
}
