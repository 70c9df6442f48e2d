package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// fences checks each kind of write under each state of a fence: not taken, held, taken by another, given up.
func fences(t *testing.T, s store.Store) {
	ctx := t.Context()
	untaken := store.WithFence(ctx, store.Fence{Key: "/term"})
	kept := must[int64](t)(s.Create(untaken, "/kept", []byte("1"), 0))
	term := must[int64](t)(s.Create(untaken, "/term", []byte("first"), 0))
	mine := store.WithFence(ctx, store.Fence{Key: "/term", Revision: term})
	kept = must[int64](t)(s.Update(mine, "/kept", kept, []byte("2"), 0))
	must[int64](t)(s.Delete(mine, "/gone", must[int64](t)(s.Create(mine, "/gone", nil, 0))))

	// A lost race is still told as one while the fence holds.
	_, create := s.Create(mine, "/kept", nil, 0)
	_, update := s.Update(mine, "/kept", kept+100, nil, 0)
	_, remove := s.Delete(mine, "/kept", kept+100)
	for verb, err := range map[string]error{"create": create, "update": update, "delete": remove} {
		var c *store.Conflict
		if !errors.As(err, &c) || c.Present == nil || c.Present.Revision != kept {
			t.Errorf("%s of a key at another revision: %v", verb, err)
		}
	}

	refused := func(when string, f store.Fence) {
		t.Helper()
		late := store.WithFence(ctx, f)
		_, create := s.Create(late, "/new", nil, 0)
		_, again := s.Create(late, "/kept", nil, 0)
		_, update := s.Update(late, "/kept", kept, []byte("3"), 0)
		_, remove := s.Delete(late, "/kept", kept)
		for verb, err := range map[string]error{"create": create, "create of what exists": again, "update": update, "delete": remove} {
			if !errors.Is(err, store.ErrFenced) {
				t.Errorf("%s, %s: %v", when, verb, err)
			}
		}
	}
	refused("a fence that should not exist", store.Fence{Key: "/term"})
	refused("a fence that was never taken", store.Fence{Key: "/other", Revision: term})
	taken := must[int64](t)(s.Update(ctx, "/term", term, []byte("second"), 0))
	refused("another term", store.Fence{Key: "/term", Revision: term})
	must[int64](t)(s.Delete(ctx, "/term", taken))
	refused("a term given up", store.Fence{Key: "/term", Revision: taken})

	if e, _, err := s.Get(ctx, "/kept", 0); err != nil || string(e.Value) != "2" || e.Revision != kept {
		t.Errorf("the fenced key: %+v, %v", e, err)
	}
	if _, _, err := s.Get(ctx, "/new", 0); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a key behind a lost fence: %v", err)
	}
}

// fencedWriters lets writers take a term from each other and write under it: a write that was acknowledged was made
// while its term was the present one, so that the last value of each key tells of the terms in order.
func fencedWriters(t *testing.T, s store.Store) {
	ctx := t.Context()
	first := must[int64](t)(s.Create(ctx, "/term", nil, 0))
	var wg sync.WaitGroup
	for writer := range 8 {
		wg.Go(func() {
			for n := range 20 {
				held, _, err := s.Get(ctx, "/term", 0)
				if err != nil {
					t.Error(err)
					return
				}
				term, err := s.Update(ctx, "/term", held.Revision, nil, 0)
				if err != nil {
					continue // another took it
				}
				key := fmt.Sprintf("/log/%d/%d", writer, n)
				under := store.WithFence(ctx, store.Fence{Key: "/term", Revision: term})
				if _, err := s.Create(under, key, fmt.Append(nil, term), 0); err != nil && !errors.Is(err, store.ErrFenced) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	// The terms begin where /term changed; a log entry must lie before the next of these.
	w := s.Watch(ctx, "/", store.WatchOptions{From: first})
	var term int64
	entries := 0
	for _, e := range collect(t, w, must[int64](t)(s.Revision(ctx))) {
		if e.Key == "/term" {
			term = e.Revision
			continue
		}
		entries++
		if got := string(e.Value); got != fmt.Sprint(term) {
			t.Errorf("%s was written under term %s while %d was the present one", e.Key, got, term)
		}
	}
	if entries == 0 {
		t.Error("nothing was written")
	}
}
