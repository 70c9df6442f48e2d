package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// mirror is the View of one kind of a remote server: a reflector writes it, everybody reads it.
type mirror struct {
	info   *kind.Kind
	synced chan struct{}
	// ended is closed when another definition has taken the kind's place. The view shows nothing then, and never will.
	ended chan struct{}
	// stop ends the reflector; nil if there is none.
	stop context.CancelFunc
	// again asks the reflector to list anew, for those in waiters.
	again chan struct{}

	mu          sync.RWMutex // guards all below
	byNamespace map[string]map[string]kind.Object
	byOwner     map[types.UID]objects
	byField     map[fieldValue]objects
	length      int
	applied     int64
	complete    bool
	// trouble is why the server cannot show all objects, since it last did.
	trouble error
	// awaited are revisions that were written through this transport and are above applied.
	awaited     []int64
	advanced    chan struct{} // closed and replaced when applied grows
	waiters     []chan error  // each is answered by a listing that began after it was put here; it has room for the answer
	subscribers map[*subscriber]struct{}
}

type (
	objectKey  struct{ namespace, name string }
	objects    map[objectKey]kind.Object
	fieldValue struct{ field, value string }
)

func newMirror(k *kind.Kind) *mirror {
	return &mirror{
		info: k, synced: make(chan struct{}), ended: make(chan struct{}), again: make(chan struct{}, 1), advanced: make(chan struct{}),
		byNamespace: map[string]map[string]kind.Object{}, byOwner: map[types.UID]objects{}, byField: map[fieldValue]objects{},
		subscribers: map[*subscriber]struct{}{},
	}
}

func (m *mirror) Get(namespace, name string) (kind.Object, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	o, ok := m.byNamespace[namespace][name]
	return o, ok
}

func (m *mirror) All(namespace string) iter.Seq[kind.Object] {
	return func(yield func(kind.Object) bool) {
		for _, o := range m.snapshot(namespace) {
			if !yield(o) {
				return
			}
		}
	}
}

// snapshot copies the list, so that no lock is held while a reader looks at it.
func (m *mirror) snapshot(namespace string) []kind.Object {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if namespace != "" {
		return appendValues(nil, m.byNamespace[namespace])
	}
	all := make([]kind.Object, 0, m.length)
	for _, in := range m.byNamespace {
		all = appendValues(all, in)
	}
	return all
}

func (m *mirror) OwnedBy(uid types.UID) iter.Seq[kind.Object] {
	return m.indexed(func() objects { return m.byOwner[uid] })
}

func (m *mirror) ByField(name, value string) iter.Seq[kind.Object] {
	return m.indexed(func() objects { return m.byField[fieldValue{name, value}] })
}

func (m *mirror) indexed(find func() objects) iter.Seq[kind.Object] {
	return func(yield func(kind.Object) bool) {
		m.mu.RLock()
		found := appendValues(nil, find())
		m.mu.RUnlock()
		for _, o := range found {
			if !yield(o) {
				return
			}
		}
	}
}

func appendValues[K comparable](list []kind.Object, of map[K]kind.Object) []kind.Object {
	for _, o := range of {
		list = append(list, o)
	}
	return list
}

func (m *mirror) Len() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.length
}

func (m *mirror) Synced() <-chan struct{} { return m.synced }

func (m *mirror) reached() int64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.applied
}

// await notes a revision that the view will reach, because it was written.
func (m *mirror) await(revision int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.overLocked() {
		return
	}
	if revision > m.applied {
		m.awaited = append(m.awaited, revision)
	}
}

