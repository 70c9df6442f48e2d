package registry

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

// flaky lets watches of everything end early.
type flaky struct {
	store.Store
	mu      sync.Mutex
	watches []*flakyWatch
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

// After history was lost the mirror loads everything anew: watchers and subscribers see what happened meanwhile.
func TestReload(t *testing.T) { forEachForm(t, testReload) }

func testReload(t *testing.T, f testForm) {
	inner := memory.New()
	s := &flaky{Store: inner}
	t.Cleanup(func() { s.Close() })
	b := f.start(t, Options{Store: s, Log: slog.New(slog.DiscardHandler)})
	maps := b.resource(t, "configmaps")
	for _, name := range []string{"kept", "changed", "gone", "reborn"} {
		must(maps.Create(bg, f.configMap("a", name, nil), CreateOptions{}))(t)
	}
	b.settle(t)
	before := b.Applied()
	kept := maps.Peek("a", "kept")
	w := must(maps.Watch(bg, WatchOptions{ResourceVersion: fmt.Sprint(before)}))(t)
	defer w.Stop()

	// Another process changes the store while this one's watch is broken and history is compacted.
	other := f.start(t, Options{Store: inner})
	theirs := other.resource(t, "configmaps")
	maps.table.mu.RLock() // holds the mirror's goroutine back
	_, _, err := theirs.Update(bg, "a", "changed", to(func(c kind.Object) { setData(c, map[string]string{"k": "v"}) }), UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	free(t, theirs, "a", "gone")
	free(t, theirs, "a", "reborn")
	must(theirs.Create(bg, f.configMap("a", "reborn", nil), CreateOptions{}))(t)
	must(theirs.Create(bg, f.configMap("a", "new", nil), CreateOptions{}))(t)
	other.settle(t)
	s.breakWatches(store.ErrCompacted)
	maps.table.mu.RUnlock()
	b.settle(t)

	seen := map[string]bool{}
	for !(seen["M:changed"] && seen["D:gone"] && seen["D:reborn"] && seen["A:reborn"] && seen["A:new"]) {
		events, err := w.Next(bg)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			seen[string(e.Type[0])+":"+e.Item.Name()] = true
		}
	}
	if len(seen) != 5 {
		t.Errorf("seen %v", seen)
	}
	if maps.Peek("a", "kept") != kept {
		t.Error("an object that did not change was read anew")
	}
	quiet(t, b, w)
	// The window cannot tell what happened in between, the store can.
	again := must(maps.Watch(bg, WatchOptions{ResourceVersion: fmt.Sprint(before)}))(t)
	defer again.Stop()
	if got := read(t, again, 5); got != "M:changed D:gone D:reborn A:reborn A:new" {
		t.Error(got)
	}
}
