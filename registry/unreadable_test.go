package registry

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/codec/stored"
)

// corruptions are what a disk, a hand or a newer program may leave under the key of ConfigMap a/x.
func (f testForm) corruptions(t *testing.T) map[string]string {
	info := f.kinds()[0]
	s := newLayout(info, info)
	encoded := func(o kind.Object) string {
		i, err := s.write("/registry/configmaps/a/x", o)
		if err != nil {
			t.Fatal(err)
		}
		return string(i.value.Bytes)
	}
	good := encoded(f.plainMap("a", "x"))
	damage := map[string]string{
		"empty":                      "",
		"noise":                      "noise",
		"a prefix and noise":         "k8s\x00garbage",
		"truncated":                  good[:len(good)-12],
		"another object":             encoded(f.plainMap("a", "y")),
		"another namespace":          encoded(f.plainMap("b", "x")),
		"nameless":                   encoded(f.plainMap("", "")),
		"JSON noise":                 "{",
		"JSON of another kind":       `{"apiVersion":"v1","kind":"Secret","metadata":{"namespace":"a","name":"x"}}`,
		"JSON of another object":     `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"namespace":"a","name":"y"}}`,
		"JSON without a name":        `{"apiVersion":"v1","kind":"ConfigMap"}`,
		"JSON of an unknown version": `{"apiVersion":"v9","kind":"ConfigMap","metadata":{"namespace":"a","name":"x"}}`,
	}
	change := func(what, from, to string) { damage[what] = strings.Replace(good, from, to, 1) }
	if f == trees {
		change("a broken body", `"k":"v"`, `"k":v`)
		change("another kind", `"ConfigMap"`, `"Configmop"`)
		change("an unknown version", `"v1"`, `"v9"`)
		change("a name of numbers", `"name":"x"`, `"name":7`)
		change("a second name", `"name":"x"`, `"name":"x","name":"y"`)
		change("labels of numbers", `"uid":"u"`, `"uid":"u","labels":{"a":1}`)
		damage["protobuf"] = string(must(stored.Of(generated.kinds()[0], generated.kinds()[0]).Encode(generated.plainMap("a", "x")))(t).Bytes)
	} else {
		change("a broken body", "\n\x01k\x12\x01v", "\n\x01k\x12\x7fv")
		change("another kind", "ConfigMap", "Configmop")
		change("an unknown version", "\x02v1", "\x02v9")
		damage["JSON of another type"] = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"namespace":"a","name":"x"},"data":7}`
	}
	return damage
}

func (f testForm) plainMap(namespace, name string) kind.Object {
	o := f.configMap(namespace, name, nil)
	o.SetUID("u")
	setData(o, map[string]string{"k": "v"})
	return o
}

// putRaw stores bytes under a key past the registry, and waits until the mirror has seen them.
func (l *locked) putRaw(key string, value []byte) {
	l.t.Helper()
	e, _, err := l.vault.Store.Get(l.t.Context(), key, 0)
	var revision int64
	if err == nil {
		revision, err = l.vault.Store.Update(l.t.Context(), key, e.Revision, value, 0)
	} else {
		revision, err = l.vault.Store.Create(l.t.Context(), key, value, 0)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	if err := l.reg.WaitFor(l.t.Context(), revision); err != nil {
		l.t.Fatal(err)
	}
}

const damaged = "/registry/configmaps/a/x"

// TestUnreadable: whatever form the damage has, at a start and while the mirror runs, the object is neither shown nor absent.
func TestUnreadable(t *testing.T) { forEachForm(t, testUnreadable) }

func testUnreadable(t *testing.T, f testForm) {
	for name, value := range f.corruptions(t) {
		for _, live := range []bool{false, true} {
			t.Run(name+map[bool]string{false: " at the start", true: " meanwhile"}[live], func(t *testing.T) { testDamage(t, f, []byte(value), live) })
		}
	}
}

func testDamage(t *testing.T, f testForm, value []byte, live bool) {
	l := newLocked(t, f)
	l.start()
	maps, _ := l.reg.Resource(schema.GroupResource{Resource: "configmaps"})
	for _, o := range []kind.Object{f.plainMap("a", "x"), f.plainMap("a", "z"), f.plainMap("b", "z")} {
		o.SetUID("")
		must(maps.Create(t.Context(), o, CreateOptions{}))(t)
	}
	now := must(l.reg.Fresh(t.Context()))(t)
	seen := watchLoops(t, maps)
	w := must(maps.Watch(t.Context(), WatchOptions{Namespace: "a", ResourceVersion: strconv.FormatInt(now, 10)}))(t)
	l.putRaw(damaged, value)
	if live {
		<-w.Ready()
		events, err := w.Take()
		if len(events) > 0 || !apierrors.IsStoreReadError(err) || !strings.Contains(err.Error(), "configmaps") {
			t.Errorf("the watch: %v, %v", events, err)
		}
	} else {
		l.start()
		maps, _ = l.reg.Resource(schema.GroupResource{Resource: "configmaps"})
	}
	if i := maps.Peek("a", "x"); live != (i != nil) {
		t.Errorf("the loops see %v", i)
	}
	judgeUnreadable(t, l, maps)

	yes := true
	unsafe := DeleteOptions{DeleteOptions: metav1.DeleteOptions{IgnoreStoreReadErrorWithClusterBreakingPotential: &yes}}
	if seen.deleted("a/x") {
		t.Error("the loops saw a deletion")
	}
	if _, removed, err := maps.Delete(t.Context(), "a", "x", unsafe); err != nil || !removed {
		t.Errorf("deletion by force: %v, %v", removed, err)
	}
	must(l.reg.Fresh(t.Context()))(t)
	if list, err := maps.List(t.Context(), ListOptions{}); err != nil || len(list.Items) != 2 {
		t.Errorf("after it: %v", err)
	}
	if _, n := l.reg.Unreadable(10); n != 0 || maps.Whole("a") != nil {
		t.Errorf("%d unreadable values are left", n)
	}
}

// judgeUnreadable asks everything about ConfigMap a/x.
func judgeUnreadable(t *testing.T, l *locked, maps *Resource) {
	t.Helper()
	ctx := t.Context()
	for _, rv := range []string{"", "0"} {
		_, err := maps.Get(ctx, "a", "x", rv)
		wantNamed(t, "get", err, damaged)
	}
	for _, namespace := range []string{"", "a"} {
		if _, err := maps.List(ctx, ListOptions{Namespace: namespace, ResourceVersion: "0"}); !apierrors.IsStoreReadError(err) || !strings.Contains(err.Error(), damaged) {
			t.Errorf("list of %q: %v", namespace, err)
		}
		w := must(maps.Watch(ctx, WatchOptions{Namespace: namespace}))(t)
		if _, err := w.Take(); !apierrors.IsStoreReadError(err) {
			t.Errorf("watch of %q: %v", namespace, err)
		}
	}
	if list, err := maps.List(ctx, ListOptions{Namespace: "b"}); err != nil || len(list.Items) != 1 {
		t.Errorf("another namespace: %v", err)
	}
	for _, dry := range []bool{true, false} {
		if _, err := maps.Create(ctx, l.form.plainMap("a", "x"), CreateOptions{DryRun: dry}); !apierrors.IsAlreadyExists(err) || !strings.Contains(err.Error(), "cannot be read") {
			t.Errorf("create (dry run: %v): %v", dry, err)
		}
	}
	label := func(_ context.Context, old kind.Object) (kind.Object, error) {
		o := kind.Copy(old)
		o.SetLabels(map[string]string{"x": "y"})
		return o, nil
	}
	_, _, err := maps.Update(ctx, "a", "x", label, UpdateOptions{})
	wantNamed(t, "update", err, damaged)
	_, _, err = maps.Delete(ctx, "a", "x", DeleteOptions{})
	wantNamed(t, "delete", err, damaged)
	if _, err := maps.DeleteCollection(ctx, ListOptions{Namespace: "a"}, DeleteOptions{}); !apierrors.IsStoreReadError(err) {
		t.Errorf("deletecollection: %v", err)
	}
	if maps.Peek("a", "z") == nil {
		t.Error("a collection that cannot be read was deleted in part")
	}
	if maps.Whole("") == nil || maps.Whole("a") == nil || maps.Whole("b") != nil {
		t.Errorf("whole: %v, %v, %v", maps.Whole(""), maps.Whole("a"), maps.Whole("b"))
	}
	some, n := l.reg.Unreadable(10)
	if n != 1 || len(some) != 1 || some[0].Key != damaged || some[0].Sealed || some[0].Err == nil {
		t.Errorf("%+v, %d", some, n)
	}
	if len(l.reg.Sealed()) != 0 {
		t.Error("it counts as sealed")
	}
}

// loops are what subscribers within the process have seen.
type loops struct {
	mu   sync.Mutex
	gone map[string]bool // guarded by mu
}

func (s *loops) deleted(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone[key]
}

// watchLoops subscribes as a controller does.
func watchLoops(t *testing.T, r *Resource) *loops {
	s := &loops{gone: map[string]bool{}}
	started := make(chan struct{})
	var once sync.Once
	go r.Subscribe(t.Context(), func(ds []Delta) {
		s.mu.Lock()
		for _, d := range ds {
			if d.New == nil {
				s.gone[d.Old.Namespace()+"/"+d.Old.Name()] = true
			}
		}
		s.mu.Unlock()
		once.Do(func() { close(started) })
	})
	<-started
	return s
}

// TestUnreadableThenReadable: the next value that can be read is a change of the last one that could, for those who go on from there.
func TestUnreadableThenReadable(t *testing.T) { forEachForm(t, testUnreadableThenReadable) }

func testUnreadableThenReadable(t *testing.T, f testForm) {
	l := newLocked(t, f)
	l.start()
	maps, _ := l.reg.Resource(schema.GroupResource{Resource: "configmaps"})
	first := must(maps.Create(t.Context(), f.plainMap("a", "x"), CreateOptions{}))(t)
	must(l.reg.Fresh(t.Context()))(t)
	value := first.value.Bytes
	l.putRaw(damaged, []byte("noise"))
	l.putRaw(damaged, value)
	w := must(maps.Watch(t.Context(), WatchOptions{Namespace: "a", ResourceVersion: first.Object().GetResourceVersion()}))(t)
	<-w.Ready()
	events, err := w.Take()
	if err != nil || len(events) != 1 || events[0].Type != "MODIFIED" {
		t.Errorf("%+v, %v", events, err)
	}
	if i, err := maps.Get(t.Context(), "a", "x", ""); err != nil || i.Revision() <= first.Revision() {
		t.Error(err)
	}
}

// TestUnreadablePast: history that holds a value which cannot be read tells no deletion: its readers begin anew, or are told the key
// while the present cannot be read either.
func TestUnreadablePast(t *testing.T) { forEachForm(t, testUnreadablePast) }

func testUnreadablePast(t *testing.T, f testForm) {
	l := newLocked(t, f)
	l.start()
	maps, _ := l.reg.Resource(schema.GroupResource{Resource: "configmaps"})
	first := must(maps.Create(t.Context(), f.plainMap("a", "x"), CreateOptions{}))(t)
	must(l.reg.Fresh(t.Context()))(t)
	rv := first.Object().GetResourceVersion()
	l.putRaw(damaged, []byte("noise"))
	noise := must(l.reg.Fresh(t.Context()))(t)
	l.putRaw(damaged, first.value.Bytes)
	l.start() // the window begins anew: the watch reads history
	maps, _ = l.reg.Resource(schema.GroupResource{Resource: "configmaps"})
	w := must(maps.Watch(t.Context(), WatchOptions{Namespace: "a", ResourceVersion: rv}))(t)
	_, err := w.Next(t.Context())
	if !apierrors.IsResourceExpired(err) {
		t.Errorf("watch: %v", err)
	}
	exact := ListOptions{ResourceVersion: strconv.FormatInt(noise, 10), ResourceVersionMatch: metav1.ResourceVersionMatchExact}
	if _, err := maps.List(t.Context(), exact); !apierrors.IsResourceExpired(err) {
		t.Errorf("list: %v", err)
	}
	l.putRaw("/registry/configmaps/b/y", []byte("noise"))
	exact.Namespace = "a"
	_, err = maps.List(t.Context(), exact)
	wantNamed(t, "list", err, damaged)
}
