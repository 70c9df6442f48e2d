package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/wheelhouse-k8s/wheelhouse/api/custom"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

// read takes n events of a watch and tells them in one line.
func read(t *testing.T, w *Watcher, n int) string {
	t.Helper()
	var all []string
	for len(all) < n {
		events, err := w.Next(bg)
		if err != nil {
			all = append(all, answer(err))
			break
		}
		for _, e := range events {
			all = append(all, tell(t, e))
		}
	}
	return strings.Join(all, " ")
}

func tell(t *testing.T, e Event) string {
	t.Helper()
	if e.Type == watch.Bookmark {
		if e.InitialEnd {
			return "END"
		}
		return "BOOKMARK"
	}
	if e.Item.Revision() != e.Revision || e.Item.Object().GetResourceVersion() != fmt.Sprint(e.Revision) {
		t.Errorf("event at %d has an item at %d, object at %s", e.Revision, e.Item.Revision(), e.Item.Object().GetResourceVersion())
	}
	return string(e.Type[0]) + ":" + e.Item.Name()
}

// quiet makes sure that a watch has nothing more to say than a bookmark.
func quiet(t *testing.T, b *bench, w *Watcher) {
	t.Helper()
	b.catchUp(t)
	for w.catchingUp() {
		runtime.Gosched()
	}
	if events, err := w.Take(); len(events) > 0 || err != nil {
		t.Errorf("more events: %v %v", events, err)
	}
	if e, ok := w.Bookmark(); !ok || e.Revision != b.Applied() || e.Type != watch.Bookmark {
		t.Errorf("bookmark %+v %v instead of %d", e, ok, b.Applied())
	}
}

func (w *Watcher) catchingUp() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.catching && w.err == nil
}

func TestWatchForms(t *testing.T) { forEachForm(t, testWatchForms) }

func testWatchForms(t *testing.T, f testForm) {
	yes, no := true, false
	least := metav1.ResourceVersionMatchNotOlderThan
	at := []string{"2", "3", "4", "5"} // resourceVersion after each creation
	for _, c := range []struct {
		name string
		o    WatchOptions
		want string
	}{
		{"from now, the old way", WatchOptions{}, "A:x0 A:x1 A:x2 A:x3"},
		{"with bookmarks", WatchOptions{AllowBookmarks: true}, "A:x0 A:x1 A:x2 A:x3 END"},
		{"from 0", WatchOptions{ResourceVersion: "0"}, "A:x0 A:x1 A:x2 A:x3"},
		{"from 0 with bookmarks", WatchOptions{ResourceVersion: "0", AllowBookmarks: true}, "A:x0 A:x1 A:x2 A:x3 END"},
		{"from a revision", WatchOptions{ResourceVersion: at[1]}, "A:x2 A:x3"},
		{"from the last revision", WatchOptions{ResourceVersion: at[3]}, ""},
		{"initial events", WatchOptions{SendInitialEvents: &yes, ResourceVersionMatch: least, AllowBookmarks: true}, "A:x0 A:x1 A:x2 A:x3 END"},
		{"initial events at least at a revision", WatchOptions{SendInitialEvents: &yes, ResourceVersionMatch: least, ResourceVersion: at[2], AllowBookmarks: true}, "A:x0 A:x1 A:x2 A:x3 END"},
		{"initial events without bookmarks", WatchOptions{SendInitialEvents: &yes, ResourceVersionMatch: least}, "A:x0 A:x1 A:x2 A:x3"},
		{"no initial events", WatchOptions{SendInitialEvents: &no, ResourceVersionMatch: least}, ""},
		{"no initial events, any revision", WatchOptions{SendInitialEvents: &no, ResourceVersionMatch: least, ResourceVersion: "0"}, ""},
		{"no initial events, a revision", WatchOptions{SendInitialEvents: &no, ResourceVersionMatch: least, ResourceVersion: at[2]}, "A:x3"},
		{"no match", WatchOptions{SendInitialEvents: &yes}, "422 Invalid resourceVersionMatch"},
		{"exact", WatchOptions{ResourceVersion: "3", ResourceVersionMatch: metav1.ResourceVersionMatchExact}, "422 Invalid resourceVersionMatch resourceVersionMatch"},
		{"noise", WatchOptions{ResourceVersion: "abc"}, "500"},
		{"empty namespace", WatchOptions{Namespace: "b", AllowBookmarks: true}, "END"},
		{"one name", WatchOptions{Namespace: "a", Field: fieldSelector(t, "metadata.name=x2"), AllowBookmarks: true}, "A:x2 END"},
	} {
		b := f.start(t, Options{})
		maps := b.resource(t, "configmaps")
		for n := range 4 {
			i := must(maps.Create(bg, f.configMap("a", fmt.Sprintf("x%d", n), nil), CreateOptions{}))(t)
			if v := i.Object().GetResourceVersion(); v != at[n] {
				t.Fatalf("object %d is at %s", n, v)
			}
		}
		b.catchUp(t)
		w, err := maps.Watch(bg, c.o)
		if err != nil {
			expect(t, err, c.want)
			continue
		}
		if got := read(t, w, len(strings.Fields(c.want))); got != c.want {
			t.Errorf("%s: %s instead of %s", c.name, got, c.want)
		}
		quiet(t, b, w)
		if c.o.Namespace == "" {
			must(maps.Create(bg, f.configMap("a", "z", nil), CreateOptions{}))(t)
			free(t, maps, "a", "z")
			if got := read(t, w, 2); got != "A:z D:z" {
				t.Errorf("%s, then: %s", c.name, got)
			}
		}
		w.Stop()
		if _, err := w.Next(bg); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: stopped watch says %v", c.name, err)
		}
		if n := b.Stats().Resources[0].Watchers; n != 0 {
			t.Errorf("%s: %d watchers are left", c.name, n)
		}
	}
}

