package master

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"

	"github.com/wheelhouse-k8s/wheelhouse/api/custom"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

// treeKind is a kind whose objects have members that nobody knew when the program was made.
func treeKind() *kind.Kind {
	return kind.Define(kind.Resource{
		GroupVersion: schema.GroupVersion{Group: "example.com", Version: "v1"}, Kind: "Widget", Plural: "widgets", Namespaced: true,
		HasGeneration: true, RequireRevision: true, List: kind.ListOf[custom.List],
	}, kind.Rules[custom.Object]{Halves: kind.TreeHalves()})
}

func parse(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := json.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatal(err)
	}
	u.SetAPIVersion("example.com/v1")
	u.SetKind("Widget")
	return u
}

// member is a value of an object as text, "<none>" if it has none.
func member(u *unstructured.Unstructured, path ...string) string {
	v, ok, err := unstructured.NestedFieldNoCopy(u.Object, path...)
	if err != nil || !ok {
		return "<none>"
	}
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// TestTrees uses a kind of trees as the clients of custom resources do.
func TestTrees(t *testing.T) {
	ctx := t.Context()
	m, stop := startMaster(t, memory.New(), nil)
	defer stop()
	if err := m.server.api.Install(ctx, treeKind()); err != nil {
		t.Fatal(err)
	}
	all := dynamic.NewForConfigOrDie(m.RESTConfig()).Resource(schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"})
	widgets := all.Namespace("default")
	check := func(what string, u *unstructured.Unstructured, err error, want ...string) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if u.GetKind() != "Widget" || u.GetAPIVersion() != "example.com/v1" {
			t.Errorf("%s gives a %s of %s", what, u.GetKind(), u.GetAPIVersion())
		}
		for n := 0; n < len(want); n += 2 {
			if got := member(u, strings.Split(want[n], "/")...); got != want[n+1] {
				t.Errorf("%s: %s is %s instead of %s", what, want[n], got, want[n+1])
			}
		}
	}
	watcher, err := all.Watch(ctx, metav1.ListOptions{LabelSelector: "a=b"})
	if err != nil {
		t.Fatal(err)
	}
	defer watcher.Stop()
	event := func(kind watch.EventType, want ...string) {
		t.Helper()
		var e watch.Event
		select {
		case e = <-watcher.ResultChan():
		case <-time.After(time.Minute):
			t.Fatalf("no event %s %s", kind, want)
		}
		if u, ok := e.Object.(*unstructured.Unstructured); !ok || e.Type != kind {
			t.Errorf("the event %s %v", e.Type, e.Object)
		} else {
			check("the event", u, nil, want...)
		}
	}
	const text = `{"metadata":{"name":"x","labels":{"a":"b"}},"spec":{"size":3,"ratio":0.5,"list":[{"a":null}]},"status":{"ready":true}}`
	made, err := widgets.Create(ctx, parse(t, text), metav1.CreateOptions{FieldManager: "maker"})
	check("create", made, err, "spec/size", "3", "spec/ratio", "0.5", "spec/list", `[{"a":null}]`, "status", "<none>", "metadata/generation", "1")
	event(watch.Added, "spec/size", "3")
	got, err := widgets.Get(ctx, "x", metav1.GetOptions{})
	check("get", got, err, "spec/list", `[{"a":null}]`, "metadata/resourceVersion", member(made, "metadata", "resourceVersion"))

	got.Object["spec"].(map[string]any)["size"] = int64(4)
	stale := got.DeepCopy()
	got, err = widgets.Update(ctx, got, metav1.UpdateOptions{FieldManager: "changer"})
	check("update", got, err, "spec/size", "4", "metadata/generation", "2")
	event(watch.Modified, "spec/size", "4")
	if _, err := widgets.Update(ctx, stale, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("a stale update: %v", err)
	}
	if same, err := widgets.Update(ctx, got, metav1.UpdateOptions{FieldManager: "changer"}); err != nil || same.GetResourceVersion() != got.GetResourceVersion() {
		t.Errorf("an update without a change: %v", err)
	}
	got.Object["status"] = map[string]any{"ready": false}
	got.SetLabels(map[string]string{"a": "c"})
	got, err = widgets.UpdateStatus(ctx, got, metav1.UpdateOptions{})
	check("update of the status", got, err, "status/ready", "false", "metadata/labels/a", `"b"`, "metadata/generation", "2")
	event(watch.Modified, "status/ready", "false")

	got, err = widgets.Patch(ctx, "x", types.MergePatchType, []byte(`{"spec":{"ratio":null,"more":{"deep":[1]}},"status":{"ready":1}}`), metav1.PatchOptions{})
	check("merge patch", got, err, "spec/ratio", "<none>", "spec/more", `{"deep":[1]}`, "status/ready", "false", "metadata/generation", "3")
	event(watch.Modified, "spec/more", `{"deep":[1]}`)
	got, err = widgets.Patch(ctx, "x", types.JSONPatchType, []byte(`[{"op":"test","path":"/spec/size","value":4},{"op":"add","path":"/spec/more/deep/-","value":2}]`), metav1.PatchOptions{})
	check("JSON patch", got, err, "spec/more", `{"deep":[1,2]}`)
	event(watch.Modified, "spec/more", `{"deep":[1,2]}`)
	if _, err := widgets.Patch(ctx, "x", types.StrategicMergePatchType, []byte(`{}`), metav1.PatchOptions{}); !apierrors.IsUnsupportedMediaType(err) {
		t.Errorf("a strategic merge patch: %v", err)
	}
	for text, want := range map[string]string{`{"metadata":{"name":1}}`: "", `{"metadata":{"name":"y"}}`: "does not match", `{"kind":"Other"}`: "Other"} {
		if _, err := widgets.Patch(ctx, "x", types.MergePatchType, []byte(text), metav1.PatchOptions{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	treesApplied(ctx, t, all, event)

	list, err := all.List(ctx, metav1.ListOptions{LabelSelector: "a=b"})
	if err != nil || list.GetKind() != "WidgetList" || len(list.Items) != 1 {
		t.Fatalf("list: %v, %v", list, err)
	}
	check("an element of the list", &list.Items[0], nil, "spec/size", "4")
	treesOtherwise(ctx, t, m)
	if err := widgets.Delete(ctx, "x", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	event(watch.Deleted, "spec/size", "4")
	if err := widgets.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	if list, err := all.List(ctx, metav1.ListOptions{}); err != nil || len(list.Items) != 0 {
		t.Errorf("after all was deleted: %v, %v", list, err)
	}
}

// treesApplied is server-side apply.
func treesApplied(ctx context.Context, t *testing.T, all dynamic.NamespaceableResourceInterface, event func(watch.EventType, ...string)) {
	t.Helper()
	widgets := all.Namespace("default")
	apply := func(manager, text string, force bool) (*unstructured.Unstructured, error) {
		u := parse(t, text)
		return widgets.Apply(ctx, u.GetName(), u, metav1.ApplyOptions{FieldManager: manager, Force: force})
	}
	made, err := apply("a", `{"metadata":{"name":"new"},"spec":{"x":1,"list":[1],"map":{"k":"v"}}}`, false)
	if err != nil || member(made, "metadata", "generation") != "1" {
		t.Fatalf("apply makes %v, %v", made, err)
	}
	if _, err := apply("b", `{"metadata":{"name":"new"},"spec":{"x":2,"list":[2]}}`, false); !apierrors.IsConflict(err) || !strings.Contains(err.Error(), ".spec.x") || !strings.Contains(err.Error(), ".spec.list") {
		t.Errorf("a conflict: %v", err)
	}
	got, err := apply("b", `{"metadata":{"name":"new"},"spec":{"x":2,"list":[2,3]}}`, true)
	if err != nil || member(got, "spec") != `{"list":[2,3],"map":{"k":"v"},"x":2}` {
		t.Errorf("by force: %v, %v", member(got, "spec"), err)
	}
	got, err = apply("a", `{"metadata":{"name":"new"},"spec":{}}`, false)
	if err != nil || member(got, "spec") != `{"list":[2,3],"x":2}` {
		t.Errorf("what its only manager leaves out: %v, %v", member(got, "spec"), err)
	}
	again, err := apply("a", `{"metadata":{"name":"new"},"spec":{}}`, false)
	if err != nil || again.GetResourceVersion() != got.GetResourceVersion() {
		t.Errorf("the same again: %v", err)
	}
	var managers []string
	for _, entry := range got.GetManagedFields() {
		managers = append(managers, entry.Manager+" "+string(entry.Operation))
	}
	slices.Sort(managers) // they are in the order of their seconds
	if len(managers) != 2 || managers[0] != "a Apply" || managers[1] != "b Apply" {
		t.Errorf("the managers are %v", managers)
	}
	if _, err := apply("b", `{"metadata":{"name":"x","labels":{"a":"b"}},"spec":{"size":4}}`, false); err != nil { // as others have it
		t.Errorf("what nobody has to give up: %v", err)
	}
	event(watch.Modified, "spec/size", "4") // it has a manager more
}

// treesOtherwise asks for other forms of trees, and through the client of this repository.
func treesOtherwise(ctx context.Context, t *testing.T, m *Master) {
	t.Helper()
	raw := kubernetes.NewForConfigOrDie(m.RESTConfig()).RESTClient()
	const path = "/apis/example.com/v1/namespaces/default/widgets"
	for accept, want := range map[string]string{
		"application/vnd.kubernetes.protobuf":                                                               "NotAcceptable",
		"application/vnd.kubernetes.protobuf,application/json":                                              `"kind":"WidgetList"`,
		"application/yaml":                                                                                  "kind: WidgetList",
		"application/json;as=Table;v=v1;g=meta.k8s.io":                                                      `"cells":["x",`,
		"application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io":                                  `"kind":"PartialObjectMetadataList"`,
		"application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io":                                   "NotAcceptable",
		"application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io;q=0.9,*/*;q=0": "PartialObjectMetadataList",
	} {
		b, err := raw.Get().AbsPath(path).SetHeader("Accept", accept).DoRaw(ctx)
		var status *apierrors.StatusError
		if errors.As(err, &status) {
			b = []byte(status.ErrStatus.Reason)
		} else if err != nil {
			t.Errorf("%s: %v", accept, err)
		}
		if !strings.Contains(string(b), want) {
			t.Errorf("%s gives %s", accept, b)
		}
	}
	if err := raw.Post().AbsPath(path).SetHeader("Content-Type", "application/vnd.kubernetes.protobuf").Body([]byte("k8s\x00")).Do(ctx).Error(); !apierrors.IsUnsupportedMediaType(err) {
		t.Errorf("protobuf: %v", err)
	}
	for directive, want := range map[string]int{"Strict": 400, "Warn": 201, "Ignore": 201} {
		var code int
		raw.Post().AbsPath(path).Param("fieldValidation", directive).Param("dryRun", "All").SetHeader("Content-Type", "application/json").
			Body([]byte(`{"metadata":{"name":"odd","color":"red"},"spec":{"a":1,"a":2}}`)).Do(ctx).StatusCode(&code)
		if code != want {
			t.Errorf("%s: %d", directive, code)
		}
	}
	metas := metadata.NewForConfigOrDie(m.RESTConfig()).Resource(schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"})
	if list, err := metas.List(ctx, metav1.ListOptions{}); err != nil || len(list.Items) != 2 || list.Items[1].Labels["a"] != "b" {
		t.Errorf("metadata alone: %v, %v", list, err)
	}
	treesByClient(ctx, t, m)
}

func treesByClient(ctx context.Context, t *testing.T, m *Master) {
	t.Helper()
	transport, err := client.HTTP(ctx, m.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	k := treeKind()
	view := transport.View(k)
	<-view.Synced()
	if o, ok := view.Get("default", "x"); !ok || o.(*custom.Object).Members["spec"].(map[string]any)["size"] != int64(4) {
		t.Errorf("the view shows %v", o)
	}
	made, err := transport.Do(ctx, client.Request{Verb: kind.Create, Kind: k, Namespace: "default", Object: &custom.Object{
		ObjectMeta: metav1.ObjectMeta{Name: "by-client"}, Members: map[string]any{"spec": int64(1)}}})
	if err != nil || made.(*custom.Object).UID == "" || made.(*custom.Object).Kind != "" {
		t.Fatalf("made %v, %v", made, err)
	}
	until(t, "the view shows what was made", func() bool { _, ok := view.Get("default", "by-client"); return ok })
	got, err := transport.Do(ctx, client.Request{Verb: kind.Patch, Kind: k, Namespace: "default", Name: "by-client", PatchType: types.MergePatchType, Patch: []byte(`{"spec":2}`)})
	if err != nil || got.(*custom.Object).Members["spec"] != int64(2) {
		t.Errorf("patched %v, %v", got, err)
	}
	if _, err := transport.Do(ctx, client.Request{Verb: kind.Get, Kind: k, Namespace: "default", Name: "nobody"}); !apierrors.IsNotFound(err) {
		t.Errorf("nobody: %v", err)
	}
	if _, err := transport.Do(ctx, client.Request{Verb: kind.Delete, Kind: k, Namespace: "default", Name: "by-client"}); err != nil {
		t.Errorf("deleted: %v", err)
	}
	list, err := transport.Do(ctx, client.Request{Verb: kind.List, Kind: k, Namespace: "default"})
	if err != nil || len(list.(*custom.List).Items) != 2 || list.(*custom.List).Items[0].Kind != "" {
		t.Errorf("listed %v, %v", list, err)
	}
}
