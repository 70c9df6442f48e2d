package etcd

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	etcderrors "go.etcd.io/etcd/server/v3/etcdserver/errors"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/raft/v3"

	"github.com/wheelhouse-k8s/wheelhouse/store"
)

const (
	// leaderWait bounds how long a request waits for a leader. An election takes two or three seconds.
	leaderWait = 7 * time.Second
	// refusedPause is how soon a request that etcd refused for now, without having begun it, is made again.
	refusedPause = 20 * time.Millisecond
)

// gate leads every request to the member that runs now. Requests pass it holding mu for reading; who reopens the member
// locks it, so that requests wait meanwhile and none fails.
type gate struct {
	mu sync.RWMutex // held for reading while a request is under way, and locked while the member is reopened
	// open is closed while mu is not locked: who waits for mu waits here, where a request's context counts too.
	open    atomic.Pointer[chan struct{}]
	now     atomic.Pointer[running] // changed only with mu locked, and while the member starts
	outage  func() string           // says why there is no leader
	hurried chan struct{}           // closed when requests no longer wait long for a leader
	leaders *leaders
	// ended is closed when the member will never serve again; why then says why, in an error of the store's.
	ended chan struct{}
	why   atomic.Pointer[error]
	// removed is closed when the reason is that the group removed this member.
	removed chan struct{}
	fail    atomic.Bool
}

func newGate() *gate {
	g := &gate{leaders: newLeaders(), ended: make(chan struct{}), removed: make(chan struct{}), hurried: make(chan struct{})}
	open := make(chan struct{})
	close(open)
	g.open.Store(&open)
	g.outage = func() string { return "no member leads" }
	return g
}

// lock waits until no request is under way and lets no other in until unlock is called. One may do so at a time: Embedded.care.
func (g *gate) lock() (unlock func()) {
	open := make(chan struct{})
	g.open.Store(&open)
	g.mu.Lock()
	return func() {
		g.mu.Unlock()
		close(open)
	}
}

func (g *gate) member() *running { return g.now.Load() }

func (g *gate) hasFailed() bool { return g.fail.Load() }

// end makes all requests fail from now on. Only the first reason counts.
func (g *gate) end(why error) bool {
	if !g.why.CompareAndSwap(nil, &why) {
		return false
	}
	close(g.ended)
	g.leaders.endAll(why)
	return true
}

// shut waits until no request is under way, for at most the time given before it ends them, and lets no other in.
func (g *gate) shut(wait time.Duration) {
	t := time.AfterFunc(wait, func() { g.leaders.endAll(store.ErrClosed) })
	defer t.Stop()
	unlock := g.lock()
	g.end(store.ErrClosed)
	unlock()
}

// enter lets a request in; it must leave by g.mu.RUnlock unless there is an error.
func (g *gate) enter(ctx context.Context) (*running, error) {
	for !g.mu.TryRLock() {
		select {
		case <-*g.open.Load():
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if why := g.why.Load(); why != nil {
		g.mu.RUnlock()
		return nil, *why
	}
	return g.now.Load(), nil
}

// Range implements caller. Reads may be made again.
func (g *gate) Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	m, err := g.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer g.mu.RUnlock()
	if !m.grouped {
		resp, err := m.server.Range(ctx, r)
		return resp, g.explain(ctx, err)
	}
	return ask(ctx, g, m, true, func(ctx context.Context) (*pb.RangeResponse, error) { return m.server.Range(ctx, r) })
}

// Txn implements caller.
func (g *gate) Txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	m, err := g.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer g.mu.RUnlock()
	if !m.grouped {
		resp, err := m.server.Txn(ctx, r)
		return resp, g.explain(ctx, err)
	}
	return ask(ctx, g, m, false, func(ctx context.Context) (*pb.TxnResponse, error) { return m.server.Txn(ctx, r) })
}

// Compact implements caller.
func (g *gate) Compact(ctx context.Context, r *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	m, err := g.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer g.mu.RUnlock()
	return ask(ctx, g, m, false, func(ctx context.Context) (*pb.CompactionResponse, error) { return m.server.Compact(ctx, r) })
}

// LeaseGrant implements caller.
func (g *gate) LeaseGrant(ctx context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	m, err := g.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer g.mu.RUnlock()
	return ask(ctx, g, m, false, func(ctx context.Context) (*pb.LeaseGrantResponse, error) { return m.server.LeaseGrant(ctx, r) })
}

// ask makes one request of a member of a group: it waits for a leader, ends early when the leader that it was made under
// is lost, and is made again only if that is harmless: if it reads, or if etcd says that it did not begin it.
func ask[R any](ctx context.Context, g *gate, m *running, read bool, call func(context.Context) (R, error)) (R, error) {
	deadline := g.patience(ctx)
	for {
		if err := g.leaders.wait(ctx, m.server, deadline, g.hurried); err != nil {
			var none R
			return none, g.explain(ctx, err)
		}
		inner, f := g.leaders.begin(ctx)
		resp, err := call(inner)
		g.leaders.finish(f)
		switch {
		case err == nil:
			return resp, nil
		case ctx.Err() != nil || time.Now().After(deadline) || g.why.Load() != nil:
			return resp, g.broken(ctx, m, read, err)
		case read && (errors.Is(err, etcderrors.ErrLeaderChanged) || f.cause() != nil):
		case errors.Is(err, raft.ErrProposalDropped), errors.Is(err, etcderrors.ErrTooManyRequests):
			select { // the leader is handing over, or has much to do
			case <-time.After(refusedPause):
			case <-ctx.Done():
			}
		case f.cause() != nil:
			return resp, g.broken(ctx, m, read, f.cause())
		default:
			return resp, g.explain(ctx, err)
		}
	}
}

// patience is until when a request waits for a leader: a little less than its own time, so that the answer still gets there.
func (g *gate) patience(ctx context.Context) time.Time {
	now := time.Now()
	wait := leaderWait
	select {
	case <-g.hurried:
		wait = hurriedWait
	default:
	}
	if until, ok := ctx.Deadline(); ok {
		wait = min(wait, until.Sub(now)*9/10)
	}
	return now.Add(wait)
}

// broken explains the end of a request that had begun.
func (g *gate) broken(ctx context.Context, m *running, read bool, err error) error {
	if g.why.Load() == nil && m.server.Leader() == 0 && !errors.Is(ctx.Err(), context.Canceled) {
		return &store.NoQuorum{Why: g.outage(), Unknown: !read}
	}
	return g.explain(ctx, err)
}

// explain says more of an error than etcd does.
func (g *gate) explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if why := g.why.Load(); why != nil {
		return *why
	}
	switch {
	case errors.Is(err, errNoLeader):
		return &store.NoQuorum{Why: g.outage()}
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, etcderrors.ErrCanceled), errors.Is(err, raft.ErrProposalDropped),
		errors.Is(err, etcderrors.ErrTooManyRequests), errors.Is(err, raft.ErrStopped):
		return fmt.Errorf("%w: %v", store.ErrUnavailable, err)
	case errors.Is(err, etcderrors.ErrCorrupt):
		return fmt.Errorf("%w: the copies of the data in the masters differ, and nothing can be written until the alarm is cleared", store.ErrUnavailable)
	}
	return err
}

// newStream gives a stream of watches of the member that runs now, and what is closed when that member stops.
func (g *gate) newStream(ctx context.Context) (mvcc.WatchStream, <-chan struct{}, error) {
	m, err := g.enter(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer g.mu.RUnlock()
	return m.server.KV().NewWatchStream(), m.server.StoppingNotify(), nil
}
