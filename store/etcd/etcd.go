// Package etcd keeps the cluster store in etcd: a member embedded in this process, reached by function calls.
package etcd

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	etcderrors "go.etcd.io/etcd/server/v3/etcdserver/errors"
	"go.etcd.io/etcd/server/v3/lease"
	"go.etcd.io/etcd/server/v3/storage/mvcc"

	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// caller is what the store asks of etcd: an embedded server has these methods itself.
type caller interface {
	Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error)
	Txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error)
	Compact(ctx context.Context, r *pb.CompactionRequest) (*pb.CompactionResponse, error)
	LeaseGrant(ctx context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error)
}

// keyspace is store.Store over any caller and opener of watches.
type keyspace struct {
	call    caller
	watches opener
	names   names
	leases  leases
	closing context.Context // ends when the store is closed
	close   context.CancelFunc
}

func newKeyspace(call caller, watches opener, n names) *keyspace {
	k := &keyspace{call: call, watches: watches, names: n}
	k.leases.grant = call.LeaseGrant
	k.closing, k.close = context.WithCancel(context.Background())
	return k
}

// Get implements store.Store.
func (k *keyspace) Get(ctx context.Context, key string, revision int64) (store.Entry, int64, error) {
	r, err := k.call.Range(ctx, &pb.RangeRequest{Key: k.names.out(key), Revision: revision})
	if err != nil {
		return store.Entry{}, 0, k.errorOf(ctx, err)
	}
	if len(r.Kvs) == 0 {
		return store.Entry{}, r.Header.Revision, store.ErrNotFound
	}
	return k.entryOf(r.Kvs[0]), r.Header.Revision, nil
}

// Written is Get, and tells at which revision the key was made, and how often it was written since then. Nobody who writes to
// etcd can choose these: what was put back has others than what it was.
func (k *keyspace) Written(ctx context.Context, key string) (e store.Entry, made, times int64, err error) {
	r, err := k.call.Range(ctx, &pb.RangeRequest{Key: k.names.out(key)})
	if err != nil {
		return e, 0, 0, k.errorOf(ctx, err)
	}
	if len(r.Kvs) == 0 {
		return e, 0, 0, store.ErrNotFound
	}
	return k.entryOf(r.Kvs[0]), r.Kvs[0].CreateRevision, r.Kvs[0].Version, nil
}

// List implements store.Store.
func (k *keyspace) List(ctx context.Context, prefix string, o store.ListOptions) (store.Page, error) {
	key := k.names.out(prefix)
	end := endOf(key)
	if o.From > prefix {
		key = end // past all
		if strings.HasPrefix(o.From, prefix) {
			key = k.names.out(o.From)
		}
	}
	r, err := k.call.Range(ctx, &pb.RangeRequest{
		Key:       key,
		RangeEnd:  end,
		Limit:     int64(o.Limit),
		Revision:  o.Revision,
		CountOnly: o.CountOnly,
	})
	if err != nil {
		return store.Page{}, k.errorOf(ctx, err)
	}
	page := store.Page{Revision: o.Revision, More: r.More, Count: r.Count}
	if page.Revision == 0 {
		page.Revision = r.Header.Revision
	}
	if len(r.Kvs) > 0 {
		page.Entries = make([]store.Entry, len(r.Kvs))
		for i, kv := range r.Kvs {
			page.Entries[i] = k.entryOf(kv)
		}
	}
	return page, nil
}

// Create implements store.Store.
func (k *keyspace) Create(ctx context.Context, key string, value []byte, ttl time.Duration) (int64, error) {
	return k.put(ctx, key, 0, value, ttl)
}

// Update implements store.Store.
func (k *keyspace) Update(ctx context.Context, key string, expect int64, value []byte, ttl time.Duration) (int64, error) {
	return k.put(ctx, key, expect, value, ttl)
}

func (k *keyspace) put(ctx context.Context, key string, expect int64, value []byte, ttl time.Duration) (int64, error) {
	name := k.names.out(key)
	for again := false; ; again = true {
		id, err := k.leases.forTTL(ctx, ttl)
		if err != nil {
			return 0, k.errorOf(ctx, err)
		}
		revision, err := k.swap(ctx, name, expect, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{
			RequestPut: &pb.PutRequest{Key: name, Value: value, Lease: id},
		}})
		if again || !leaseLost(err) {
			return revision, err
		}
		k.leases.forget(ttl) // somebody revoked it: nothing was written
	}
}

// leaseLost tells whether a write was refused because its lease has ended.
func leaseLost(err error) bool {
	return is(err, lease.ErrLeaseNotFound, rpctypes.ErrGRPCLeaseNotFound)
}

// Delete implements store.Store.
func (k *keyspace) Delete(ctx context.Context, key string, expect int64) (int64, error) {
	if expect == 0 { // etcd would take this for "delete what does not exist", and succeed
		return 0, &store.Conflict{}
	}
	name := k.names.out(key)
	return k.swap(ctx, name, expect, &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{
		RequestDeleteRange: &pb.DeleteRangeRequest{Key: name},
	}})
}

