package failures

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// watcher follows one kind from the revision that it saw last, through all interruptions.
type watcher struct {
	subject subject

	mu sync.Mutex // guards what follows
	// last is the revision that was seen last, in an event or a bookmark.
	last   int64
	events map[string][]change
	opened int
	ended  bool
	failed error
}

func newWatcher(t *testing.T, r subject) *watcher {
	t.Helper()
	list, err := r.list(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return &watcher{subject: r, last: revision(list.GetResourceVersion()), events: map[string][]change{}}
}

// run watches until ctx ends or something is wrong.
func (w *watcher) run(ctx context.Context) {
	for ctx.Err() == nil {
		w.mu.Lock()
		from, failed := w.last, w.failed
		w.mu.Unlock()
		if failed != nil {
			return
		}
		stream, err := w.subject.watch(ctx, metav1.ListOptions{LabelSelector: selector, ResourceVersion: fmt.Sprint(from), AllowWatchBookmarks: true})
		if err != nil {
			if apierrors.IsGone(err) || apierrors.IsResourceExpired(err) {
				w.fail(fmt.Errorf("the watch of %s could not go on from revision %d: %w", w.subject.name, from, err))
				return
			}
			time.Sleep(10 * time.Millisecond) // the master is down
			continue
		}
		w.follow(stream)
	}
}

func (w *watcher) follow(stream watch.Interface) {
	defer stream.Stop()
	w.mu.Lock()
	w.opened++
	w.mu.Unlock()
	for e := range stream.ResultChan() {
		if e.Type == watch.Error {
			if err := apierrors.FromObject(e.Object); apierrors.IsGone(err) || apierrors.IsResourceExpired(err) {
				w.fail(fmt.Errorf("the watch of %s could not go on: %w", w.subject.name, err))
			}
			return
		}
		if err := w.take(e); err != nil {
			w.fail(err)
			return
		}
	}
}

func (w *watcher) take(e watch.Event) error {
	o, err := meta.Accessor(e.Object)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	at := revision(o.GetResourceVersion())
	if e.Type == watch.Bookmark {
		if at < w.last {
			return fmt.Errorf("a bookmark of %s went back from revision %d to %d", w.subject.name, w.last, at)
		}
		w.last = at
		return nil
	}
	if at <= w.last {
		return fmt.Errorf("%s of %s came at revision %d after %d", e.Type, o.GetName(), at, w.last)
	}
	w.last = at
	if o.GetName() == endName {
		w.ended = true
		return nil
	}
	key := w.subject.name + "/" + o.GetName()
	c := change{kind: e.Type, revision: at}
	if e.Type != watch.Deleted {
		c.value = o.GetAnnotations()[value]
	}
	w.events[key] = append(w.events[key], c)
	return nil
}

func (w *watcher) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failed = err
}

// waitOpen waits until the watch has been opened a number of times, so that each kill breaks it.
func (w *watcher) waitOpen(t *testing.T, times int) {
	t.Helper()
	eventually(t, "the watch of "+w.subject.name, func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.failed != nil {
			t.Fatal(w.failed)
		}
		if w.opened < times {
			return fmt.Errorf("it was opened %d times in round %d", w.opened, times)
		}
		return nil
	})
}

// waitFor makes a last change, if that is not done yet, and waits until the watcher has seen it.
func (w *watcher) waitFor(t *testing.T) {
	t.Helper()
	if _, err := w.subject.create(context.Background(), endName, ""); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	eventually(t, "the last event of "+w.subject.name, func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.failed != nil {
			t.Fatal(w.failed)
		}
		if !w.ended {
			return fmt.Errorf("at revision %d", w.last)
		}
		return nil
	})
}

// compareEvents checks that a watcher saw each change of each object once, in order and at the revision that its writer
// was told.
func (l *ledger) compareEvents(t *testing.T, w *watcher) {
	t.Helper()
	if w.opened <= *rounds {
		t.Errorf("the watch of %s was opened %d times in %d rounds", w.subject.name, w.opened, *rounds)
	}
	for key, want := range l.history {
		if key[:len(w.subject.name)+1] != w.subject.name+"/" {
			continue
		}
		have := w.events[key]
		if w.subject.shared { // what others changed leaves the value as it is
			have = slices.CompactFunc(slices.Clone(have), func(a, b change) bool {
				return b.kind == watch.Modified && a.value == b.value
			})
		}
		if len(have) != len(want) {
			t.Errorf("%s changed %d times, a watch saw %d changes:\n%v\n%v", key, len(want), len(have), want, have)
			continue
		}
		for i := range want {
			if have[i].kind != want[i].kind || have[i].value != want[i].value || want[i].revision != 0 && have[i].revision != want[i].revision {
				t.Errorf("change %d of %s was %v, a watch saw %v", i, key, want[i], have[i])
				break
			}
		}
	}
	for key := range w.events {
		if len(l.history[key]) == 0 {
			t.Errorf("a watch saw %s, which nobody wrote", key)
		}
	}
}