// A future revision is not an error: what happens up to it is not told.
func TestWatchFromTheFuture(t *testing.T) { forEachForm(t, testWatchFromTheFuture) }

func testWatchFromTheFuture(t *testing.T, f testForm) {
	b := f.start(t, Options{})
	maps := b.resource(t, "configmaps")
	i := must(maps.Create(bg, f.configMap("a", "x", nil), CreateOptions{}))(t)
	w := must(maps.Watch(bg, WatchOptions{ResourceVersion: fmt.Sprint(i.Revision() + 2)}))(t)
	defer w.Stop()
	for n := range 4 {
		must(maps.Create(bg, f.configMap("a", fmt.Sprintf("y%d", n), nil), CreateOptions{}))(t)
	}
	if got := read(t, w, 2); got != "A:y2 A:y3" {
		t.Error(got)
	}
}

// Objects that enter or leave a selector are added or deleted, wherever the watcher is entered.
func TestTransitions(t *testing.T) { forEachForm(t, testTransitions) }

func testTransitions(t *testing.T, f testForm) {
	b := f.start(t, Options{})
	pods := b.resource(t, "pods")
	type step struct{ ns, name, node, app string }
	steps := []step{
		{"a", "p", "", "x"}, {"a", "p", "n1", "x"}, {"a", "p", "n1", "y"}, {"a", "p", "n2", "x"}, {"a", "p", "n2", ""}, {"b", "p", "n1", "x"}, {"a", "q", "n1", "x"}, {"a", "p", "gone", ""},
	}
	watches := []struct{ ns, label, field, want string }{
		{"", "", "", "A:p M:p M:p M:p M:p A:p A:q D:p"},
		{"a", "", "", "A:p M:p M:p M:p M:p A:q D:p"},
		{"b", "", "", "A:p"},
		{"", "app=x", "", "A:p M:p D:p A:p D:p A:p A:q"},
		{"a", "app=x", "", "A:p M:p D:p A:p D:p A:q"},
		{"", "", "spec.nodeName=n1", "A:p M:p D:p A:p A:q"},
		{"", "", "spec.nodeName=n2", "A:p M:p D:p"},
		{"", "", "spec.nodeName=", "A:p D:p"},
		{"a", "app=x", "spec.nodeName=n1", "A:p D:p A:q"},
		{"", "", "spec.nodeName!=n1", "A:p D:p A:p M:p D:p"},
		{"", "", "metadata.name=q", "A:q"},
		{"a", "", "metadata.name=p", "A:p M:p M:p M:p M:p D:p"},
		{"", "", "metadata.namespace=b", "A:p"},
		{"a", "app=y", "metadata.name=p", "A:p D:p"},
		{"", "", "status.phase=Pending", "A:p M:p M:p M:p M:p A:p A:q D:p"},
		{"", "", "status.phase=Running", ""},
	}
	begin := fmt.Sprint(must(b.Fresh(bg))(t))
	var live []*Watcher
	for _, w := range watches {
		live = append(live, must(pods.Watch(bg, WatchOptions{Namespace: w.ns, Label: labelSelector(t, w.label), Field: fieldSelector(t, w.field), ResourceVersion: begin}))(t))
	}
	for _, s := range steps {
		if s.node == "gone" {
			zero := int64(0)
			if _, _, err := pods.Delete(bg, s.ns, s.name, DeleteOptions{DeleteOptions: metav1.DeleteOptions{GracePeriodSeconds: &zero}}); err != nil {
				t.Fatal(err)
			}
			continue
		}
		change := func(p kind.Object) {
			set(p, "spec.nodeName", s.node)
			p.SetLabels(map[string]string{"app": s.app})
		}
		if _, _, err := pods.Update(bg, s.ns, s.name, to(change), UpdateOptions{}); answer(err) == "404 NotFound" {
			p := f.pod(s.ns, s.name, "")
			change(p)
			must(pods.Create(bg, p, CreateOptions{}))(t)
		} else if err != nil {
			t.Fatal(err)
		}
	}
	b.catchUp(t)
	check := func(how string, all []*Watcher) {
		t.Helper()
		for n, c := range watches {
			if got := read(t, all[n], len(strings.Fields(c.want))); got != c.want {
				t.Errorf("%s %+v: %s", how, c, got)
			}
			quiet(t, b, all[n])
			all[n].Stop()
		}
	}
	check("live", live)
	again := func() (all []*Watcher) {
		for _, w := range watches {
			all = append(all, must(pods.Watch(bg, WatchOptions{Namespace: w.ns, Label: labelSelector(t, w.label), Field: fieldSelector(t, w.field), ResourceVersion: begin}))(t))
		}
		return all
	}
	check("window", again())
	pods.table.mu.Lock()
	pods.table.window.reset(b.Applied())
	pods.table.mu.Unlock()
	check("history", again())
}