// swap is the one shape of every write: if the key is at expect, then op, else read the key. A fence adds a second
// condition, and a second read that tells which of them did not hold.
func (k *keyspace) swap(ctx context.Context, key []byte, expect int64, op *pb.RequestOp) (int64, error) {
	request := &pb.TxnRequest{
		Compare: []*pb.Compare{atRevision(key, expect)},
		Success: []*pb.RequestOp{op},
		Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: key}}}},
	}
	fence, fenced := store.FenceOf(ctx)
	if fenced {
		name := k.names.out(fence.Key)
		request.Compare = append(request.Compare, atRevision(name, fence.Revision))
		request.Failure = append(request.Failure, &pb.RequestOp{Request: &pb.RequestOp_RequestRange{
			RequestRange: &pb.RangeRequest{Key: name, KeysOnly: true},
		}})
	}
	r, err := k.call.Txn(ctx, request)
	if err != nil {
		return 0, k.errorOf(ctx, err)
	}
	if r.Succeeded {
		return r.Header.Revision, nil
	}
	if fenced {
		if found := found(r, 1); (found == nil && fence.Revision != 0) || (found != nil && found.ModRevision != fence.Revision) {
			return 0, store.ErrFenced
		}
	}
	conflict := &store.Conflict{}
	if found := found(r, 0); found != nil {
		present := k.entryOf(found)
		conflict.Present = &present
	}
	return 0, conflict
}

// atRevision is the condition that the key was last changed at the revision; 0: that it does not exist.
func atRevision(key []byte, revision int64) *pb.Compare {
	return &pb.Compare{
		Key: key, Target: pb.Compare_MOD, Result: pb.Compare_EQUAL,
		TargetUnion: &pb.Compare_ModRevision{ModRevision: revision},
	}
}

// found is the key that the nth operation of a transaction has read, nil if there is none.
func found(r *pb.TxnResponse, n int) *mvccpb.KeyValue {
	if answer := r.Responses[n].GetResponseRange(); answer != nil && len(answer.Kvs) > 0 {
		return answer.Kvs[0]
	}
	return nil
}

// Revision implements store.Store: a linearizable read that touches no key, and asks for none outside the prefix, which
// a shared etcd may not allow.
func (k *keyspace) Revision(ctx context.Context) (int64, error) {
	r, err := k.call.Range(ctx, &pb.RangeRequest{Key: []byte(k.names.prefix + "health"), CountOnly: true})
	if err != nil {
		return 0, k.errorOf(ctx, err)
	}
	return r.Header.Revision, nil
}

// Compact implements store.Store.
func (k *keyspace) Compact(ctx context.Context, revision int64) error {
	_, err := k.call.Compact(ctx, &pb.CompactionRequest{Revision: revision})
	return k.errorOf(ctx, err)
}

func (k *keyspace) entryOf(kv *mvccpb.KeyValue) store.Entry {
	return store.Entry{Key: k.names.in(kv.Key), Value: kv.Value, Revision: kv.ModRevision}
}

// errorOf turns etcd's errors, from a call in the process or over gRPC, into the store's.
func (k *keyspace) errorOf(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	var lost *store.NoQuorum
	switch {
	case k.closing.Err() != nil, is(err, etcderrors.ErrStopped):
		return store.ErrClosed
	case errors.As(err, &lost):
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	case is(err, mvcc.ErrCompacted, rpctypes.ErrCompacted, rpctypes.ErrGRPCCompacted):
		return store.ErrCompacted
	case is(err, mvcc.ErrFutureRev, rpctypes.ErrFutureRev, rpctypes.ErrGRPCFutureRev):
		return store.ErrFutureRevision
	case is(err, etcderrors.ErrNoSpace, rpctypes.ErrNoSpace, rpctypes.ErrGRPCNoSpace):
		return store.ErrNoSpace
	case is(err, etcderrors.ErrTimeout, etcderrors.ErrTimeoutDueToLeaderFail, etcderrors.ErrTimeoutDueToConnectionLost,
		etcderrors.ErrTimeoutLeaderTransfer, etcderrors.ErrTimeoutWaitAppliedIndex, etcderrors.ErrNoLeader,
		etcderrors.ErrLeaderChanged, rpctypes.ErrNoLeader, rpctypes.ErrTimeout):
		return fmt.Errorf("%w: %v", store.ErrUnavailable, err)
	}
	return err
}

// is tells whether an error is one of etcd's, which lose their identity on their way over gRPC.
func is(err error, targets ...error) bool {
	if err == nil {
		return false
	}
	for _, t := range targets {
		if errors.Is(err, t) || err.Error() == t.Error() {
			return true
		}
	}
	return false
}

// ttlSeconds rounds a time to live up to whole seconds.
func ttlSeconds(ttl time.Duration) int64 { return int64(math.Ceil(ttl.Seconds())) }
