package registry

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/store"
)

const (
	// staleMax is how long a read waits for the mirror to reach the revision it asked for.
	staleMax = 3 * time.Second
	// freshMax is how long a consistent read waits.
	freshMax = 10 * time.Second
	// questionMax is how long a reader may wait for the answers to two questions: the one under way, and its own.
	questionMax = 2 * freshMax
	// nudgeAfter is how long a wait lasts before the store is asked to report its progress: the revision that is
	// waited for may have changed a key outside the mirror.
	nudgeAfter = 2 * time.Millisecond
	// nudgeEvery repeats that.
	nudgeEvery = 100 * time.Millisecond
)

// waiting wakes those who wait for a revision. All that wait for the same revision share one gate.
type waiting struct {
	count atomic.Int64

	mu    sync.Mutex
	gates map[int64]*gate // guarded by mu
}

// gate is what all wait at that wait for one revision.
type gate struct {
	reached chan struct{}
	waiters int // guarded by waiting.mu
}

// enter gives the gate of a revision. Who enters must leave: a client may ask for a revision that never comes.
func (w *waiting) enter(revision int64) *gate {
	w.mu.Lock()
	defer w.mu.Unlock()
	g := w.gates[revision]
	if g == nil {
		if w.gates == nil {
			w.gates = map[int64]*gate{}
		}
		g = &gate{reached: make(chan struct{})}
		w.gates[revision] = g
		w.count.Add(1)
	}
	g.waiters++
	return g
}

// leave gives a gate up; the last who leaves takes it down.
func (w *waiting) leave(revision int64, g *gate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if g.waiters--; g.waiters == 0 && w.gates[revision] == g {
		delete(w.gates, revision)
		w.count.Add(-1)
	}
}

// reached wakes all that wait for revision or an older one.
func (w *waiting) reached(revision int64) {
	if w.count.Load() == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for r, g := range w.gates {
		if r <= revision {
			close(g.reached)
			delete(w.gates, r)
			w.count.Add(-1)
		}
	}
}

// Applied is the revision that the mirror has reached.
func (r *Registry) Applied() int64 { return r.applied.Load() }

// advance publishes a revision that has been applied to all tables.
func (r *Registry) advance(revision int64) {
	r.applied.Store(revision)
	r.waiting.reached(revision)
}

// WaitFor waits until the mirror has reached the revision.
func (r *Registry) WaitFor(ctx context.Context, revision int64) error {
	if r.applied.Load() >= revision {
		return nil
	}
	g := r.waiting.enter(revision)
	defer r.waiting.leave(revision, g)
	// The mirror may have got there between the look and the entry.
	if now := r.applied.Load(); now >= revision {
		r.waiting.reached(now)
		return nil
	}
	nudge := time.NewTimer(nudgeAfter)
	defer nudge.Stop()
	for {
		select {
		case <-g.reached:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-nudge.C:
			r.nudge(ctx)
			nudge.Reset(nudgeEvery)
		}
	}
}

// nudge asks the running watch to report the revision that it has reached.
func (r *Registry) nudge(ctx context.Context) {
	if w := r.watch.Load(); w != nil {
		_ = (*w).Progress(ctx) // a watch that has ended is replaced by Run; the wait is bounded by its context
	}
}

// waitAtLeast is WaitFor for a client: it gives up soon, with the error that upstream gives.
func (r *Registry) waitAtLeast(ctx context.Context, revision int64) error {
	if r.applied.Load() >= revision && r.loaded() {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, staleMax)
	defer cancel()
	err := r.WaitFor(limited, max(revision, 1))
	if err != nil && ctx.Err() == nil {
		return tooLarge(revision, r.Applied())
	}
	return err
}

// fresh lets one question for the store's revision serve all readers that came before it was asked.
type fresh struct {
	mu      sync.Mutex // guards asking and waiting
	asking  bool       // a round is on its way
	waiting *round     // the round that begins when it is back

	reads, questions atomic.Int64
}

type round struct {
	done     chan struct{}
	revision int64
	err      error
}

// Fresh waits until the mirror holds every write that was acknowledged before the call (a consistent read).
func (r *Registry) Fresh(ctx context.Context) (int64, error) {
	revision, err := r.current(ctx)
	if err != nil {
		return 0, err
	}
	if r.applied.Load() >= revision && r.loaded() {
		return revision, nil
	}
	limited, cancel := context.WithTimeout(ctx, freshMax)
	defer cancel()
	if err := r.WaitFor(limited, max(revision, 1)); err != nil {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		return 0, apierrors.NewTooManyRequests(tooLarge(revision, r.Applied()).Error(), 1)
	}
	return revision, nil
}

// current is the store's revision, asked for after the call began.
func (r *Registry) current(ctx context.Context) (int64, error) {
	f := &r.fresh
	f.mu.Lock()
	if !f.asking {
		// Nobody to share with: the caller asks by itself, without a hand-over.
		f.asking = true
		f.reads.Add(1)
		f.mu.Unlock()
		mine := &round{done: make(chan struct{})}
		r.ask(ctx, mine)
		return mine.revision, mine.err
	}
	if f.waiting == nil {
		f.waiting = &round{done: make(chan struct{})}
	}
	mine := f.waiting
	f.reads.Add(1)
	f.mu.Unlock()
	var late <-chan time.Time
	if until, ok := ctx.Deadline(); ok && r.outage != nil {
		if left := time.Until(until); left < questionMax {
			timer := time.NewTimer(left * 9 / 10) // so that the answer still gets there
			defer timer.Stop()
			late = timer.C
		}
	}
	for {
		select {
		case <-mine.done:
			return mine.revision, mine.err
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-late:
			if err := r.outage(); err != nil {
				return 0, storeError(err, schema.GroupResource{}, kind.Get)
			}
			late = nil
		}
	}
}

// ask runs one round and starts the next one if readers came meanwhile.
func (r *Registry) ask(ctx context.Context, this *round) {
	ctx, cancel := context.WithTimeout(ctx, freshMax)
	defer cancel()
	r.fresh.questions.Add(1)
	this.revision, this.err = r.store.Revision(ctx)
	var lost *store.NoQuorum
	switch {
	case this.err == nil, errors.Is(this.err, context.Canceled):
	case errors.As(this.err, &lost):
		this.err = storeError(this.err, schema.GroupResource{}, kind.Get)
	default:
		this.err = apierrors.NewTimeoutError("the store did not tell its revision: "+this.err.Error(), retrySeconds)
	}
	close(this.done)
	f := &r.fresh
	f.mu.Lock()
	next := f.waiting
	f.waiting = nil
	f.asking = next != nil
	f.mu.Unlock()
	if next != nil {
		go r.ask(context.Background(), next)
	}
}