// waitForWrites waits until the view has reached every awaited revision up to the given one.
func (m *mirror) waitForWrites(ctx context.Context, revision int64) error {
	for {
		m.mu.RLock()
		waiting := false
		for _, r := range m.awaited {
			waiting = waiting || r <= revision
		}
		advanced := m.advanced
		m.mu.RUnlock()
		if !waiting {
			return nil
		}
		select {
		case <-advanced:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// refresh waits for a listing that begins from now on.
func (m *mirror) refresh(ctx context.Context) error {
	// It waits before it asks: a listing takes on all who wait when it begins, and one that has begun before does not count.
	done := make(chan error, 1)
	m.mu.Lock()
	m.waiters = append(m.waiters, done)
	m.mu.Unlock()
	select {
	case m.again <- struct{}{}:
	default: // it is asked for already
	}
	select {
	case err := <-done:
		return err
	case <-m.ended:
		return notServed(m.info)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// takeWaiters gives those who wait for a listing to the one that begins now.
func (m *mirror) takeWaiters() []chan error {
	m.mu.Lock()
	defer m.mu.Unlock()
	waiters := m.waiters
	m.waiters = nil
	return waiters
}

// giveBack takes them back from a listing that failed.
func (m *mirror) giveBack(waiters []chan error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waiters = append(m.waiters, waiters...)
}

// end makes the view one of a kind that is not served any more. Nobody is told that its objects have gone: nobody knows.
func (m *mirror) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.byNamespace, m.byOwner, m.byField, m.length = map[string]map[string]kind.Object{}, map[types.UID]objects{}, map[fieldValue]objects{}, 0
	m.trouble, m.awaited = notServed(m.info), nil
	if m.stop != nil {
		m.stop()
	}
	close(m.ended)
	close(m.advanced) // nobody waits any more
	m.advanced = make(chan struct{})
}

// overLocked tells that the view has ended; what its reflector still brings is not taken in.
func (m *mirror) overLocked() bool {
	select {
	case <-m.ended:
		return true
	default:
		return false
	}
}

func notServed(k *kind.Kind) error { return fmt.Errorf("%s: %w", k.GR(), ErrNotServed) }

// apply makes one change: o is the new state, or the last one when removed.
func (m *mirror) apply(o kind.Object, removed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.overLocked() {
		return
	}
	revision := Revision(o)
	if old := m.byNamespace[o.GetNamespace()][o.GetName()]; old != nil || !removed {
		d := Delta{Old: old, New: o, Revision: revision}
		if removed {
			d.New = nil
		}
		m.change(d)
		m.publish([]Delta{d})
	}
	m.advance(revision)
}

// replace makes the view hold exactly what a listing at the revision found.
func (m *mirror) replace(listed objects, revision int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.overLocked() {
		return
	}
	var deltas []Delta
	for namespace, in := range m.byNamespace {
		for name, old := range in {
			if listed[objectKey{namespace, name}] == nil {
				deltas = append(deltas, Delta{Old: old, Revision: revision})
			}
		}
	}
	for key, o := range listed {
		old := m.byNamespace[key.namespace][key.name]
		if old == nil || old.GetResourceVersion() != o.GetResourceVersion() {
			deltas = append(deltas, Delta{Old: old, New: o, Revision: Revision(o)})
		}
	}
	for _, d := range deltas {
		m.change(d)
	}
	m.publish(deltas)
	m.advance(revision)
	if !m.complete {
		m.complete = true
		close(m.synced)
	}
}

// progress tells that nothing else happened up to the revision.
func (m *mirror) progress(revision int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.overLocked() {
		return
	}
	m.advance(revision)
}

// fail notes that the server cannot read what the view should show.
func (m *mirror) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.overLocked() {
		return
	}
	m.trouble = err
}

// Whole does not know of which namespace an object is that the server cannot read.
func (m *mirror) Whole(string) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.trouble == nil && !m.complete {
		return errors.New(m.info.GR().String() + " are not loaded yet")
	}
	return m.trouble
}

// Legible believes the server's error if it names all keys that it is about.
func (m *mirror) Legible(namespace, name string) error {
	err := m.Whole(namespace)
	if err != nil && IsUnreadable(err) && !MayConcern(err, namespace, name) {
		return nil
	}
	return err
}

// advance is called with mu held.
func (m *mirror) advance(revision int64) {
	m.trouble = nil
	if revision <= m.applied {
		return
	}
	m.applied = revision
	left := m.awaited[:0]
	for _, r := range m.awaited {
		if r > revision {
			left = append(left, r)
		}
	}
	m.awaited = left
	close(m.advanced)
	m.advanced = make(chan struct{})
}

// change puts a delta into the maps. It is called with mu held.
func (m *mirror) change(d Delta) {
	if d.Old != nil {
		m.remove(d.Old)
	}
	if d.New != nil {
		m.insert(d.New)
	}
}

func (m *mirror) insert(o kind.Object) {
	in := m.byNamespace[o.GetNamespace()]
	if in == nil {
		in = map[string]kind.Object{}
		m.byNamespace[o.GetNamespace()] = in
	}
	in[o.GetName()] = o
	m.length++
	key := objectKey{o.GetNamespace(), o.GetName()}
	for _, ref := range o.GetOwnerReferences() {
		put(m.byOwner, ref.UID, key, o)
	}
	for _, f := range m.info.Fields {
		if f.Indexed {
			put(m.byField, fieldValue{f.Name, f.Value(o)}, key, o)
		}
	}
}

func (m *mirror) remove(o kind.Object) {
	in := m.byNamespace[o.GetNamespace()]
	delete(in, o.GetName())
	if len(in) == 0 {
		delete(m.byNamespace, o.GetNamespace())
	}
	m.length--
	key := objectKey{o.GetNamespace(), o.GetName()}
	for _, ref := range o.GetOwnerReferences() {
		drop(m.byOwner, ref.UID, key)
	}
	for _, f := range m.info.Fields {
		if f.Indexed {
			drop(m.byField, fieldValue{f.Name, f.Value(o)}, key)
		}
	}
}

func put[K comparable](index map[K]objects, at K, key objectKey, o kind.Object) {
	if index[at] == nil {
		index[at] = objects{}
	}
	index[at][key] = o
}

func drop[K comparable](index map[K]objects, at K, key objectKey) {
	delete(index[at], key)
	if len(index[at]) == 0 {
		delete(index, at)
	}
}
