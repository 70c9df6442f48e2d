package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/bounds"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// WatchOptions are the options of a watch, parsed.
type WatchOptions struct {
	Namespace            string
	Label                labels.Selector
	Field                fields.Selector
	ResourceVersion      string
	ResourceVersionMatch metav1.ResourceVersionMatch
	SendInitialEvents    *bool
	AllowBookmarks       bool
}

// check refuses combinations that make no sense, and says whether initial events come first.
func (o *WatchOptions) check() (initial bool, revision int64, err error) {
	in := internalversion.ListOptions{
		Watch: true, ResourceVersion: o.ResourceVersion, ResourceVersionMatch: o.ResourceVersionMatch,
		SendInitialEvents: o.SendInitialEvents, AllowWatchBookmarks: o.AllowBookmarks,
	}
	internalversion.SetListOptionsDefaults(&in, true)
	if errs := validation.ValidateListOptions(&in, true); len(errs) > 0 {
		return false, 0, bounds.Invalid(schema.GroupKind{Group: metav1.GroupName, Kind: "ListOptions"}, "", errs)
	}
	revision, err = parseRevision(o.ResourceVersion)
	switch {
	case err == nil:
	case strings.HasPrefix(o.ResourceVersion, "-"):
		return false, 0, apierrors.NewBadRequest("invalid resource version: " + err.Error())
	default:
		return false, 0, unspecified(err) // a server's error it is for upstream
	}
	return in.SendInitialEvents != nil && *in.SendInitialEvents, revision, nil
}

// parseRevision reads a resourceVersion; "" and "0" are 0.
func parseRevision(s string) (int64, error) {
	if s == "" || s == "0" {
		return 0, nil
	}
	v, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0, field.Invalid(field.NewPath("resourceVersion"), s, err.Error())
	}
	return int64(v), nil
}

// Watch starts a watch. An error that upstream reports within the stream is what the watcher's Next returns.
func (r *Resource) Watch(ctx context.Context, o WatchOptions) (*Watcher, error) {
	initial, revision, err := o.check()
	if err != nil {
		return nil, err
	}
	w := newWatcher(r, r.filter(o.Namespace, o.Label, o.Field))
	if err := r.reg.whenLoaded(ctx); err != nil {
		return nil, err
	}
	if err := r.live(); err != nil {
		return nil, err
	}
	switch {
	case initial && o.ResourceVersion == "":
		_, err = r.reg.Fresh(ctx)
	case initial && revision > 0:
		err = r.reg.waitAtLeast(ctx, revision)
	case !initial && o.ResourceVersion == "":
		revision, err = r.reg.current(ctx)
	}
	if err == nil {
		err = r.legible(cmp.Or(w.filter.single(), w.filter.scope()))
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		w.fail(err)
		return w, nil
	case initial:
		r.beginWithObjects(w, o.AllowBookmarks)
	case revision == 0:
		r.beginAt(w, 0)
	default:
		if !r.beginAt(w, revision) {
			r.beginInHistory(w, revision)
		}
	}
	return w, nil
}

// beginWithObjects lets the watch deliver the present objects, then the changes.
func (r *Resource) beginWithObjects(w *Watcher, bookmark bool) {
	t, f := r.table, w.filter
	t.mu.Lock()
	defer t.mu.Unlock()
	w.since = t.revision()
	w.initial = &initial{revision: w.since, bookmark: bookmark}
	if items, ok := t.find(f); ok {
		w.initial.items = items
	} else {
		w.initial.snapshot, w.initial.next = t.snapshotLocked(), f.scope()
	}
	t.watchers.enter(w)
	w.signal()
}

// find gives the items that a filter's key or index leads to; ok is false if there is neither.
// It is called with the table's lock held.
func (t *table) find(f *filter) (items []*Item, ok bool) {
	switch key := f.single(); {
	case key != "":
		if e, ok := t.entries.Get(entry{key: key}); ok {
			items = append(items, e.item)
		}
		return items, true
	case f.by >= 0:
		return t.fields[f.by].find(f.value), true
	}
	return nil, false
}

// beginAt lets the watch deliver the changes after a revision, 0 for the present one. It is false if the window
// does not reach back so far.
func (r *Resource) beginAt(w *Watcher, revision int64) bool {
	t := r.table
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.revision()
	if revision == 0 {
		revision = now
	}
	if revision < t.window.floor {
		return false
	}
	w.since = revision
	for n := t.window.after(revision); n < t.window.count; n++ {
		w.offer(t.window.nth(n))
	}
	t.watchers.enter(w)
	return true
}

