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
// holds it for writing, so that requests wait meanwhile and none fails.
type gate struct {
	mu      sync.RWMutex
	now     atomic.Pointer[running] // changed only with mu held for writing
	leaders *leaders
	// ended is closed when the member will never serve again; why then says why, in an error of the store's.
	ended chan struct{}
	why   atomic.Pointer[error]
	// removed is closed when the reason is that the group removed this member.
	removed chan struct{}
	fail    atomic.Bool
}

func newGate() *gate {
	return &gate{leaders: newLeaders(), ended: make(chan struct{}), removed: make(chan struct{})}
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
	g.mu.Lock()
	g.end(store.ErrClosed)
	g.mu.Unlock()
}

// enter lets a request in; it must leave by g.mu.RUnlock unless there is an error.
func (g *gate) enter() (*running, error) {
	g.mu.RLock()
	if why := g.why.Load(); why != nil {
		g.mu.RUnlock()
		return nil, *why
	}
	return g.now.Load(), nil
}

// Range implements caller. Reads may be made again.
func (g *gate) Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	m, err := g.enter()
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
	m, err := g.enter()
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
	m, err := g.enter()
	if err != nil {
		return nil, err
	}
	defer g.mu.RUnlock()
	return ask(ctx, g, m, false, func(ctx context.Context) (*pb.CompactionResponse, error) { return m.server.Compact(ctx, r) })
}

// LeaseGrant implements caller.
func (g *gate) LeaseGrant(ctx context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	m, err := g.enter()
	if err != nil {
		return nil, err
	}
	defer g.mu.RUnlock()
	return ask(ctx, g, m, false, func(ctx context.Context) (*pb.LeaseGrantResponse, error) { return m.server.LeaseGrant(ctx, r) })
}

// ask makes one request of a member of a group: it waits for a leader, ends early when the leader that it was made under
// is lost, and is made again only if that is harmless: if it reads, or if etcd says that it did not begin it.
func ask[R any](ctx context.Context, g *gate, m *running, read bool, call func(context.Context) (R, error)) (R, error) {
	deadline := time.Now().Add(leaderWait)
	for {
		if err := g.leaders.wait(ctx, m.server, deadline); err != nil {
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
			return resp, g.explain(ctx, err)
		case read && (errors.Is(err, etcderrors.ErrLeaderChanged) || f.cause() != nil):
		case errors.Is(err, raft.ErrProposalDropped), errors.Is(err, etcderrors.ErrTooManyRequests):
			select { // the leader is handing over, or has much to do
			case <-time.After(refusedPause):
			case <-ctx.Done():
			}
		case f.cause() != nil:
			return resp, f.cause()
		default:
			return resp, g.explain(ctx, err)
		}
	}
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
func (g *gate) newStream() (mvcc.WatchStream, <-chan struct{}, error) {
	m, err := g.enter()
	if err != nil {
		return nil, nil, err
	}
	defer g.mu.RUnlock()
	return m.server.KV().NewWatchStream(), m.server.StoppingNotify(), nil
}
