package registry

import (
	"sort"
	"sync/atomic"
	"time"
)

// Bounds of a table's window of recent changes.
const (
	windowMin   = 100
	windowMax   = 10000
	windowBytes = 16 << 20
	// windowAge is how long a change is kept beyond windowMin: longer than a client needs to reconnect.
	windowAge = 75 * time.Second
	// windowHot is the number of newest changes whose JSON and decoded former state are kept for slower watchers.
	windowHot = 2048
)

// change is one change of one object. Old is nil for a new object, new for a removed one.
type change struct {
	old, new *Item
	revision int64
	at       time.Time

	last atomic.Pointer[Item]
}

// gone is the last state, at the revision of the change: what a watcher gets when the object has been deleted or
// has left its selector. All watchers share it.
func (c *change) gone() *Item {
	if i := c.last.Load(); i != nil {
		return i
	}
	i := c.old.at(c.revision)
	i.hot.Store(true)
	if !c.last.CompareAndSwap(nil, i) {
		return c.last.Load()
	}
	return i
}

// item is the object that the change is about.
func (c *change) item() *Item {
	if c.new != nil {
		return c.new
	}
	return c.old
}

func (c *change) size() int {
	if c.new != nil {
		return len(c.new.value.Bytes)
	}
	return 0
}

// window holds a table's recent changes, so that a watch can begin a little in the past.
// It is guarded by its table's lock.
type window struct {
	// floor: every change after this revision is in the window.
	floor int64
	// ring of changes: count of them from first on.
	ring         []*change
	first, count int
	bytes        int
	// warm changes are those that have been cooled neither by age nor by number: the newest of the ring.
	warm int
}

func (w *window) nth(n int) *change { return w.ring[(w.first+n)%len(w.ring)] }

// add appends a change and lets go of those that are too many, too large or too old.
func (w *window) add(c *change) {
	if w.count == len(w.ring) {
		w.grow()
	}
	w.ring[(w.first+w.count)%len(w.ring)] = c
	w.count++
	w.bytes += c.size()
	if w.warm++; w.warm > windowHot {
		w.warm--
		w.nth(w.count - w.warm - 1).cool()
	}
	for w.count > windowMin {
		oldest := w.nth(0)
		if w.count <= windowMax && w.bytes <= windowBytes && c.at.Sub(oldest.at) < windowAge {
			break
		}
		w.drop()
	}
}

func (w *window) grow() {
	ring := make([]*change, max(windowMin, 2*len(w.ring)))
	for n := range w.count {
		ring[n] = w.nth(n)
	}
	w.ring, w.first = ring, 0
}

func (w *window) drop() {
	oldest := w.nth(0)
	if w.warm == w.count {
		oldest.cool()
		w.warm--
	}
	w.floor = oldest.revision
	w.bytes -= oldest.size()
	w.ring[w.first] = nil
	w.first = (w.first + 1) % len(w.ring)
	w.count--
}

// reset empties the window: changes up to floor may be missing.
func (w *window) reset(floor int64) {
	for w.count > 0 {
		w.drop()
	}
	w.floor = floor
}

// after gives the position of the first change after a revision.
func (w *window) after(revision int64) int {
	return sort.Search(w.count, func(n int) bool { return w.nth(n).revision > revision })
}

// cool drops what was kept for watchers only.
func (c *change) cool() {
	if c.old != nil {
		c.old.cool(false)
	}
	if c.new != nil {
		c.new.cool(true)
	}
	if last := c.last.Load(); last != nil {
		last.cool(false)
	}
}