// beginInHistory lets the watch deliver what the store remembers, then the changes from now on, which wait
// until then.
func (r *Resource) beginInHistory(w *Watcher, revision int64) {
	ctx, cancel := context.WithCancel(context.Background())
	w.stop, w.catching, w.room = cancel, true, make(chan struct{}, 1)
	t := r.table
	t.mu.Lock()
	w.since = t.revision()
	t.watchers.enter(w)
	t.mu.Unlock()
	go func() {
		defer cancel()
		if err := r.catchUp(ctx, w, revision); err != nil && ctx.Err() == nil {
			w.fail(err)
		}
	}()
}

// catchUp delivers the store's history after a revision up to the watch's live beginning.
func (r *Resource) catchUp(ctx context.Context, w *Watcher, revision int64) error {
	select {
	case r.reg.catchingUp <- struct{}{}:
		defer func() { <-r.reg.catchingUp }()
	case <-ctx.Done():
		return ctx.Err()
	}
	history := r.reg.store.Watch(ctx, w.filter.scope(), store.WatchOptions{From: revision + 1, Previous: true})
	// If nothing happened lately, only a report of progress tells where history ends. The store may let a question
	// drop while it still reads history, so it is asked again and again.
	ask := time.NewTicker(historyAsk)
	defer ask.Stop()
	if err := history.Progress(ctx); err != nil {
		return storeError(err, r.gr(), kind.Watch)
	}
	for {
		select {
		case batch, ok := <-history.C():
			if !ok {
				return r.historyError(history.Err(), revision)
			}
			if done, err := r.recall(ctx, w, batch); done || err != nil {
				return err
			}
		case <-ask.C:
			if err := history.Progress(ctx); err != nil {
				return storeError(err, r.gr(), kind.Watch)
			}
		}
	}
}

// catchingUpMax bounds the watches that read history at once: as many as etcd serves in one turn, of which it makes ten a
// second. Each holds a part of history in memory until its reader has taken it.
const catchingUpMax = 512

// historyAsk is how often a watch of history is asked how far it is.
const historyAsk = 20 * time.Millisecond

// recall queues a part of history; done tells that the live events can follow.
func (r *Resource) recall(ctx context.Context, w *Watcher, batch store.Batch) (done bool, err error) {
	for n := range batch.Events {
		e := &batch.Events[n]
		if e.Revision > w.since {
			w.caughtUp()
			return true, nil
		}
		c, err := r.past(e)
		if err == nil {
			err = w.remember(ctx, c)
		}
		if err != nil {
			return false, err
		}
	}
	if batch.Revision >= w.since {
		w.caughtUp()
		return true, nil
	}
	return false, nil
}

func (r *Resource) historyError(err error, revision int64) error {
	if errors.Is(err, store.ErrCompacted) {
		return expiredWatch(revision, r.table.floor())
	}
	if err == nil {
		err = store.ErrUnavailable
	}
	return storeError(fmt.Errorf("history: %w", err), r.gr(), "watch")
}

func (t *table) floor() int64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.window.floor
}

// past makes a change of an event of the store's history.
func (r *Resource) past(e *store.Event) (*change, error) {
	c := &change{revision: e.Revision}
	if !r.table.well(e.Key) {
		return c, nil
	}
	var bad *unreadable
	if !e.Deleted {
		c.new, bad = r.reg.read(r.table, &e.Entry)
	}
	if e.Prev != nil && bad == nil {
		c.old, bad = r.reg.read(r.table, e.Prev)
	}
	if bad != nil {
		return nil, r.unreadablePast(e.Key, bad)
	}
	return c, nil
}

// remember queues a change of the past before the live ones, and waits while the reader is slow.
func (w *Watcher) remember(ctx context.Context, c *change) error {
	since := w.since
	w.mu.Lock()
	for w.err == nil && len(w.queue) >= watchQueue/2 {
		w.mu.Unlock()
		select {
		case <-w.room:
		case <-ctx.Done():
			return ctx.Err()
		}
		w.mu.Lock()
	}
	w.mu.Unlock()
	sub := Watcher{r: w.r, filter: w.filter, wake: w.wake}
	sub.offer(c)
	if len(sub.queue) == 0 || c.revision > since {
		return nil
	}
	w.mu.Lock()
	w.queue = append(w.queue, sub.queue...)
	w.mu.Unlock()
	w.signal()
	return nil
}

// caughtUp lets the live events follow.
func (w *Watcher) caughtUp() {
	w.mu.Lock()
	w.queue = append(w.queue, w.held...)
	w.held, w.catching = nil, false
	w.mu.Unlock()
	w.signal()
}
