package reconcile

import (
	"context"
	"sync"

	"github.com/wheelhouse-k8s/wheelhouse/crew"
)

// InFlight is how many calls of one Batch run at once when all goes well.
const InFlight = 256

// Batch calls f for 0 … n-1, many at once. It begins with one call and lets two more begin for each that succeeds, up to
// InFlight, so that a batch that cannot succeed (a used-up quota) fails with one call and not with hundreds. After the
// first error no further call begins. It returns how many calls succeeded, and the first error; a panic is one.
func Batch(ctx context.Context, n int, f func(ctx context.Context, i int) error) (int, error) {
	b := &batch{n: n, window: 1, f: f}
	b.mu.Lock()
	b.begin(ctx)
	b.mu.Unlock()
	b.running.Wait()
	return b.succeeded, b.err
}

type batch struct {
	f       func(ctx context.Context, i int) error
	n       int
	running sync.WaitGroup

	mu        sync.Mutex // guards all below
	next      int
	inFlight  int
	window    int
	succeeded int
	err       error
}

// begin starts calls while the window allows. It is called with mu held.
func (b *batch) begin(ctx context.Context) {
	for b.err == nil && b.next < b.n && b.inFlight < b.window {
		i := b.next
		b.next++
		b.inFlight++
		b.running.Go(func() { b.work(ctx, i) })
	}
}

// work makes the call i, and then, in the same goroutine, further ones.
func (b *batch) work(ctx context.Context, i int) {
	for {
		err := crew.Try(func() error { return b.f(ctx, i) })
		b.mu.Lock()
		if err == nil {
			b.succeeded++
			b.window = min(b.window+1, InFlight)
		} else if b.err == nil {
			b.err = err
		}
		if b.err == nil && ctx.Err() != nil {
			b.err = ctx.Err()
		}
		if b.err != nil || b.next == b.n {
			b.inFlight--
			b.mu.Unlock()
			return
		}
		i = b.next
		b.next++
		b.begin(ctx)
		b.mu.Unlock()
	}
}
