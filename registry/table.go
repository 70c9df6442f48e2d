package registry

import (
	"math"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/btree"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// table is the mirror of one kind's objects: everything that is known under one key prefix.
//
// Only the mirror's own goroutine (Run) changes it, with mu held for writing; so it reads without a lock.
// Readers hold mu for the moment that they need to find an item, to collect a few, or to take a snapshot.
type table struct {
	*layout
	// applied is the registry's applied revision, or that at which the table ended. Changed with mu held.
	applied func() int64
	// ttl after which the store drops the objects; 0 means never.
	ttl time.Duration
	// pending are the updates of the batch that is being applied; only the mirror's goroutine uses it.
	pending []update
	// ended tells why the table is not kept up to date any more; nil while it is. Set with mu held.
	ended atomic.Pointer[error]

	mu sync.RWMutex // guards everything below
	// entries are the objects.
	entries *btree.BTreeG[entry]
	// last is the revision of the newest change in entries. Invariant: they are exactly the store's content at every
	// revision from last up to the registry's applied revision.
	last int64
	// now is the snapshot of entries, nil until somebody asks for it after a change.
	now *snapshot
	// kept are former snapshots that a list will come back to for further pages; superseded are the bytes of all objects that
	// have been replaced or removed.
	kept       []*snapshot
	superseded int64

	namespaces map[string]int // number of objects by namespace
	owners     index
	fields     []fieldIndex
	window     window
	watchers   watchers
	bytes      int64 // of all stored values

	// unreadable are the keys whose values cannot be read; unreadableCount is their number.
	unreadable      map[string]unreadable
	unreadableCount atomic.Int64 // changed with mu held
	// failures counts the values that could not be read since the start.
	failures atomic.Int64
}

// snapshot is the table at the revisions from..to. It never changes, except that to is set when the table goes on.
type snapshot struct {
	entries  *btree.BTreeG[entry]
	from, to int64
	// keep until; zero if nobody will come back. since is the table's superseded when it was first kept.
	until time.Time
	since int64
	// remaining objects from where a page begins, guarded by the table's lock.
	remaining map[pageStart]int64
}

func newTable(info *kind.Kind, applied func() int64) *table {
	f := newLayout(info, info)
	fields := newFieldIndexes(f)
	return &table{
		layout: f, applied: applied, ttl: info.TTL, entries: newEntries(f.prefix), namespaces: map[string]int{},
		owners: newIndex(), fields: fields, watchers: newWatchers(len(fields)),
	}
}

// revision at which the table stands. It is called with mu held (for reading at least).
func (t *table) revision() int64 { return max(t.applied(), t.last) }

// get finds one item.
func (t *table) get(key string) *Item {
	t.mu.RLock()
	defer t.mu.RUnlock()
	e, _ := t.entries.Get(entry{key: key})
	return e.item
}

// snapshot is the table now, and its revision.
func (t *table) snapshot() (*snapshot, int64) {
	t.mu.RLock()
	s, revision := t.now, t.revision()
	t.mu.RUnlock()
	if s != nil {
		return s, revision
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.snapshotLocked(), t.revision()
}

// snapshotLocked is called with mu held for writing.
func (t *table) snapshotLocked() *snapshot {
	if t.now == nil {
		t.now = &snapshot{entries: t.entries.Clone(), from: t.last, to: math.MaxInt64}
	}
	return t.now
}

// snapshotAt is the snapshot that shows the table at a past revision, nil if there is none any more.
func (t *table) snapshotAt(revision int64) *snapshot {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last <= revision && revision <= t.revision() {
		return t.snapshotLocked()
	}
	for _, s := range t.kept {
		if s.from <= revision && revision <= s.to {
			return s
		}
	}
	return nil
}

// update is what the mirror does to a table: one key's new item, or nil.
type update struct {
	key      string
	item     *Item
	revision int64
}

// apply makes changes in order and tells the watchers. The caller is the mirror's goroutine.
func (t *table) apply(updates []update, now time.Time) {
	t.warmAll(updates)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.applyLocked(updates, now)
}

// warmAll is for what is about to be applied. It is called without the lock: it may have to decode.
func (t *table) warmAll(updates []update) {
	for _, u := range updates {
		if u.item != nil {
			t.warmUp(u.item)
		}
	}
}

// applyLocked is called with mu held for writing.
func (t *table) applyLocked(updates []update, now time.Time) {
	for _, u := range updates {
		if c := t.change(u, now); c != nil {
			t.window.add(c)
			t.watchers.dispatch(t, c)
		}
	}
	t.expire(now)
}

// applyPending makes the changes of the batch that is being applied so far. The caller is the mirror's goroutine.
func (t *table) applyPending(now time.Time) {
	t.apply(t.pending, now)
	clear(t.pending)
	t.pending = t.pending[:0]
}

// warmUp decodes an item whose indexed fields cannot be read from its bytes. Of an object that is not kept it holds the values of all fields:
// watchers ask for them while they hold the lock, and lists ask all items.
func (t *table) warmUp(i *Item) {
	if !t.Keeps() {
		if i.fields == nil && len(t.info.Fields) > 0 {
			i.fields = t.fieldsOf(i.Object())
		}
		return
	}
	for n := range t.fields {
		if t.fields[n].read == nil || !i.value.Readable() {
			i.Object()
		}
	}
}

// change makes one update; nil if there was nothing to change. It is called with mu held for writing.
func (t *table) change(u update, now time.Time) *change {
	before, existed := t.entries.Get(entry{key: u.key})
	c := &change{old: before.item, new: u.item, revision: u.revision, at: now}
	if !existed && u.item == nil {
		t.advance(u.revision)
		return nil
	}
	t.advance(u.revision)
	if existed {
		t.unindex(before.item, u.item)
	}
	if u.item == nil {
		t.entries.Delete(entry{key: u.key})
		return c
	}
	u.item.hot.Store(true)
	// Old and new key are equal: the table keeps the new string, which the store's message need not outlive.
	t.entries.ReplaceOrInsert(entry{key: u.item.key, item: u.item})
	t.index(u.item)
	return c
}

// advance ends the present snapshot before the table goes on to a revision.
func (t *table) advance(revision int64) {
	if t.now != nil {
		t.now.to = revision - 1
		t.now = nil
	}
	t.last = revision
}

func (t *table) index(i *Item) {
	for _, uid := range owners(i) {
		t.owners.set(string(uid), i)
	}
	for n := range t.fields {
		t.fields[n].set(t.fields[n].value(i), i)
	}
	if t.info.Namespaced {
		t.namespaces[i.Namespace()]++
	}
	t.bytes += int64(len(i.value.Bytes))
}

// unindex takes an item out of the indexes; what next will overwrite in place is left.
func (t *table) unindex(i, next *Item) {
	for _, uid := range owners(i) {
		t.owners.unset(string(uid), i)
	}
	for n := range t.fields {
		f := &t.fields[n]
		if value := f.value(i); next == nil || f.value(next) != value {
			f.unset(value, i)
		}
	}
	if t.info.Namespaced {
		namespace := i.Namespace()
		if t.namespaces[namespace]--; t.namespaces[namespace] == 0 {
			delete(t.namespaces, namespace)
		}
	}
	t.bytes -= int64(len(i.value.Bytes))
	t.superseded += int64(len(i.value.Bytes))
}

// fill is the first load of a table: items in key order.
func (t *table) fill(items []*Item, revision int64) {
	for _, i := range items {
		t.warmUp(i)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, i := range items {
		t.entries.ReplaceOrInsert(entry{key: i.key, item: i})
		t.index(i)
	}
	// What went after the newest item was written cannot be seen: the entries are known to be right at this revision only.
	t.now, t.last = nil, revision
	t.window.reset(revision)
}

// turnBack ends all watches and forgets all snapshots, because the store's revisions start over.
func (t *table) turnBack(revision int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.watchers.expire(revision)
	t.kept, t.now, t.last = nil, nil, revision
}

// replace brings the table to the items that a reload found, as changes for its watchers. The changes in between
// are not known, so the window begins anew.
//
// When an object was deleted, or left a selector, is not known either. A watcher that saw a later change first, and broke off before it was
// told of that, would go on after it and show the object for ever. So watches end when anything has changed, as upstream's do whenever its
// cache is filled anew; their clients go on from what they saw before all this. Subscriptions of the process get all changes at once.
func (t *table) replace(items []*Item, revision int64, now time.Time) {
	var updates []update
	n := 0
	t.entries.Ascend(func(e entry) bool {
		for n < len(items) && items[n].key < e.key {
			updates = append(updates, update{items[n].key, items[n], items[n].revision})
			n++
		}
		if n == len(items) || items[n].key != e.key {
			updates = append(updates, update{e.key, nil, revision})
			return true
		}
		if next := items[n]; next.revision != e.item.revision {
			if uidOf(next) != uidOf(e.item) {
				updates = append(updates, update{e.key, nil, next.revision - 1})
			}
			updates = append(updates, update{e.key, next, next.revision})
		}
		n++
		return true
	})
	for ; n < len(items); n++ {
		updates = append(updates, update{items[n].key, items[n], items[n].revision})
	}
	sort.SliceStable(updates, func(a, b int) bool { return updates[a].revision < updates[b].revision })
	t.warmAll(updates)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.now != nil { // it shows nothing of what came later, whenever the first change was
		t.now.to, t.now = t.revision(), nil
	}
	if len(updates) > 0 {
		t.watchers.expire(revision)
	}
	t.applyLocked(updates, now)
	t.window.reset(revision)
	t.last = max(t.last, revision)
}
