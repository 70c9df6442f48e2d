package registry

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

// hooked is a store that calls before what a test wants to be done first.
type hooked struct {
	store.Store
	create func(key string)
	list   func(ctx context.Context, prefix string) error
}

func (s *hooked) Create(ctx context.Context, key string, value []byte, ttl time.Duration) (int64, error) {
	if s.create != nil {
		s.create(key)
	}
	return s.Store.Create(ctx, key, value, ttl)
}

func (s *hooked) List(ctx context.Context, prefix string, o store.ListOptions) (store.Page, error) {
	if s.list != nil {
		if err := s.list(ctx, prefix); err != nil {
			return store.Page{}, err
		}
	}
	return s.Store.List(ctx, prefix, o)
}

// TestWritesUnderWayAtTheEnd: a kind goes while an object of it is being written. Nothing of the write stays behind.
func TestWritesUnderWayAtTheEnd(t *testing.T) {
	s := &hooked{Store: memory.New()}
	t.Cleanup(func() { s.Close() })
	b := generated.start(t, Options{Store: s, Kinds: append(generated.kinds(), generated.widgets(false))})
	s.create = func(key string) {
		if strings.HasSuffix(key, "/x") {
			if err := b.Remove(t.Context(), generated.widgets(false).GVR()); err != nil {
				t.Error(err)
			}
		}
	}
	_, _ = of(t, b).Create(t.Context(), generated.widget("x"), CreateOptions{}) // whether it is told of the end is of no matter here
	b.catchUp(t)
	b.outstanding.mu.Lock()
	defer b.outstanding.mu.Unlock()
	if b.outstanding.count != 0 || len(b.outstanding.byKey) != 0 {
		t.Errorf("%d writes are waited for that the mirror has passed", b.outstanding.count)
	}
}

// shapeOf is another resource or version whose objects are stored as widgets.
func shapeOf(plural, version string) *kind.Kind {
	same := func(o kind.Object) (kind.Object, error) { return kind.Copy(o), nil }
	return kind.Define(kind.Resource{
		GroupVersion: schema.GroupVersion{Group: "example.com", Version: version}, Kind: "Shape", Plural: plural, Namespaced: true,
		List: kind.ListOf[corev1.ConfigMapList], StoragePath: "widgets",
		Via: &kind.Conversion{Stored: widgetGR, StoredVersion: "v1", ToStored: same, FromStored: same},
	}, kind.Rules[corev1.ConfigMap]{})
}

// TestShapesComeAndGoAlone: each version of what one kind stores is added and removed by itself, and ends its own watches only.
func TestShapesComeAndGoAlone(t *testing.T) {
	ctx := t.Context()
	b := generated.start(t, Options{Kinds: append(generated.kinds(), generated.widgets(false))})
	second, third, first, other := shapeOf("widgets", "v2"), shapeOf("widgets", "v3"), shapeOf("gadgets", "v1"), shapeOf("gadgets", "v2")
	for _, k := range []*kind.Kind{second, third, first, other} {
		if err := b.Add(ctx, k); err != nil {
			t.Fatal(err)
		}
	}
	must(of(t, b).Create(ctx, generated.widget("x"), CreateOptions{}))(t)
	watch := func(k *kind.Kind) *Watcher {
		r, ok := b.ResourceFor(k)
		if !ok {
			t.Fatalf("%s is not served", k.GVK)
		}
		return must(r.Watch(ctx, WatchOptions{ResourceVersion: "0"}))(t)
	}
	goes, stays, replaced := watch(second), watch(third), watch(first)
	again := *first
	if err := errors.Join(b.Remove(ctx, second.GVR()), b.Add(ctx, &again)); err != nil {
		t.Fatal(err)
	}
	for what, w := range map[string]*Watcher{"removed": goes, "replaced": replaced} {
		if err := drained(ctx, w); !apierrors.IsResourceExpired(err) {
			t.Errorf("the watch of the version that was %s ended with %v", what, err)
		}
	}
	if events, err := stays.Next(ctx); err != nil || len(events) == 0 {
		t.Errorf("the watch of another version: %v, %v", events, err)
	}
	if _, ok := b.ResourceFor(second); ok {
		t.Error("the version is still served")
	}
	if r, ok := b.ResourceFor(&again); !ok || r.Info() != &again {
		t.Error("the replaced version is not served")
	}
	if r, ok := b.Resource(first.GR()); !ok || r.Info() != &again {
		t.Error("the replaced version does not speak for its resource")
	}
	if err := b.Remove(ctx, first.GVR()); err != nil {
		t.Fatal(err)
	}
	if r, ok := b.Resource(first.GR()); !ok || r.Info() != other {
		t.Error("no other version speaks for the resource")
	}
	if err := b.Remove(ctx, generated.widgets(false).GVR()); err == nil {
		t.Error("what others are stored as was removed")
	}
	of(t, b) // it is still served
	if err := errors.Join(b.Remove(ctx, third.GVR()), b.Remove(ctx, other.GVR()), b.Remove(ctx, generated.widgets(false).GVR())); err != nil {
		t.Error(err)
	}
	if err := b.Add(ctx, shapeOf("pods", "v1")); err == nil {
		t.Error("a shape was added of what is not served")
	}
}

