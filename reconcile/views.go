package reconcile

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/crew"
)

// KindSet is the set of kinds that a server keeps. It may change while a process runs. A kind belongs to it as long as there may be
// objects of it, whether they can be reached at the moment or not: nobody looks for what is of other kinds before something is deleted.
type KindSet interface {
	// Kinds are those of the moment, each of them the same value as before if nothing about it has changed, and a channel that is
	// closed when the set is another one; nil if it never will be. Neither the slice nor what it holds may be changed.
	Kinds() (now []*kind.Kind, changed <-chan struct{})
}

// FixedKinds is the set of kinds that never changes.
type FixedKinds []*kind.Kind

// Kinds implements KindSet.
func (f FixedKinds) Kinds() ([]*kind.Kind, <-chan struct{}) { return f, nil }

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
// no longer called, and nothing is said of the objects that it had.
type Views struct {
	matching  Matching
	keys      func(k *kind.Kind) Keys
	transport client.Transport
	set       KindSet
	now       atomic.Pointer[snapshot] // replaced by refresh alone
}

// snapshot is the kinds of a moment. It never changes.
type snapshot struct {
	list    []*KindView
	byKind  map[*kind.Kind]*KindView
	byGVK   map[schema.GroupVersionKind]*KindView
	changed <-chan struct{} // closed when there is another one
}

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
	v.now.Store(&snapshot{})
	v.refresh(false)
	return v
}

// What says which kinds they are.
func (v *Views) What() string { return v.matching.What }

// All are the views of the moment, in the order of the set.
func (v *Views) All() []*KindView { return v.now.Load().list }

// Of is the view of a kind, nil if the kind is not among them (any more).
func (v *Views) Of(k *kind.Kind) *KindView { return v.now.Load().byKind[k] }

// Named is the view of the kind with that group, version and name, nil if there is none.
func (v *Views) Named(gvk schema.GroupVersionKind) *KindView { return v.now.Load().byGVK[gvk] }

// refresh takes the set in as it is now. Only one goroutine at a time calls it. late: the controller was made before.
func (v *Views) refresh(late bool) {
	kinds, changed := v.set.Kinds()
	before := v.now.Load()
	now := &snapshot{byKind: map[*kind.Kind]*KindView{}, byGVK: map[schema.GroupVersionKind]*KindView{}, changed: changed}
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
	for at := 0; at < len(v.All()); at++ {
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
		now := v.now.Load()
		for k, stop := range stops {
			if now.byKind[k.Kind] != k {
				stop()
				delete(stops, k)
			}
		}
		var waiting <-chan struct{}
		for _, k := range now.list {
			if stops[k] == nil {
				one, stop := context.WithCancel(ctx)
				stops[k] = stop
				parts.Go(func() error {
					k.follow(one, enqueue)
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

// follow follows the kind until ctx ends.
func (v *KindView) follow(ctx context.Context, enqueue func(Key)) {
	if v.Keys == nil {
		select {
		case <-v.Synced():
			v.begin()
		case <-ctx.Done():
		}
		return
	}
	v.Subscribe(ctx, func(deltas []client.Delta) {
		for _, d := range deltas {
			v.Keys(d, enqueue)
		}
		v.begin()
	})
}
