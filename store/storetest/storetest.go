// Package storetest is the suite that every implementation of store.Store must pass.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand"
	"sync"
	"testing"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// patience is how long a test waits for something that must happen.
const patience = 20 * time.Second

// Run runs the suite; open makes an empty store, which the suite closes.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, store.Store)
	}{
		{"a key's life", life},
		{"lost races return the present value", races},
		{"reads at old revisions", oldRevisions},
		{"pages of one revision", pages},
		{"watch from now, from a revision, of a prefix", watching},
		{"watch reports what was before", previous},
		{"watch lets its caller open entries", opened},
		{"watch of compacted history ends", compacted},
		{"progress without changes", progress},
		{"time to live", timeToLive},
		{"of many creators of a key one wins", oneWinner},
		{"a watcher's picture equals the list", picture},
		{"a fence guards writes", fences},
		{"of many takers of a fence one writes", fencedWriters},
		{"close ends watches", closing},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t)
			defer s.Close()
			c.run(t, s)
		})
	}
}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func life(t *testing.T, s store.Store) {
	ctx := t.Context()
	if _, _, err := s.Get(ctx, "/a/x", 0); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("get of a missing key: %v", err)
	}
	r1 := must[int64](t)(s.Create(ctx, "/a/x", []byte("1"), 0))
	r2 := must[int64](t)(s.Update(ctx, "/a/x", r1, []byte("2"), 0))
	e, at, err := s.Get(ctx, "/a/x", 0)
	if err != nil || string(e.Value) != "2" || e.Revision != r2 || at < r2 {
		t.Fatalf("get: %+v at %d, %v", e, at, err)
	}
	r3 := must[int64](t)(s.Delete(ctx, "/a/x", r2))
	if !(r1 < r2 && r2 < r3) {
		t.Fatalf("revisions %d, %d, %d do not grow", r1, r2, r3)
	}
	if _, _, err := s.Get(ctx, "/a/x", 0); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("get of a deleted key: %v", err)
	}
	if now := must[int64](t)(s.Revision(ctx)); now < r3 {
		t.Fatalf("revision %d is before the last write %d", now, r3)
	}
}

func races(t *testing.T, s store.Store) {
	ctx := t.Context()
	r1 := must[int64](t)(s.Create(ctx, "/k", []byte("1"), 0))
	r2 := must[int64](t)(s.Update(ctx, "/k", r1, []byte("2"), 0))
	_, create := s.Create(ctx, "/k", []byte("3"), 0)
	_, update := s.Update(ctx, "/k", r1, []byte("3"), 0)
	_, remove := s.Delete(ctx, "/k", r1)
	for name, err := range map[string]error{"create": create, "update": update, "delete": remove} {
		var c *store.Conflict
		if !errors.As(err, &c) || c.Present == nil || string(c.Present.Value) != "2" || c.Present.Revision != r2 || c.Present.Key != "/k" {
			t.Errorf("%s: want a conflict with the present entry, got %v", name, err)
		}
	}
	_, update = s.Update(ctx, "/none", 7, []byte("3"), 0)
	_, remove = s.Delete(ctx, "/none", 7)
	for name, err := range map[string]error{"update": update, "delete": remove} {
		var c *store.Conflict
		if !errors.As(err, &c) || c.Present != nil {
			t.Errorf("%s of a missing key: want a conflict without entry, got %v", name, err)
		}
	}
}

func oldRevisions(t *testing.T, s store.Store) {
	ctx := t.Context()
	r1 := must[int64](t)(s.Create(ctx, "/a", []byte("1"), 0))
	r2 := must[int64](t)(s.Update(ctx, "/a", r1, []byte("2"), 0))
	r3 := must[int64](t)(s.Delete(ctx, "/a", r2))
	for revision, want := range map[int64]string{r1: "1", r2: "2"} {
		if e, _, err := s.Get(ctx, "/a", revision); err != nil || string(e.Value) != want {
			t.Errorf("at %d: %q, %v; want %q", revision, e.Value, err, want)
		}
		if p, err := s.List(ctx, "/", store.ListOptions{Revision: revision}); err != nil || len(p.Entries) != 1 || p.Revision != revision {
			t.Errorf("list at %d: %+v, %v", revision, p, err)
		}
	}
	if _, _, err := s.Get(ctx, "/a", r3); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("at the deletion: %v", err)
	}
	if _, _, err := s.Get(ctx, "/a", r3+100); !errors.Is(err, store.ErrFutureRevision) {
		t.Errorf("in the future: %v", err)
	}
	if err := s.Compact(ctx, r2); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Get(ctx, "/a", r1); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("compacted: %v", err)
	}
	if e, _, err := s.Get(ctx, "/a", r2); err != nil || string(e.Value) != "2" {
		t.Errorf("at the compacted revision itself: %q, %v", e.Value, err)
	}
	if _, err := s.List(ctx, "/", store.ListOptions{Revision: r1}); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("list of compacted: %v", err)
	}
}