// TestShapesEndForAllVerbs: what was removed or replaced is so for whoever still holds it, by every verb, while the objects and their other
// shapes live on.
func TestShapesEndForAllVerbs(t *testing.T) {
	ctx := t.Context()
	b := generated.start(t, Options{Kinds: append(generated.kinds(), generated.widgets(false))})
	removed, replaced, stays := shapeOf("widgets", "v2"), shapeOf("widgets", "v3"), shapeOf("gadgets", "v1")
	held := map[*kind.Kind]*Resource{}
	ended := map[*kind.Kind]chan struct{}{}
	subscribed, unsubscribe := context.WithCancel(ctx)
	for _, k := range []*kind.Kind{removed, replaced, stays} {
		if err := b.Add(ctx, k); err != nil {
			t.Fatal(err)
		}
		r, _ := b.ResourceFor(k)
		held[k], ended[k] = r, make(chan struct{})
		begun := make(chan struct{}, 10)
		go func() { defer close(ended[k]); r.Subscribe(subscribed, func([]Delta) { begun <- struct{}{} }) }()
		<-begun
	}
	must(of(t, b).Create(ctx, generated.widget("x"), CreateOptions{}))(t)
	b.catchUp(t)
	again := *replaced
	if err := errors.Join(b.Remove(ctx, removed.GVR()), b.Add(ctx, &again)); err != nil {
		t.Fatal(err)
	}
	verbs := func(r *Resource) map[string]error {
		return map[string]error{
			"get": second1(r.Get(ctx, "a", "x", "0")), "list": second1(r.List(ctx, ListOptions{})), "watch": second1(r.Watch(ctx, WatchOptions{})),
			"create": second1(r.Create(ctx, generated.widget("y"), CreateOptions{DryRun: true})), "whole": r.Whole(""), "legible": r.Legible("a", "x"),
			"update":                          second1(second2(r.Update(ctx, "a", "x", to(func(kind.Object) {}), UpdateOptions{DryRun: true}))),
			"delete":                          second1(second2(r.Delete(ctx, "a", "x", DeleteOptions{DryRun: true}))),
			"deletion of what cannot be read": second1(second2(r.Delete(ctx, "a", "nothing", forced()))),
			"deletecollection":                second1(r.DeleteCollection(ctx, ListOptions{}, DeleteOptions{DryRun: true})),
		}
	}
	for what, err := range verbs(held[removed]) {
		if !apierrors.IsNotFound(err) {
			t.Errorf("%s of a version that was removed: %v", what, err)
		}
	}
	for what, err := range verbs(held[replaced]) {
		if !apierrors.IsTooManyRequests(err) {
			t.Errorf("%s of a version that was replaced: %v", what, err)
		}
	}
	for what, err := range verbs(held[stays]) {
		if err != nil && (what != "deletion of what cannot be read" || !apierrors.IsNotFound(err)) {
			t.Errorf("%s of a version that stays: %v", what, err)
		}
	}
	<-ended[removed]
	<-ended[replaced]
	held[removed].Subscribe(ctx, func([]Delta) {}) // ends at once
	select {
	case <-ended[stays]:
		t.Error("the subscription of a version that stays has ended")
	default:
	}
	unsubscribe()
	<-ended[stays]
}

