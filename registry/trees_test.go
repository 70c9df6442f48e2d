package registry

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync/atomic"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/custom"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// TestOldItemsHoldNoTrees: beyond the recent changes the mirror holds the bytes of trees, and nobody who reads leaves more behind.
func TestOldItemsHoldNoTrees(t *testing.T) {
	b := trees.start(t, Options{})
	const n = 20
	for k := range n {
		must(b.resource(t, "pods").Create(bg, trees.pod("a", fmt.Sprint("p", k), "n1"), CreateOptions{}))(t)
	}
	must(second2(b.resource(t, "pods").Update(bg, "a", "p1", to(func(o kind.Object) { set(o, "spec.nodeName", "n2") }), UpdateOptions{})))(t)
	b.catchUp(t)
	table := b.resource(t, "pods").table
	table.mu.Lock()
	table.window.reset(b.Applied())
	table.mu.Unlock()
	for what, b := range map[string]*bench{"written": b, "loaded": trees.start(t, Options{Store: b.store})} {
		pods := b.resource(t, "pods")
		for _, field := range []string{"", "spec.nodeName=n1", "status.phase=Pending"} {
			w := must(pods.Watch(bg, WatchOptions{Field: fieldSelector(t, field), Label: labelSelector(t, "!x"), AllowBookmarks: true}))(t)
			defer w.Stop()
			must(w.Next(bg))(t)
			for _, i := range must(pods.List(bg, ListOptions{Field: fieldSelector(t, field), Label: labelSelector(t, "!x")}))(t).Items {
				must(i.AppendJSON(nil))(t)
				must(i.JSON())(t)
				i.Object()
			}
		}
		looked := 0
		for i := range pods.All("") {
			looked++
			if i.object.Load() != nil || i.json.Load() != nil || i.hot.Load() {
				t.Errorf("%s: the item of %s holds more than its bytes", what, i.Name())
			}
		}
		if looked != n {
			t.Errorf("%d items", looked)
		}
	}
}

// TestReadableTreesAreExact: the tree of a value that is shown as it stands needs no change, whoever wrote it; any other is made exact.
func TestReadableTreesAreExact(t *testing.T) {
	info := trees.kinds()[0]
	f := newLayout(info, info)
	const key, head = "/registry/configmaps/a/x", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x","namespace":"a"`
	random := rand.New(rand.NewPCG(11, 12))
	numbers := []string{"0", "-0", "1", "-1", "1.0", "1.5", "-2.5", "1e3", "1e21", "1e+21", "1e-7", "1e-07", "100000000000000000000", "9223372036854775807", "9223372036854775808", "12345678901234567890",
		"123456789012345678", "0.1", "-0.0", "3.0e2", "1.7976931348623157e+308"}
	others := []string{`"a"`, `"\u00fc"`, `"ü"`, `""`, "null", "[]", "{}", "true", `{"a":null}`, `[[],{}]`, `"\u2028"`, `"<"`}
	more := []string{``, `,"creationTimestamp":"2026-01-01T00:00:00Z"`, `,"creationTimestamp":"2026-01-01T00:00:00.5Z"`, `,"creationTimestamp":"2026-01-01T01:00:00+01:00"`, `,"labels":{}`,
		`,"finalizers":[]`, `,"deletionTimestamp":null`, `,"managedFields":[{"manager":"m","time":"2026-01-01T00:00:00Z","fieldsV1":{"f:a":{}}}]`, `,"managedFields":[{"fieldsV1":null}]`}
	readable, changed := 0, 0
	for range 20_000 {
		from := numbers
		if random.IntN(3) == 0 {
			from = others
		}
		value := head + more[random.IntN(len(more))] + fmt.Sprintf(`},"data":[%s,{"n":%s}]}`, from[random.IntN(len(from))], numbers[random.IntN(len(numbers))])
		i, err := f.examine(key, []byte(value), 7)
		if err != nil {
			t.Fatalf("%s: %v", value, err)
		}
		before := i.at(7).Object()
		after := kind.Copy(before)
		f.makeExact(after)
		if !reflect.DeepEqual(before, after) {
			t.Fatalf("%s\nis decoded to %#v\ninstead of     %#v", value, before, after)
		}
		if i.value.Readable() {
			readable++
		} else if plain := f.info.New(); f.Decode(&i.value, plain) == nil {
			exact := kind.Copy(plain)
			if f.makeExact(exact); !reflect.DeepEqual(plain, exact) {
				changed++
			}
		}
	}
	if readable < 2000 || changed < 2000 {
		t.Errorf("%d values are readable, and %d others had to be made exact", readable, changed)
	}
}

// TestFieldsOfTreesAreAskedOnce: selecting by fields decodes no tree, whoever selects and however often.
func TestFieldsOfTreesAreAskedOnce(t *testing.T) {
	var asked atomic.Int64
	color := func(o *custom.Object) string { asked.Add(1); return get(o, "spec.color") }
	info := kind.Define(kind.Resource{GroupVersion: schema.GroupVersion{Group: "example.com", Version: "v1"}, Kind: "Widget", Plural: "widgets", StoragePath: "widgets",
		Namespaced: true, List: kind.ListOf[custom.List]}, kind.Rules[custom.Object]{Fields: []kind.Field[custom.Object]{{Name: "spec.color", Value: color},
		{Name: "spec.indexed", Indexed: true, Value: color}}})
	writer := trees.start(t, Options{Kinds: []*kind.Kind{info}})
	reader := trees.start(t, Options{Kinds: []*kind.Kind{info}, Store: writer.store})
	widgets := []*Resource{of(t, writer), of(t, reader)}
	for range 50 {
		for _, r := range widgets {
			for _, field := range []string{"spec.color=red", "spec.color!=red", "spec.indexed=red"} {
				defer must(r.Watch(bg, WatchOptions{Field: fieldSelector(t, field)}))(t).Stop()
			}
		}
	}
	writes := func(change func(name string)) {
		t.Helper()
		asked.Store(0)
		for n := range 10 {
			change(fmt.Sprint("w", n))
		}
		writer.catchUp(t)
		reader.catchUp(t)
		for _, r := range widgets {
			for _, field := range []string{"spec.color=red", "spec.color!=red", "spec.indexed!=red"} {
				must(r.List(bg, ListOptions{Field: fieldSelector(t, field)}))(t)
			}
		}
		if n := asked.Load(); n > 2*2*10 { // two fields of each object, by the writer and by the other mirror
			t.Errorf("fields were asked for %d times", n)
		}
	}
	writes(func(name string) {
		o := trees.widget(name)
		set(o, "spec.color", "red")
		must(widgets[0].Create(bg, o, CreateOptions{}))(t)
	})
	writes(func(name string) {
		must(second2(widgets[0].Update(bg, "a", name, to(func(o kind.Object) { set(o, "spec.color", "blue") }), UpdateOptions{})))(t)
	})
	for _, r := range widgets {
		if list := must(r.List(bg, ListOptions{Field: fieldSelector(t, "spec.indexed=blue")}))(t); len(list.Items) != 10 {
			t.Errorf("%d objects are blue", len(list.Items))
		}
	}
	writes(func(name string) { free(t, widgets[0], "a", name) })
}
