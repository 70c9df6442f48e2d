package registry

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// loadPage is the number of keys that are read at once when the mirror loads.
const loadPage = 2000

// Pauses between attempts to reach the store.
const (
	pauseMin = 10 * time.Millisecond
	pauseMax = 2 * time.Second
)

// Run loads the mirror and keeps it up to date by one watch over all keys, until ctx ends.
// It returns nil then, or an error if the store has been closed.
func (r *Registry) Run(ctx context.Context) error {
	r.life = ctx
	defer close(r.over)
	reload := true
	pause := pauseMin
	for {
		before := r.Applied()
		err := r.follow(ctx, reload)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, store.ErrClosed):
			return err
		}
		// A watch that broke is taken up where it ended; only lost history needs everything anew.
		asked := r.again.Swap(false)
		reload = asked || !r.loaded() || errors.Is(err, store.ErrCompacted) || errors.Is(err, store.ErrFutureRevision)
		if r.Applied() > before {
			pause = pauseMin
		}
		if asked {
			continue
		}
		r.log.Warn("the registry's watch of the store ended", "error", err, "revision", r.Applied(), "reload", reload)
		select {
		case <-time.After(pause + rand.N(pause)):
		case <-ctx.Done():
			return nil
		}
		pause = min(2*pause, pauseMax)
	}
}

// follow applies the store's changes, after a reload if asked, until the watch ends.
func (r *Registry) follow(ctx context.Context, reload bool) error {
	if reload {
		if err := r.load(ctx); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.cancelWatch.Store(&cancel)
	// It begins with the last revision that is applied already: etcd reports no progress of a watch that begins in the
	// future, and readers would wait until somebody writes.
	watch := r.store.Watch(ctx, Root, store.WatchOptions{From: max(r.Applied(), 1)})
	r.watch.Store(&watch)
	defer r.watch.Store(nil)
	if r.waiting.count.Load() > 0 {
		r.nudge(ctx)
	}
	for {
		select {
		case batch, ok := <-watch.C():
			if !ok {
				return watch.Err()
			}
			r.applyBatch(batch)
		case errand := <-r.errands:
			errand()
		}
	}
}

// applyBatch brings every table that a batch touches to the batch's revision, then publishes the revision.
func (r *Registry) applyBatch(batch store.Batch) {
	applied := r.Applied()
	now := r.now()
	kinds := r.kinds.Load()
	var touched []*table // in order of first change; nearly always one
	var t *table
	for n := range batch.Events {
		e := &batch.Events[n]
		if e.Revision <= applied {
			continue
		}
		for _, a := range kinds.arriving {
			a.note(e)
		}
		if t == nil || !strings.HasPrefix(e.Key, t.prefix) {
			t = kinds.route(e.Key)
		}
		if t == nil || !t.well(e.Key) {
			r.note(e)
			continue
		}
		if r.collect(t, e, now) && len(t.pending) == 1 {
			touched = append(touched, t)
		}
	}
	for _, t := range touched {
		t.applyPending(now)
	}
	if len(kinds.arriving) > 0 {
		r.forget(kinds)
	}
	if batch.Revision > applied {
		r.advance(batch.Revision)
		r.passed(batch.Revision, now)
	}
}

// collect adds an event to the table's pending updates. An event that cannot be read takes effect at once instead, after them.
func (r *Registry) collect(t *table, e *store.Event, now time.Time) bool {
	u, bad := r.updateOf(t, e)
	if bad != nil {
		t.applyPending(now) // what came before it
		r.hide(t, e.Key, *bad)
		return false
	}
	if t.unreadableCount.Load() > 0 {
		t.show(e.Key)
	}
	t.pending = append(t.pending, u)
	return true
}

// load reads everything at one revision. The first time it fills the tables; later it brings them up to date with
// the changes that this takes.
func (r *Registry) load(ctx context.Context) error {
	kinds := r.kinds.Load()
	found, unexplained, revision, err := r.readAll(ctx, kinds)
	if err != nil {
		return err
	}
	r.strays.replace(unexplained)
	if r.strays.anySealed() {
		r.startUnsealing()
	}
	again := r.loaded()
	now := r.now()
	for _, a := range kinds.arriving {
		a.stale = true // what changed meanwhile is not known
	}
	for _, t := range kinds.tables {
		c := found[t]
		if c == nil {
			c = &contents{}
		}
		unsealed := r.hideAll(t, c.hidden)
		switch {
		case !again:
			t.fill(c.items, revision)
		case revision < r.Applied() || unsealed:
			// The store went back in time (it was restored), or old changes become readable only now: no watcher can go on
			// from where it is.
			r.horizon.reset()
			t.turnBack(revision)
			t.replace(c.items, revision, now)
		default:
			t.replace(c.items, revision, now)
		}
	}
	r.outstanding.drop(revision)
	r.advance(revision)
	r.passed(revision, now)
	if !again {
		close(r.ready)
	}
	return nil
}

// readAll reads everything at one revision, by tables, and what belongs to none.
func (r *Registry) readAll(ctx context.Context, kinds *kinds) (found map[*table]*contents, unexplained *strays, revision int64, err error) {
	found, unexplained = map[*table]*contents{}, newStrays()
	for o := (store.ListOptions{Limit: loadPage}); ; {
		page, err := r.store.List(ctx, Root, o)
		if err != nil {
			return nil, nil, 0, err
		}
		revision = page.Revision
		for n := range page.Entries {
			e := &page.Entries[n]
			t := kinds.route(e.Key)
			if t == nil || !t.well(e.Key) {
				unexplained.put(e.Key, strayOf(e))
				continue
			}
			if found[t] == nil {
				found[t] = &contents{hidden: map[string]unreadable{}}
			}
			r.sort(t, e, found[t])
		}
		if !page.More || len(page.Entries) == 0 {
			return found, unexplained, revision, nil
		}
		o.Revision = revision
		o.From = page.Entries[len(page.Entries)-1].Key + "\x00"
	}
}

// contents is what the store holds below a table's prefix: items in the order of their keys, and what cannot be read, by key.
type contents struct {
	items  []*Item
	hidden map[string]unreadable
}

// sort adds what the store delivered to a table's contents.
func (r *Registry) sort(t *table, e *store.Entry, c *contents) {
	i, bad := r.read(t, e)
	if bad != nil {
		c.hidden[e.Key] = *bad
		i = t.get(e.Key) // its last readable state stays
	}
	if i != nil {
		c.items = append(c.items, i)
	}
}

// read makes an item of what the store delivered, or tells why that cannot be read.
func (r *Registry) read(t *table, e *store.Entry) (*Item, *unreadable) {
	if e.Sealed != nil {
		return nil, &unreadable{err: e.Sealed, revision: e.Revision, sealed: true, stray: strayOf(e)}
	}
	i, err := t.examine(e.Key, e.Value, e.Revision)
	if err != nil {
		return nil, &unreadable{err: err, revision: e.Revision, stray: strayOf(e)}
	}
	return i, nil
}

// updateOf makes an update of a store's event, or tells why that cannot be read.
func (r *Registry) updateOf(t *table, e *store.Event) (update, *unreadable) {
	u := update{key: e.Key, revision: e.Revision}
	if e.Deleted {
		return u, nil
	}
	if e.Sealed == nil {
		u.item = r.outstanding.take(e.Key, e.Value, e.Revision)
		if u.item != nil && u.item.layout != t.layout {
			u.item = nil // written in the layout that the kind had before
		}
	}
	var bad *unreadable
	if u.item == nil {
		u.item, bad = r.read(t, &e.Entry)
	}
	return u, bad
}