func pages(t *testing.T, s store.Store) {
	ctx := t.Context()
	for i := range 10 {
		must[int64](t)(s.Create(ctx, fmt.Sprintf("/p/%02d", i), []byte{byte(i)}, 0))
	}
	must[int64](t)(s.Create(ctx, "/q", nil, 0))
	first := must[store.Page](t)(s.List(ctx, "/p/", store.ListOptions{Limit: 4}))
	if len(first.Entries) != 4 || !first.More || first.Count != 10 {
		t.Fatalf("first page: %+v", first)
	}
	must[int64](t)(s.Create(ctx, "/p/045", nil, 0))
	seen := len(first.Entries)
	last := first
	for last.More {
		from := last.Entries[len(last.Entries)-1].Key + "\x00"
		last = must[store.Page](t)(s.List(ctx, "/p/", store.ListOptions{Limit: 4, From: from, Revision: first.Revision}))
		seen += len(last.Entries)
	}
	if seen != 10 {
		t.Fatalf("pages hold %d entries, want the 10 of the first page's revision", seen)
	}
	if n := must[store.Page](t)(s.List(ctx, "/p/", store.ListOptions{CountOnly: true})); n.Count != 11 || len(n.Entries) != 0 {
		t.Fatalf("count: %+v", n)
	}
}

// collect reads a watch until it has seen the revision.
func collect(t *testing.T, w store.Watch, until int64) []store.Event {
	t.Helper()
	var events []store.Event
	deadline := time.After(patience)
	for {
		select {
		case b, ok := <-w.C():
			if !ok {
				t.Fatalf("watch ended: %v", w.Err())
			}
			for _, e := range b.Events {
				if len(events) > 0 && e.Revision < events[len(events)-1].Revision {
					t.Fatalf("revision %d after %d", e.Revision, events[len(events)-1].Revision)
				}
				if e.Revision > b.Revision {
					t.Fatalf("event of %d in a batch of %d", e.Revision, b.Revision)
				}
				events = append(events, e)
			}
			if b.Revision >= until {
				return events
			}
		case <-deadline:
			t.Fatalf("revision %d was not delivered; got %d events", until, len(events))
		}
	}
}

func watching(t *testing.T, s store.Store) {
	ctx := t.Context()
	r1 := must[int64](t)(s.Create(ctx, "/w/a", []byte("1"), 0))
	old := s.Watch(ctx, "/w/", store.WatchOptions{From: r1})
	r2 := must[int64](t)(s.Update(ctx, "/w/a", r1, []byte("2"), 0))
	must[int64](t)(s.Create(ctx, "/other", nil, 0))
	r3 := must[int64](t)(s.Create(ctx, "/w/b", []byte("3"), 0))
	r4 := must[int64](t)(s.Delete(ctx, "/w/a", r2))
	got := collect(t, old, r4)
	want := []struct {
		key              string
		revision         int64
		created, deleted bool
		value            string
	}{{"/w/a", r1, true, false, "1"}, {"/w/a", r2, false, false, "2"}, {"/w/b", r3, true, false, "3"}, {"/w/a", r4, false, true, ""}}
	if len(got) != len(want) {
		t.Fatalf("got %d events: %+v", len(got), got)
	}
	for i, w := range want {
		g := got[i]
		if g.Key != w.key || g.Revision != w.revision || g.Created != w.created || g.Deleted != w.deleted || string(g.Value) != w.value || g.Prev != nil {
			t.Errorf("event %d: %+v, want %+v", i, g, w)
		}
	}
}

func previous(t *testing.T, s store.Store) {
	ctx := t.Context()
	r1 := must[int64](t)(s.Create(ctx, "/a", []byte("1"), 0))
	w := s.Watch(ctx, "/", store.WatchOptions{From: r1, Previous: true})
	r2 := must[int64](t)(s.Update(ctx, "/a", r1, []byte("2"), 0))
	r3 := must[int64](t)(s.Delete(ctx, "/a", r2))
	got := collect(t, w, r3)
	if len(got) != 3 || got[0].Prev != nil || got[1].Prev == nil || got[2].Prev == nil {
		t.Fatalf("events: %+v", got)
	}
	if p := got[1].Prev; string(p.Value) != "1" || p.Revision != r1 {
		t.Errorf("before the update: %+v", p)
	}
	if p := got[2].Prev; string(p.Value) != "2" || p.Revision != r2 {
		t.Errorf("before the deletion: %+v", p)
	}
}

func opened(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r1 := must[int64](t)(s.Create(ctx, "/o/a", []byte("1"), 0))
	r2 := must[int64](t)(s.Update(ctx, "/o/a", r1, []byte("2"), 0))
	r3 := must[int64](t)(s.Delete(ctx, "/o/a", r2))
	for range 2 { // what one watch opens is as it was for the next
		w := s.Watch(ctx, "/o/", store.WatchOptions{From: r1, Previous: true, Open: func(e *store.Entry) {
			e.Value, e.Stale = append([]byte("open "), e.Value...), true
		}})
		got := collect(t, w, r3)
		for n, want := range []string{"open 1", "open 2", ""} {
			e := got[n]
			if string(e.Value) != want || e.Stale != (want != "") {
				t.Errorf("event %d: %q, stale %v", n, e.Value, e.Stale)
			}
			if n > 0 && (e.Prev == nil || string(e.Prev.Value) != fmt.Sprintf("open %d", n) || !e.Prev.Stale) {
				t.Errorf("event %d: before it %+v", n, e.Prev)
			}
		}
	}
}