// TestAddEndsWithItsContext: who adds a kind and gives up is not kept waiting, not even while the mirror waits for the store. The kind can
// be added again.
func TestAddEndsWithItsContext(t *testing.T) {
	inner := memory.New()
	t.Cleanup(func() { inner.Close() })
	var stuck atomic.Bool
	reading, loading, release := make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{})
	s := &hooked{Store: inner}
	s.list = func(ctx context.Context, prefix string) error {
		switch {
		case !stuck.Load():
			return nil
		case prefix != Root:
			reading <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		}
		loading <- struct{}{}
		<-release
		return nil
	}
	b := generated.start(t, Options{Store: s})
	stuck.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	added := make(chan error)
	go func() { added <- b.Add(ctx, generated.widgets(false)) }()
	<-reading
	b.reload()
	<-loading
	cancel()
	select {
	case err := <-added:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("added: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("who adds a kind waits on though its context has ended")
	}
	stuck.Store(false)
	close(release)
	if err := b.Add(t.Context(), generated.widgets(false)); err != nil {
		t.Fatal(err)
	}
	if n := len(b.kinds.Load().arriving); n != 0 {
		t.Errorf("%d kinds are still arriving", n)
	}
}

// TestNothingIsGatheredForNobody: what changes is no longer kept for a kind whose adding was given up.
func TestNothingIsGatheredForNobody(t *testing.T) {
	s := &hooked{Store: memory.New()}
	t.Cleanup(func() { s.Close() })
	b := generated.start(t, Options{Store: s})
	s.list = func(context.Context, string) error { return store.ErrUnavailable }
	if err := b.Add(t.Context(), generated.widgets(false)); !errors.Is(err, store.ErrUnavailable) {
		t.Fatal(err)
	}
	must(b.resource(t, "configmaps").Create(t.Context(), generated.configMap("a", "x", nil), CreateOptions{}))(t)
	b.catchUp(t)
	if n := len(b.kinds.Load().arriving); n != 0 {
		t.Errorf("%d kinds are still arriving", n)
	}
}

// TestReplacedKindsKeepLastStates: the last readable state of what cannot be read outlives the change of its kind.
func TestReplacedKindsKeepLastStates(t *testing.T) { forEachForm(t, testReplacedKindsKeepLastStates) }

func testReplacedKindsKeepLastStates(t *testing.T, f testForm) {
	ctx := t.Context()
	b := f.start(t, Options{Kinds: append(f.kinds(), f.widgets(false))})
	first := must(of(t, b).Create(ctx, f.widget("a"), CreateOptions{}))(t)
	for _, name := range []string{"m", "z"} {
		must(of(t, b).Create(ctx, f.widget(name), CreateOptions{}))(t)
	}
	b.catchUp(t)
	must(b.store.Update(ctx, first.key, first.Revision(), []byte("noise"), 0))(t)
	b.catchUp(t)
	for _, indexed := range []bool{true, false} {
		if err := b.Add(ctx, f.widgets(indexed)); err != nil {
			t.Fatal(err)
		}
		r, names := of(t, b), ""
		for i := range r.All("a") {
			names += i.Name()
		}
		red := 0
		for range r.ByField("data.color", "red") {
			red++
		}
		if names != "amz" || indexed && red != 3 || r.Peek("a", "a") == nil || r.Peek("a", "a").Revision() != first.Revision() {
			t.Errorf("indexed: %v: %s are there", indexed, names)
		}
		if r.Whole("a") == nil || r.Legible("a", "a") == nil || r.Whole("b") != nil {
			t.Error("it does not say what cannot be read")
		}
		if _, err := r.List(ctx, ListOptions{}); !apierrors.IsStoreReadError(err) {
			t.Errorf("listed: %v", err)
		}
	}
	// The next state that can be read takes its place.
	e, _, err := b.store.Get(ctx, first.key, 0)
	if err != nil {
		t.Fatal(err)
	}
	must(b.store.Update(ctx, first.key, e.Revision, first.value.Bytes, 0))(t)
	list := must(of(t, b).List(ctx, ListOptions{}))(t)
	if len(list.Items) != 3 {
		t.Errorf("listed: %s", versions(list.Items))
	}
}