// A deleted object is shown as it was last, at the revision of its deletion.
func TestDeletedCarriesLastState(t *testing.T) { forEachForm(t, testDeletedCarriesLastState) }

func testDeletedCarriesLastState(t *testing.T, f testForm) {
	b := f.start(t, Options{})
	maps := b.resource(t, "configmaps")
	first := must(maps.Create(bg, f.configMap("a", "x", map[string]string{"app": "x"}), CreateOptions{}))(t)
	w := must(maps.Watch(bg, WatchOptions{ResourceVersion: first.Object().GetResourceVersion(), Label: labelSelector(t, "app=x")}))(t)
	defer w.Stop()
	i, _, err := maps.Update(bg, "a", "x", to(func(c kind.Object) { c.SetLabels(nil) }), UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	events := must(w.Next(bg))(t)
	if e := events[0]; e.Type != watch.Deleted || e.Revision != i.Revision() || e.Item.Object().GetLabels()["app"] != "x" {
		t.Errorf("%+v %v", e, e.Item.Object())
	}
	if sent := shown(t, events[0].Item); sent.GetLabels()["app"] != "x" || sent.GetResourceVersion() != i.Object().GetResourceVersion() {
		t.Errorf("%+v", sent)
	}
}

func TestSlowWatcher(t *testing.T) { forEachForm(t, testSlowWatcher) }

func testSlowWatcher(t *testing.T, f testForm) {
	b := f.start(t, Options{})
	maps := b.resource(t, "configmaps")
	must(maps.Create(bg, f.configMap("a", "x", nil), CreateOptions{}))(t)
	b.catchUp(t)
	w := must(maps.Watch(bg, WatchOptions{ResourceVersion: fmt.Sprint(b.Applied())}))(t)
	c := &change{old: maps.Peek("a", "x"), new: maps.Peek("a", "x"), revision: b.Applied() + 1}
	for range watchQueue + 1 {
		w.offer(c)
	}
	_, err := w.Next(bg)
	expect(t, err, "410 Expired")
	if w.queue != nil {
		t.Error("a watch that has ended keeps its queue")
	}
	w.offer(c)
	w.Stop()
	w.Stop()
}

func TestExpiredWatch(t *testing.T) { forEachForm(t, testExpiredWatch) }

func testExpiredWatch(t *testing.T, f testForm) {
	b := f.start(t, Options{})
	maps := b.resource(t, "configmaps")
	first := must(maps.Create(bg, f.configMap("a", "x", nil), CreateOptions{}))(t)
	for n := range 3 {
		must(maps.Create(bg, f.configMap("a", fmt.Sprintf("y%d", n), nil), CreateOptions{}))(t)
	}
	b.catchUp(t)
	maps.table.mu.Lock()
	maps.table.window.reset(b.Applied())
	maps.table.mu.Unlock()
	if err := b.store.Compact(bg, b.Applied()); err != nil {
		t.Fatal(err)
	}
	w := must(maps.Watch(bg, WatchOptions{ResourceVersion: first.Object().GetResourceVersion()}))(t)
	defer w.Stop()
	_, err := w.Next(bg)
	expect(t, err, "410 Expired")
}

// The window forgets by number; what it has forgotten comes from the store.
func TestWindow(t *testing.T) { forEachForm(t, testWindow) }

func testWindow(t *testing.T, f testForm) {
	b := f.start(t, Options{})
	maps := b.resource(t, "configmaps")
	i := must(maps.Create(bg, f.configMap("a", "x", nil), CreateOptions{}))(t)
	begin := i.Object().GetResourceVersion()
	for n := range windowMin * 3 {
		b.clock.add(windowAge / 10)
		_, _, err := maps.Update(bg, "a", "x", to(func(c kind.Object) { setData(c, map[string]string{"n": fmt.Sprint(n)}) }), UpdateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		b.catchUp(t)
	}
	maps.table.mu.RLock()
	count, floor := maps.table.window.count, maps.table.window.floor
	maps.table.mu.RUnlock()
	if count < windowMin || count > windowMin+20 || floor <= i.Revision() {
		t.Errorf("%d changes after %d", count, floor)
	}
	w := must(maps.Watch(bg, WatchOptions{ResourceVersion: begin}))(t)
	defer w.Stop()
	for n := 0; n < windowMin*3; {
		for _, e := range must(w.Next(bg))(t) {
			if got := dataOf(e.Item.Object())["n"]; got != fmt.Sprint(n) || e.Type != watch.Modified {
				t.Fatalf("event %d is %s %s", n, e.Type, got)
			}
			n++
		}
	}
	quiet(t, b, w)
}

func TestManyInitialEvents(t *testing.T) { forEachForm(t, testManyInitialEvents) }

func testManyInitialEvents(t *testing.T, f testForm) {
	b := f.start(t, Options{})
	maps := b.resource(t, "configmaps")
	const n = initialChunk*2 + 7
	for k := range n {
		must(maps.Create(bg, f.configMap("a", fmt.Sprintf("x%04d", k), nil), CreateOptions{}))(t)
	}
	b.catchUp(t)
	w := must(maps.Watch(bg, WatchOptions{AllowBookmarks: true}))(t)
	defer w.Stop()
	if _, ok := w.Bookmark(); ok {
		t.Error("a bookmark before the initial events")
	}
	must(maps.Create(bg, f.configMap("a", "later", nil), CreateOptions{}))(t)
	got := strings.Fields(read(t, w, n+2))
	if len(got) != n+2 || got[n] != "END" || got[n+1] != "A:later" || got[n-1] != fmt.Sprintf("A:x%04d", n-1) {
		t.Errorf("%d events, last %v", len(got), got[len(got)-3:])
	}
}

// Whatever a watcher sees, put together, is at each revision what a list at that revision shows.
func TestWatchersAgreeWithLists(t *testing.T) { forEachForm(t, testWatchersAgreeWithLists) }

func testWatchersAgreeWithLists(t *testing.T, f testForm) {
	s := &flaky{Store: memory.New()}
	t.Cleanup(func() { s.Close() })
	b := f.start(t, Options{Store: s, Log: slog.New(slog.DiscardHandler)})
	pods := b.resource(t, "pods")
	random := rand.New(rand.NewPCG(1, 2))
	var stop sync.WaitGroup
	for w := range 4 {
		source := rand.New(rand.NewPCG(3, uint64(w)))
		stop.Go(func() {
			for range 150 {
				scribble(t, f, pods, source)
			}
		})
	}
	type observer struct {
		o  WatchOptions
		w  *Watcher
		at map[string]int64 // object to revision
	}
	var observers []*observer
	for _, c := range []struct{ ns, label, field string }{{}, {ns: "a"}, {label: "app=x"}, {field: "spec.nodeName=n1"}, {ns: "b", label: "app!=x"}, {ns: "a", field: "metadata.name=p1"}} {
		for range 2 {
			o := &observer{at: map[string]int64{}, o: WatchOptions{Namespace: c.ns, Label: labelSelector(t, c.label), Field: fieldSelector(t, c.field), AllowBookmarks: true}}
			o.w = must(pods.Watch(bg, o.o))(t)
			observers = append(observers, o)
		}
	}
	compare := func(o *observer, revision int64) {
		t.Helper()
		list := must(pods.List(bg, ListOptions{Namespace: o.o.Namespace, Label: o.o.Label, Field: o.o.Field,
			ResourceVersion: fmt.Sprint(revision), ResourceVersionMatch: metav1.ResourceVersionMatchExact}))(t)
		want := map[string]int64{}
		for _, i := range list.Items {
			want[i.key] = i.revision
		}
		if fmt.Sprint(want) != fmt.Sprint(o.at) {
			t.Fatalf("%+v at %d:\nwatched %v\nlisted  %v", o.o, revision, o.at, want)
		}
	}
	step := func(o *observer) {
		events, err := o.w.Take()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			switch e.Type {
			case watch.Added:
				if _, ok := o.at[e.Item.key]; ok {
					t.Fatalf("%s is added twice", e.Item.key)
				}
				o.at[e.Item.key] = e.Revision
			case watch.Modified:
				if _, ok := o.at[e.Item.key]; !ok {
					t.Fatalf("%s is modified before it is added", e.Item.key)
				}
				o.at[e.Item.key] = e.Revision
			case watch.Deleted:
				if _, ok := o.at[e.Item.key]; !ok {
					t.Fatalf("%s is deleted before it is added", e.Item.key)
				}
				delete(o.at, e.Item.key)
			}
		}
		if e, ok := o.w.Bookmark(); ok && len(events) > 0 {
			// Everything up to the bookmark has been seen only if nothing is queued: then states must agree.
			if o.w.drained() {
				compare(o, e.Revision)
			}
			if random.IntN(20) == 0 { // go away and come back
				o.w.Stop()
				o.w = must(pods.Watch(bg, WatchOptions{Namespace: o.o.Namespace, Label: o.o.Label, Field: o.o.Field, ResourceVersion: fmt.Sprint(e.Revision)}))(t)
			}
		}
	}
	running := make(chan struct{})
	go func() { stop.Wait(); close(running) }()
	for busy, n := true, 0; busy; n++ {
		select {
		case <-running:
			busy = false
		default:
		}
		if n%500 == 100 {
			s.breakWatches(store.ErrUnavailable)
		}
		step(observers[random.IntN(len(observers))])
	}
	b.catchUp(t)
	for _, o := range observers {
		for !o.w.drained() {
			step(o)
		}
		compare(o, b.Applied())
		o.w.Stop()
	}
}

// drained tells that nothing waits for the reader.
func (w *Watcher) drained() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.queue) == 0 && !w.catching && w.initial == nil
}

