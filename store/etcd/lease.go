package etcd

import (
	"context"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

const (
	// leaseReuse is for how long keys of one time to live share a lease; they may live longer by as much.
	leaseReuse = time.Minute
	// leaseKeysMax bounds the keys that one lease removes at once.
	leaseKeysMax = 1000
)

// leases hands out etcd leases that many keys share: one lease a key would cost a Raft entry each.
type leases struct {
	grant func(context.Context, *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error)
	mu    sync.Mutex
	byTTL map[time.Duration]*sharedLease // guarded by mu
}

// sharedLease is one granted lease. Invariant: keys < leaseKeysMax while it is handed out.
type sharedLease struct {
	id      int64
	keys    int
	granted time.Time
}

// forTTL returns a lease that ends no sooner than ttl from now, 0 for no lease.
func (l *leases) forTTL(ctx context.Context, ttl time.Duration) (int64, error) {
	if ttl <= 0 {
		return 0, nil
	}
	// Short lives are kept exactly: sharing would stretch them out of proportion.
	reuse := min(leaseReuse, ttl/20)
	l.mu.Lock()
	defer l.mu.Unlock()
	if held := l.byTTL[ttl]; held != nil && held.keys < leaseKeysMax && time.Since(held.granted) < reuse {
		held.keys++
		return held.id, nil
	}
	r, err := l.grant(ctx, &pb.LeaseGrantRequest{TTL: ttlSeconds(ttl + reuse)})
	if err != nil {
		return 0, err
	}
	if l.byTTL == nil {
		l.byTTL = map[time.Duration]*sharedLease{}
	}
	l.byTTL[ttl] = &sharedLease{id: r.ID, keys: 1, granted: time.Now()}
	return r.ID, nil
}

// forget makes the next key get another lease.
func (l *leases) forget(ttl time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.byTTL, ttl)
}
