package reconcile

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
)

const (
	// freshMax is how long a worker waits for the store to tell what has become of a key's writes, and freshRetry how soon
	// it asks again: it is about to answer, and nothing can be done before.
	freshMax   = 15 * time.Second
	freshRetry = time.Second
	// shownRetry is how soon it is looked again whether a view still shows what was deleted.
	shownRetry = 20 * time.Millisecond
	// unseenSweep is of how many keys something is remembered before it is looked for what can be forgotten.
	unseenSweep = 1024
)

// errStillShown is why a key does not run yet whose last run deleted something.
var errStillShown = errors.New("what was deleted is still shown")

// unseen remembers what the last runs of keys wrote and the views may not show yet. A key is forgotten when it is about to run again; of
// those that never do, sweep forgets what the views have come to show.
type unseen struct {
	transport client.Transport

	mu      sync.Mutex        // guards all below
	written map[Key]int64     // the highest revision that was written
	leaving map[Key][]leaving // what was deleted, where the answer had no revision
	open    map[Key]question  // writes of which nobody could say whether they happened
	asked   int64             // counts the questions to the store
	sweepAt int               // at how many keys sweep begins
}

// leaving is an object that is gone, in a view that showed it when it was deleted.
type leaving struct {
	view            client.View
	namespace, name string
	uid             types.UID
}

func (l leaving) shown() bool {
	o, ok := l.view.Get(l.namespace, l.name)
	return ok && o.GetUID() == l.uid
}

// question is what is to be asked about the writes of a key.
type question struct {
	kinds []*kind.Kind
	// asked is how many questions had begun when the writes ended: a later one answers for them.
	asked int64
}

func newUnseen(t client.Transport) *unseen {
	return &unseen{transport: t, written: map[Key]int64{}, leaving: map[Key][]leaving{}, open: map[Key]question{}, sweepAt: unseenSweep}
}

// remember takes over what a run of the key wrote. True says that it is time to sweep.
func (u *unseen) remember(key Key, w *writes) (full bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	u.mu.Lock()
	defer u.mu.Unlock()
	if w.highest != 0 {
		u.written[key] = w.highest
	}
	if len(w.leaving) > 0 {
		u.leaving[key] = w.leaving
	}
	if len(w.open) > 0 {
		u.open[key] = question{w.open, u.asked}
	}
	return u.lenLocked() >= u.sweepAt
}

func (u *unseen) lenLocked() int { return max(len(u.written), len(u.leaving), len(u.open)) }

// await waits until the views show what the key's last run wrote, or may have written. An error says that they do not yet, or that this
// could not be found out.
func (u *unseen) await(ctx context.Context, key Key) error {
	u.mu.Lock()
	revision, left, open := u.written[key], u.leaving[key], u.open[key].kinds
	u.mu.Unlock()
	if revision != 0 {
		if err := u.transport.WaitFor(ctx, revision); err != nil {
			return err
		}
		u.mu.Lock()
		delete(u.written, key)
		u.mu.Unlock()
	}
	if len(left) > 0 {
		left = slices.DeleteFunc(slices.Clone(left), func(l leaving) bool { return !l.shown() })
		u.mu.Lock()
		if u.leaving[key] = left; len(left) == 0 {
			delete(u.leaving, key)
		}
		u.mu.Unlock()
		if len(left) > 0 {
			return errStillShown
		}
	}
	return u.settle(ctx, open)
}

// settle asks the store until the views of the kinds show what has become of every write that ended before, of whatever key.
func (u *unseen) settle(ctx context.Context, kinds []*kind.Kind) error {
	if len(kinds) == 0 {
		return nil
	}
	u.mu.Lock()
	u.asked++
	asked := u.asked
	u.mu.Unlock()
	limited, cancel := context.WithTimeout(ctx, freshMax)
	defer cancel()
	err := u.transport.Fresh(limited, kinds...)
	if errors.Is(err, client.ErrNotServed) { // of such a kind, there is nothing to see any more
		err = nil
		for _, k := range kinds {
			if one := u.transport.Fresh(limited, k); !errors.Is(one, client.ErrNotServed) {
				err = errors.Join(err, one)
			}
		}
	}
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for key, q := range u.open {
		if q.asked >= asked {
			continue
		}
		q.kinds = slices.DeleteFunc(slices.Clone(q.kinds), func(k *kind.Kind) bool { return slices.Contains(kinds, k) })
		if u.open[key] = q; len(q.kinds) == 0 {
			delete(u.open, key)
		}
	}
	return nil
}

// sweep forgets what the views show by now. What the store does not answer stays until the next sweep.
func (u *unseen) sweep(ctx context.Context) {
	applied := u.transport.Applied()
	var kinds []*kind.Kind
	u.mu.Lock()
	maps.DeleteFunc(u.written, func(_ Key, revision int64) bool { return revision <= applied })
	maps.DeleteFunc(u.leaving, func(_ Key, left []leaving) bool { return !slices.ContainsFunc(left, leaving.shown) })
	if len(u.open) >= u.sweepAt {
		for _, q := range u.open {
			for _, k := range q.kinds {
				if !slices.Contains(kinds, k) {
					kinds = append(kinds, k)
				}
			}
		}
	}
	u.sweepAt = max(unseenSweep, 2*u.lenLocked()) // until the store has answered, nobody else asks
	u.mu.Unlock()
	if u.settle(ctx, kinds) == nil {
		u.mu.Lock()
		u.sweepAt = max(unseenSweep, 2*u.lenLocked())
		u.mu.Unlock()
	}
}

// writes collects what one run wrote, and may have written.
type writes struct {
	mu      sync.Mutex // guards all below
	highest int64
	leaving []leaving
	open    []*kind.Kind
}

type writesKey struct{}

func (w *writes) note(revision int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.highest = max(w.highest, revision)
}

func (w *writes) leaveOpen(k *kind.Kind) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Contains(w.open, k) {
		w.open = append(w.open, k)
	}
}

func (w *writes) leave(l leaving) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leaving = append(w.leaving, l)
}