func scribble(t *testing.T, f testForm, pods *Resource, random *rand.Rand) {
	ns, name := []string{"a", "b"}[random.IntN(2)], fmt.Sprintf("p%d", random.IntN(4))
	node, app := []string{"", "n1", "n2"}[random.IntN(3)], []string{"x", "y"}[random.IntN(2)]
	change := func(p kind.Object) { set(p, "spec.nodeName", node); p.SetLabels(map[string]string{"app": app}) }
	var err error
	switch random.IntN(4) {
	case 0:
		p := f.pod(ns, name, "")
		change(p)
		_, err = pods.Create(bg, p, CreateOptions{})
	case 1:
		zero := int64(0)
		_, _, err = pods.Delete(bg, ns, name, DeleteOptions{DeleteOptions: metav1.DeleteOptions{GracePeriodSeconds: &zero}})
	default:
		_, _, err = pods.Update(bg, ns, name, to(change), UpdateOptions{})
	}
	if got := answer(err); got != "ok" && got != "404 NotFound" && got != "409 AlreadyExists" {
		t.Error(err)
	}
}

func TestConvertedKind(t *testing.T) { forEachForm(t, testConvertedKind) }

func testConvertedKind(t *testing.T, f testForm) {
	// The second shape has another name for what the first calls data.k.
	stored, second := f.kinds()[0], f.settings()
	b := f.start(t, Options{Kinds: []*kind.Kind{second, stored}})
	maps := b.resource(t, "configmaps")
	settings, ok := b.ResourceFor(second)
	if !ok {
		t.Fatal("no resource")
	}
	w := must(settings.Watch(bg, WatchOptions{AllowBookmarks: true, Field: fieldSelector(t, "data.value=v")}))(t)
	defer w.Stop()
	created := must(settings.Create(bg, withData(f.secret("a", "x"), "value", "v"), CreateOptions{}))(t)
	if o := created.Object(); o.GetUID() == "" || dataOf(o)["value"] != "v" || o.GetResourceVersion() != fmt.Sprint(created.Revision()) {
		t.Errorf("created %#v", o)
	}
	if o := must(maps.Get(bg, "a", "x", ""))(t).Object(); dataOf(o)["k"] != "v" {
		t.Errorf("stored %#v", o)
	}
	if _, _, err := settings.Update(bg, "a", "x", to(func(s kind.Object) { withData(s, "value", "w") }), UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, w, 3); got != "END A:x D:x" {
		t.Error(got)
	}
	list := must(settings.List(bg, ListOptions{Field: fieldSelector(t, "data.value=w")}))(t)
	if len(list.Items) != 1 {
		t.Fatalf("%d listed", len(list.Items))
	}
	if o := shown(t, list.Items[0]); dataOf(o)["value"] != "w" || o.GetResourceVersion() == "" || list.Items[0].Size() < len(o.GetUID()) {
		t.Errorf("shown %#v, of %d bytes", o, list.Items[0].Size())
	}
	if i, removed, err := settings.Delete(bg, "a", "x", DeleteOptions{}); err != nil || !removed || dataOf(i.Object())["value"] != "w" {
		t.Errorf("%v %v", removed, err)
	}
	if _, err := New(Options{Kinds: []*kind.Kind{second}, Store: b.store}); err == nil {
		t.Error("a kind without its stored kind is accepted")
	}
	if _, err := New(Options{Kinds: []*kind.Kind{stored, stored}, Store: b.store}); err == nil {
		t.Error("two kinds below one prefix are accepted")
	}
}

