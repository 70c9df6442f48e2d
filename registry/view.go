package registry

import (
	"context"
	"iter"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// Peek is the object in the mirror now, without waiting; nil if there is none.
func (r *Resource) Peek(namespace, name string) *Item {
	return r.served(r.table.get(r.key(namespace, name)))
}

// All yields the mirror's objects of a namespace ("" for all) in key order, from one snapshot.
func (r *Resource) All(namespace string) iter.Seq[*Item] {
	return func(yield func(*Item) bool) {
		scope := r.filter(namespace, nil, nil).scope()
		s, _ := r.table.snapshot()
		s.ascend(scope, scope, func(i *Item) bool { return yield(r.served(i)) })
	}
}

// OwnedBy yields the objects that name the uid in metadata.ownerReferences.
func (r *Resource) OwnedBy(uid types.UID) iter.Seq[*Item] {
	return func(yield func(*Item) bool) {
		r.table.mu.RLock()
		items := r.table.owners.find(string(uid))
		r.table.mu.RUnlock()
		r.each(items, yield)
	}
}

// ByField yields the objects whose indexed field has the value. A field without an index finds the same by
// looking at every object.
func (r *Resource) ByField(name, value string) iter.Seq[*Item] {
	return func(yield func(*Item) bool) {
		if r.via == nil {
			for n := range r.table.fields {
				if x := &r.table.fields[n]; x.name == name {
					r.table.mu.RLock()
					items := x.find(value)
					r.table.mu.RUnlock()
					r.each(items, yield)
					return
				}
			}
		}
		for i := range r.All("") {
			if (itemFields{r, i}).Get(name) == value && !yield(i) {
				return
			}
		}
	}
}

func (r *Resource) each(items []*Item, yield func(*Item) bool) {
	for _, i := range items {
		if !yield(r.served(i)) {
			return
		}
	}
}

// Len is the number of objects in the mirror.
func (r *Resource) Len() int {
	r.table.mu.RLock()
	defer r.table.mu.RUnlock()
	return r.table.entries.Len()
}

// Delta is one change of the mirror: Old is nil for a new object, New for a removed one.
type Delta struct {
	Old, New *Item
	Revision int64
}

// Subscribe calls f with every object that exists (Old nil), perhaps none, then with every change in order, until ctx ends or the
// kind is served no more, and returns then. f sees the mirror at the change's revision or later; calls do not overlap; f must not block for
// long, because what it has not taken yet waits in memory.
func (r *Resource) Subscribe(ctx context.Context, f func([]Delta)) {
	if r.reg.whenLoaded(ctx) != nil {
		return
	}
	s := &subscription{r: r, wake: make(chan struct{}, 1)}
	t := r.table
	t.mu.Lock()
	present := t.snapshotLocked()
	t.watchers.subscribe(s)
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.watchers.unsubscribe(s)
	}()
	var deltas []Delta
	present.ascend(t.prefix, t.prefix, func(i *Item) bool {
		deltas = append(deltas, Delta{New: r.served(i), Revision: i.revision})
		return true
	})
	present = nil
	more := true
	for first := true; ctx.Err() == nil; first = false {
		if first || len(deltas) > 0 {
			f(deltas)
		}
		if !more {
			return
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return
		}
		var changes []*change
		changes, more = s.take()
		deltas = nil
		for _, c := range changes {
			deltas = append(deltas, Delta{Old: r.served(c.old), New: r.served(c.new), Revision: c.revision})
		}
	}
}

// subscription is a queue of changes for a caller in this process, which must not miss any.
type subscription struct {
	r     *Resource
	wake  chan struct{}
	mu    sync.Mutex
	queue []*change // guarded by mu
	over  bool      // no more will come; guarded by mu
}

func (s *subscription) push(c *change) {
	s.mu.Lock()
	s.queue = append(s.queue, c)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// close lets the subscription end when everything has been taken.
func (s *subscription) close() {
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// take gives the changes that are there, and whether more may come.
func (s *subscription) take() (changes []*change, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	changes, s.queue = s.queue, nil
	return changes, !s.over
}