func compacted(t *testing.T, s store.Store) {
	ctx := t.Context()
	r1 := must[int64](t)(s.Create(ctx, "/a", []byte("1"), 0))
	r2 := must[int64](t)(s.Update(ctx, "/a", r1, []byte("2"), 0))
	r3 := must[int64](t)(s.Update(ctx, "/a", r2, []byte("3"), 0))
	if err := s.Compact(ctx, r3); err != nil {
		t.Fatal(err)
	}
	w := s.Watch(ctx, "/", store.WatchOptions{From: r1})
	deadline := time.After(patience)
	for {
		select {
		case b, ok := <-w.C():
			if !ok {
				if !errors.Is(w.Err(), store.ErrCompacted) {
					t.Fatalf("ended with %v", w.Err())
				}
				return
			}
			if len(b.Events) > 0 {
				t.Fatalf("events of compacted history: %+v", b.Events)
			}
		case <-deadline:
			t.Fatal("the watch did not end")
		}
	}
}

func progress(t *testing.T, s store.Store) {
	ctx := t.Context()
	w := s.Watch(ctx, "/mine/", store.WatchOptions{})
	r := must[int64](t)(s.Create(ctx, "/yours", nil, 0))
	deadline := time.After(patience)
	for {
		if err := w.Progress(ctx); err != nil {
			t.Fatal(err)
		}
		select {
		case b := <-w.C():
			if len(b.Events) > 0 {
				t.Fatalf("events: %+v", b.Events)
			}
			if b.Revision >= r {
				return
			}
		case <-time.After(100 * time.Millisecond): // ask again: the watch may not have been registered yet
		case <-deadline:
			t.Fatal("no progress was reported")
		}
	}
}

func timeToLive(t *testing.T, s store.Store) {
	ctx := t.Context()
	r := must[int64](t)(s.Create(ctx, "/short", []byte("x"), time.Second))
	must[int64](t)(s.Create(ctx, "/long", []byte("x"), time.Hour))
	w := s.Watch(ctx, "/", store.WatchOptions{From: r + 2})
	got := collect(t, w, r+2)
	if len(got) != 1 || got[0].Key != "/short" || !got[0].Deleted {
		t.Fatalf("events: %+v", got)
	}
	if _, _, err := s.Get(ctx, "/long", 0); err != nil {
		t.Fatal(err)
	}
}

func oneWinner(t *testing.T, s store.Store) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for range 16 {
		wg.Go(func() {
			_, err := s.Create(t.Context(), "/one", []byte("x"), 0)
			var c *store.Conflict
			if err != nil && !errors.As(err, &c) {
				t.Error(err)
			}
			if err == nil {
				mu.Lock()
				won++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Fatalf("%d creators won", won)
	}
}

func picture(t *testing.T, s store.Store) {
	ctx := t.Context()
	start := must[int64](t)(s.Revision(ctx))
	w := s.Watch(ctx, "/r/", store.WatchOptions{From: start + 1})
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			random := rand.New(rand.NewSource(int64(worker)))
			for range 100 {
				key := fmt.Sprintf("/r/%d", random.Intn(8))
				e, _, err := s.Get(ctx, key, 0)
				switch {
				case errors.Is(err, store.ErrNotFound):
					s.Create(ctx, key, []byte{byte(random.Intn(256))}, 0)
				case random.Intn(3) == 0:
					s.Delete(ctx, key, e.Revision)
				default:
					s.Update(ctx, key, e.Revision, []byte{byte(random.Intn(256))}, 0)
				}
			}
		})
	}
	wg.Wait()
	end := must[store.Page](t)(s.List(ctx, "/r/", store.ListOptions{}))
	last := must[int64](t)(s.Create(ctx, "/r/end", nil, 0))
	seen := map[string]string{}
	for _, e := range collect(t, w, last) {
		if e.Deleted {
			delete(seen, e.Key)
		} else {
			seen[e.Key] = fmt.Sprint(e.Revision, e.Value)
		}
	}
	delete(seen, "/r/end")
	want := map[string]string{}
	for _, e := range end.Entries {
		want[e.Key] = fmt.Sprint(e.Revision, e.Value)
	}
	if !maps.Equal(seen, want) {
		t.Fatalf("watched %v, listed %v", seen, want)
	}
}

func closing(t *testing.T, s store.Store) {
	w := s.Watch(context.Background(), "/", store.WatchOptions{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case _, ok := <-w.C():
		if ok {
			t.Fatal("a batch after close")
		}
	case <-time.After(patience):
		t.Fatal("the watch did not end")
	}
	if _, err := s.Revision(context.Background()); err == nil {
		t.Fatal("a closed store answers")
	}
}
