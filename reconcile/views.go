package reconcile

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/crew"
)

// KindSet is the set of kinds whose objects a server keeps. It may change while a process runs. What is stored belongs at any time to one
// of these kinds or is a stray, which Strays tells of: who looks at the kinds, then asks for strays, and then finds the kinds unchanged, has
// missed nothing.
type KindSet interface {
	// Kinds are those of the moment, each of them the same value as before if nothing about it has changed, and a channel that is
	// closed when the set is another one; nil if it never will be. Neither the slice nor what it holds may be changed.
	Kinds() (now []*kind.Kind, changed <-chan struct{})
	// Strays fails while something is stored that may be an object of no kind in the set, in a namespace ("" for anywhere); if an owner
	// is given, one that names it.
	Strays(namespace string, owner types.UID) error
}

// FixedKinds is the set of kinds that never changes.
type FixedKinds []*kind.Kind

// Kinds implements KindSet.
func (f FixedKinds) Kinds() ([]*kind.Kind, <-chan struct{}) { return f, nil }

// Strays implements KindSet: the server is another process, and nobody knows what else it keeps.
func (f FixedKinds) Strays(string, types.UID) error { return nil }

// Matching says which kinds of a set are meant.
type Matching struct {
	// What they are, for the documentation: "all that can be deleted".
	What string
	// Has tells whether a kind is one of them; only stored kinds may be, since others have no view.
	Has func(k *kind.Kind) bool
}

// Views are the views of all kinds that match, as they come and go. Kinds that are there when the controller starts are complete
// before it does anything, as those of Watch are. One that comes later belongs to the Views at once, and its Whole fails until all
// that it holds has been seen: nobody concludes from it meanwhile that something is not there. When a kind goes, its Keys are
// no longer called, and nothing is said of the objects that it had; but a Moment knows whether there are such.
type Views struct {
	matching  Matching
	keys      func(k *kind.Kind) Keys
	transport client.Transport
	set       KindSet
	shifted   func(late *KindView, enqueue func(Key)) // may be nil
	now       atomic.Pointer[Moment]                  // replaced by refresh alone
}

// Moment is the views of one moment. It never changes, so who decides by what several kinds hold sees the same kinds throughout.
type Moment struct {
	set     KindSet
	list    []*KindView
	byKind  map[*kind.Kind]*KindView
	byGVK   map[schema.GroupVersionKind]*KindView
	changed <-chan struct{} // the set's
}

// All are the views, in the order of the set.
func (m *Moment) All() []*KindView { return m.list }

// Of is the view of a kind, nil if the kind is not among them.
func (m *Moment) Of(k *kind.Kind) *KindView { return m.byKind[k] }

// Named is the view of the kind with that group, version and name, nil if there is none.
func (m *Moment) Named(gvk schema.GroupVersionKind) *KindView { return m.byGVK[gvk] }

// Complete fails while objects may be stored that no view of the moment shows because of their kind: it has come or gone since, which
// the loop that follows the set may not have seen yet, or is none that the server keeps. They are asked for in a namespace ("" for
// anywhere) and, if an owner is given, among its dependents. It must be called after the views have been looked at: what moved from a kind to
// the strays, or back, in between would be in neither.
func (m *Moment) Complete(namespace string, owner types.UID) error {
	if err := m.set.Strays(namespace, owner); err != nil {
		return err
	}
	if _, changed := m.set.Kinds(); changed != m.changed {
		return errShifted
	}
	return nil
}

// errShifted is why nothing can be concluded from the views of a moment that is over.
var errShifted = errors.New("a kind has come or gone since this was looked at")

// KindView is the view of one kind of Views.
type KindView struct {
	client.View
	Kind *kind.Kind
	// Keys is nil if changes of the kind call for nothing.
	Keys Keys

	began   chan struct{} // closed by begin
	begin   func()        // tells that all that was there has been seen
	filling atomic.Bool   // the kind came while the controller ran, and has not begun yet
}

// errFilling is why a kind that came lately does not show all its objects.
var errFilling = errors.New("not all of them have been seen since the kind was added")

// Whole is View's; besides, it fails while the kind is new.
func (v *KindView) Whole(namespace string) error {
	if v.filling.Load() {
		return fmt.Errorf("%s: %w", v.Kind.GR(), errFilling)
	}
	return v.View.Whole(namespace)
}

