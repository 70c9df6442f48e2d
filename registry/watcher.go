package registry

import (
	"context"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/watch"
)

const (
	// watchQueue is the number of events that may wait for one watcher; one more ends the watch.
	watchQueue = 10000
	// initialChunk is the number of initial events that are delivered at once.
	initialChunk = 512
)

// Event is one event of a watch. A bookmark has no Item.
type Event struct {
	Type     watch.EventType
	Item     *Item // for Deleted: the last state, at the revision of the deletion
	Revision int64
	// InitialEnd marks the bookmark that ends the initial events.
	InitialEnd bool
}

// Watcher is a running watch. One goroutine at a time may call Next, Take and Bookmark.
//
// The mirror's goroutine puts events into the queue; nothing runs for a watcher that has no events.
type Watcher struct {
	r      *Resource
	filter *filter
	// since: changes up to this revision are not delivered from the queue. Set before the watcher is entered.
	since int64
	in    bucketEntry
	// initial events, until they have been delivered. Only the reader uses it.
	initial *initial
	// stop ends the catching up with the store's history, if there is one.
	stop context.CancelFunc
	wake chan struct{}
	// room tells the catching up that events have been taken.
	room chan struct{}

	mu sync.Mutex // guards everything below
	// queue of events to deliver; spare is the buffer of the last delivery.
	queue, spare []Event
	// held are live events that wait until the history before them has been delivered.
	held     []Event
	catching bool
	// err ends the watch, before anything that is still in the queue.
	err error
	// delivered is the revision of the last event that Take gave.
	delivered int64
}

func newWatcher(r *Resource, f *filter) *Watcher {
	return &Watcher{r: r, filter: f, wake: make(chan struct{}, 1)}
}

// offer puts a change into the queue if the watcher is to see it. It is called with the table's lock held.
func (w *Watcher) offer(c *change) {
	if c.revision <= w.since {
		return
	}
	f := w.filter
	was := c.old != nil && (!f.selects() && f.namespace == "" || f.matches(c.old))
	is := c.new != nil && (!f.selects() && f.namespace == "" || f.matches(c.new))
	switch {
	case is && !was:
		w.push(Event{Type: watch.Added, Item: c.new, Revision: c.revision})
	case is:
		w.push(Event{Type: watch.Modified, Item: c.new, Revision: c.revision})
	case was:
		w.push(Event{Type: watch.Deleted, Item: c.gone(), Revision: c.revision})
	}
}

func (w *Watcher) push(e Event) {
	w.mu.Lock()
	switch {
	case w.err != nil:
		w.mu.Unlock()
		return
	case len(w.queue)+len(w.held) >= watchQueue:
		w.err = apierrors.NewResourceExpired("the watch was too slow: too many events were waiting")
		w.queue, w.held, w.spare = nil, nil, nil
	case w.catching:
		w.held = append(w.held, e)
		w.mu.Unlock()
		return
	default:
		w.queue = append(w.queue, e)
	}
	w.mu.Unlock()
	w.signal()
}

func (w *Watcher) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// fail ends the watch with an error that the client is to get.
func (w *Watcher) fail(err error) {
	w.mu.Lock()
	if w.err == nil {
		w.err = err
	}
	w.mu.Unlock()
	w.signal()
}

// Ready tells when Take may have something. It is for callers that also wait for other things: they call Take until
// it gives nothing, then wait for Ready among the others.
func (w *Watcher) Ready() <-chan struct{} { return w.wake }

// Take gives what is there, perhaps nothing. The slice is valid until the next call.
// The error is a StatusError that the client is to get as an ERROR event.
func (w *Watcher) Take() ([]Event, error) {
	if w.initial != nil {
		if events := w.takeInitial(); len(events) > 0 {
			return events, nil
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return nil, w.err
	}
	events := w.queue
	if len(events) == 0 {
		return nil, nil
	}
	clear(w.spare)
	w.queue, w.spare = w.spare[:0], events
	w.delivered = events[len(events)-1].Revision
	if w.room != nil {
		select {
		case w.room <- struct{}{}:
		default:
		}
	}
	if w.r.via != nil {
		for n := range events {
			events[n].Item = w.r.served(events[n].Item)
		}
	}
	return events, nil
}

// Next waits for further events; it returns at least one, or an error: the context's, or a StatusError
// (410 Expired when the watcher was too slow or too old) that the client is to get as an ERROR event.
// The slice is valid until the next call.
func (w *Watcher) Next(ctx context.Context) ([]Event, error) {
	for {
		events, err := w.Take()
		if err != nil || len(events) > 0 {
			return events, err
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Bookmark is a bookmark for the revision up to which the watcher has delivered everything. ok is false while
// initial events or history are still to come.
func (w *Watcher) Bookmark() (e Event, ok bool) {
	// Everything up to the applied revision has been offered before it was published.
	applied := w.r.reg.Applied()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.initial != nil || w.catching || w.err != nil {
		return Event{}, false
	}
	e = Event{Type: watch.Bookmark, Revision: max(w.delivered, w.since)}
	if len(w.queue) == 0 {
		e.Revision = max(e.Revision, applied)
	}
	return e, e.Revision > 0
}

// Stop ends the watch.
func (w *Watcher) Stop() {
	t := w.r.table
	t.mu.Lock()
	t.watchers.leave(w)
	t.mu.Unlock()
	if w.stop != nil {
		w.stop()
	}
	w.fail(context.Canceled)
}

// initial is what a watch delivers before the changes: the objects of one snapshot.
type initial struct {
	// items are the objects, if an index has found them; else they are read from the snapshot.
	items    []*Item
	snapshot *snapshot
	next     string
	revision int64
	// bookmark tells that a bookmark ends the initial events.
	bookmark bool
}

// takeInitial gives the next initial events; none after the last.
func (w *Watcher) takeInitial() []Event {
	in := w.initial
	events := make([]Event, 0, min(initialChunk, max(len(in.items), 16)))
	more := false
	add := func(i *Item) bool {
		if len(events) == initialChunk {
			more = true
			in.next = i.key
			return false
		}
		if w.filter.matches(i) {
			events = append(events, Event{Type: watch.Added, Item: w.r.served(i), Revision: i.revision})
		}
		return true
	}
	if in.snapshot != nil {
		in.snapshot.ascend(w.filter.scope(), in.next, add)
	} else {
		for n, i := range in.items {
			if !add(i) {
				in.items = in.items[n:]
				break
			}
		}
	}
	if more {
		return events
	}
	if in.bookmark {
		events = append(events, Event{Type: watch.Bookmark, Revision: in.revision, InitialEnd: true})
	}
	w.mu.Lock()
	w.initial = nil
	w.mu.Unlock()
	return events
}
