package registry

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

// flaky lets watches of everything end early.
type flaky struct {
	store.Store
	mu      sync.Mutex
	watches []*flakyWatch
	// gate, if there is one, holds up whoever reads everything.
	gate chan struct{}
}

func (s *flaky) List(ctx context.Context, prefix string, o store.ListOptions) (store.Page, error) {
	s.mu.Lock()
	gate := s.gate
	s.mu.Unlock()
	if gate != nil && prefix == Root {
		<-gate
	}
	return s.Store.List(ctx, prefix, o)
}

func (s *flaky) Watch(ctx context.Context, prefix string, o store.WatchOptions) store.Watch {
	ctx, cancel := context.WithCancel(ctx)
	w := &flakyWatch{Watch: s.Store.Watch(ctx, prefix, o), cancel: cancel}
	if prefix == Root {
		s.mu.Lock()
		s.watches = append(s.watches, w)
		s.mu.Unlock()
	}
	return w
}

func (s *flaky) breakWatches(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.watches {
		w.mu.Lock()
		w.err = err
		w.mu.Unlock()
		w.cancel()
	}
	s.watches = nil
}

type flakyWatch struct {
	store.Watch
	cancel context.CancelFunc
	mu     sync.Mutex
	err    error
}

func (w *flakyWatch) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	return w.Watch.Err()
}

// After history was lost the mirror loads everything anew. Subscribers see what happened meanwhile. Watches end: when an object has gone, or
// left a selector, nobody knows. One that broke off between that and a later change would go on after the later one.
func TestReload(t *testing.T) {
	forEachForm(t, func(t *testing.T, f testForm) {
		testReload(t, f, false)
		testReload(t, f, true)
	})
}

func testReload(t *testing.T, f testForm, gone bool) {
	inner := memory.New()
	s := &flaky{Store: inner}
	t.Cleanup(func() { s.Close() })
	b := f.start(t, Options{Store: s, Log: slog.New(slog.DiscardHandler)})
	maps := b.resource(t, "configmaps")
	for _, name := range []string{"kept", "changed", "gone", "reborn"} {
		must(maps.Create(bg, f.configMap("a", name, nil), CreateOptions{}))(t)
	}
	b.catchUp(t)
	before := b.Applied()
	kept := maps.Peek("a", "kept")
	w := must(maps.Watch(bg, WatchOptions{ResourceVersion: fmt.Sprint(before)}))(t)
	defer w.Stop()
	told := make(chan string, 100)
	subscribed, end := context.WithCancel(bg)
	defer end()
	go maps.Subscribe(subscribed, func(all []Delta) {
		for _, d := range all {
			switch {
			case d.Old == nil:
				told <- "A:" + d.New.Name()
			case d.New == nil:
				told <- "D:" + d.Old.Name()
			default:
				told <- "M:" + d.New.Name()
			}
		}
	})
	for range 4 {
		<-told // what was there
	}

	// Another process changes the store while this one's watch is broken and history is compacted.
	other := f.start(t, Options{Store: inner})
	theirs := other.resource(t, "configmaps")
	s.mu.Lock()
	s.gate = make(chan struct{})
	s.mu.Unlock()
	s.breakWatches(store.ErrCompacted)
	_, _, err := theirs.Update(bg, "a", "changed", to(func(c kind.Object) { setData(c, map[string]string{"k": "v"}) }), UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if gone {
		free(t, theirs, "a", "gone")
	}
	free(t, theirs, "a", "reborn")
	must(theirs.Create(bg, f.configMap("a", "reborn", nil), CreateOptions{}))(t)
	must(theirs.Create(bg, f.configMap("a", "new", nil), CreateOptions{}))(t)
	other.catchUp(t)
	close(s.gate)
	b.catchUp(t)

	what, number := "M:changed D:reborn A:reborn A:new", 4
	if gone {
		what, number = "M:changed D:gone D:reborn A:reborn A:new", 5
	}
	if events, err := w.Next(bg); !apierrors.IsResourceExpired(err) {
		t.Errorf("a watch goes on with %v, %v though nobody knows when what was deleted", events, err)
	}
	var subscriber []string
	for range number {
		subscriber = append(subscriber, <-told)
	}
	for _, one := range strings.Fields(what) {
		if !slices.Contains(subscriber, one) {
			t.Errorf("a subscriber is told %v, not %s", subscriber, one)
		}
	}
	if maps.Peek("a", "kept") != kept {
		t.Error("an object that did not change was read anew")
	}
	// The window cannot tell what happened in between, the store can.
	again := must(maps.Watch(bg, WatchOptions{ResourceVersion: fmt.Sprint(before)}))(t)
	defer again.Stop()
	if got := read(t, again, number); got != what {
		t.Error(got)
	}
}

// TestReloadLeavesThePastAlone: a list of what was between two reloads is not answered from a picture of before.
func TestReloadLeavesThePastAlone(t *testing.T) { forEachForm(t, testReloadLeavesThePastAlone) }

func testReloadLeavesThePastAlone(t *testing.T, f testForm) {
	inner := memory.New()
	s := &flaky{Store: inner}
	t.Cleanup(func() { s.Close() })
	b := f.start(t, Options{Store: s, Log: slog.New(slog.DiscardHandler)})
	maps := b.resource(t, "configmaps")
	for _, name := range []string{"x", "y"} {
		must(maps.Create(bg, f.configMap("a", name, nil), CreateOptions{}))(t)
	}
	b.catchUp(t)
	must(maps.List(bg, ListOptions{Namespace: "a", Limit: 1}))(t) // its picture is kept for the next page
	other := f.start(t, Options{Store: inner})
	theirs := other.resource(t, "configmaps")
	set := func(v string) {
		t.Helper()
		if _, _, err := theirs.Update(bg, "a", "x", to(func(c kind.Object) { setData(c, map[string]string{"k": v}) }), UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	s.mu.Lock()
	s.gate = make(chan struct{})
	s.mu.Unlock()
	s.breakWatches(store.ErrCompacted)
	set("1")
	must(theirs.Create(bg, f.configMap("a", "between", nil), CreateOptions{}))(t)
	other.catchUp(t)
	past := ListOptions{Namespace: "a", ResourceVersion: fmt.Sprint(other.Applied()), ResourceVersionMatch: metav1.ResourceVersionMatchExact}
	want := versions(must(theirs.List(bg, past))(t).Items)
	free(t, theirs, "a", "between")
	set("2")
	other.catchUp(t)
	close(s.gate)
	b.catchUp(t)
	if got := versions(must(maps.List(bg, past))(t).Items); got != want {
		t.Errorf("it was %s, and is told as %s", want, got)
	}
}