// Legible is View's; besides, it fails while the kind is new.
func (v *KindView) Legible(namespace, name string) error {
	if v.filling.Load() {
		return fmt.Errorf("%s %s: %w", v.Kind.GR(), name, errFilling)
	}
	return v.View.Legible(namespace, name)
}

func newViews(t client.Transport, set KindSet, m Matching, keys func(*kind.Kind) Keys) *Views {
	v := &Views{matching: m, keys: keys, transport: t, set: set}
	v.now.Store(&Moment{})
	v.refresh(false)
	return v
}

// What says which kinds they are.
func (v *Views) What() string { return v.matching.What }

// Now are the views of this moment.
func (v *Views) Now() *Moment { return v.now.Load() }

// OnShift has f called when a kind has gone (late is nil then), and when one that came late has shown all that it has. No change of an
// object tells of either: what waits for others, and what was done to objects of a kind while nobody followed it, must be looked
// for. It must be called while the controller is made.
func (v *Views) OnShift(f func(late *KindView, enqueue func(Key))) { v.shifted = f }

// refresh takes the set in as it is now. Only one goroutine at a time calls it. late: the controller was made before.
func (v *Views) refresh(late bool) {
	kinds, changed := v.set.Kinds()
	before := v.now.Load()
	now := &Moment{set: v.set, byKind: map[*kind.Kind]*KindView{}, byGVK: map[schema.GroupVersionKind]*KindView{}, changed: changed}
	for _, k := range kinds {
		if !v.matching.Has(k) {
			continue
		}
		view := before.byKind[k]
		if view == nil {
			view = &KindView{View: v.transport.View(k), Kind: k, Keys: v.keys(k), began: make(chan struct{})}
			view.begin = sync.OnceFunc(func() { view.filling.Store(false); close(view.began) })
			view.filling.Store(late)
		}
		now.list = append(now.list, view)
		now.byKind[k], now.byGVK[k.GVK] = view, view
	}
	v.now.Store(now)
}

// synced waits until each view is complete: those that come meanwhile too, and no longer those that go. False means that ctx ended
// before.
func (v *Views) synced(ctx context.Context) bool {
	for at := 0; at < len(v.Now().list); at++ {
		now := v.now.Load()
		select {
		case <-now.list[at].Synced():
		case <-now.changed:
			v.refresh(true)
			at = -1
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// follow follows each kind as long as it is among them, until ctx ends. synced is called when all that was there when the
// controller started has been seen.
func (v *Views) follow(ctx context.Context, parts *crew.Crew, enqueue func(Key), synced func()) {
	stops := map[*KindView]context.CancelFunc{}
	for ctx.Err() == nil {
		now, gone := v.now.Load(), false
		for k, stop := range stops {
			if now.byKind[k.Kind] != k {
				stop()
				delete(stops, k)
				gone = true
			}
		}
		if gone && v.shifted != nil {
			v.shifted(nil, enqueue)
		}
		var waiting <-chan struct{}
		for _, k := range now.list {
			if stops[k] == nil {
				one, stop := context.WithCancel(ctx)
				stops[k] = stop
				parts.Go(func() error {
					k.follow(one, enqueue, v.shifted)
					return nil
				})
			}
			select {
			case <-k.began:
			default:
				waiting = k.began
			}
		}
		if waiting == nil {
			synced()
		}
		select {
		case <-waiting:
		case <-now.changed:
			v.refresh(true)
		case <-ctx.Done():
		}
	}
}

// follow follows the kind until ctx ends. shifted is told when a kind that came late has shown all; it may be nil.
func (v *KindView) follow(ctx context.Context, enqueue func(Key), shifted func(*KindView, func(Key))) {
	late := v.filling.Load()
	begin := sync.OnceFunc(func() {
		v.begin()
		if late && shifted != nil {
			shifted(v, enqueue)
		}
	})
	if v.Keys == nil {
		select {
		case <-v.Synced():
			begin()
		case <-ctx.Done():
		}
		return
	}
	v.Subscribe(ctx, func(deltas []client.Delta) {
		for _, d := range deltas {
			v.Keys(d, enqueue)
		}
		begin()
	})
}