// settings are a second shape of config maps.
func (f testForm) settings() *kind.Kind {
	convert := func(to func(namespace, name string) kind.Object, key, from string) func(kind.Object) (kind.Object, error) {
		return func(o kind.Object) (kind.Object, error) {
			other := to(o.GetNamespace(), o.GetName())
			meta(o).DeepCopyInto(meta(other))
			return withData(other, key, dataOf(o)[from]), nil
		}
	}
	configMap := func(namespace, name string) kind.Object { return f.configMap(namespace, name, nil) }
	via := &kind.Conversion{Stored: schema.GroupResource{Resource: "configmaps"}, StoredVersion: "v1",
		ToStored: convert(configMap, "k", "value"), FromStored: convert(f.secret, "value", "k")}
	if f == trees {
		return settings[custom.Object](via)
	}
	return settings[corev1.Secret](via)
}

func settings[E any, P objectOf[E]](via *kind.Conversion) *kind.Kind {
	return kind.Define[E, P](kind.Resource{
		GroupVersion: schema.GroupVersion{Group: "other", Version: "v1"}, Kind: "Setting", Plural: "settings", Namespaced: true, Via: via,
	}, kind.Rules[E]{Fields: []kind.Field[E]{{Name: "data.value", Value: func(o *E) string { return dataOf(P(o))["value"] }}}})
}
