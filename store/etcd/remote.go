package etcd

import (
	"context"
	"errors"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/raft/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// requestWait bounds a request of one key, an election of a leader included; listWait one of many keys.
const requestWait, listWait = 10 * time.Second, time.Minute

// Remote is a store in an external etcd.
type Remote struct {
	*keyspace
	x       *External
	servers *remoteServers
}

func newRemote(x *External) (*Remote, error) {
	servers, err := newRemoteServers(x)
	if err != nil {
		return nil, err
	}
	r := &Remote{x: x, servers: servers}
	r.keyspace = newKeyspace(remoteCalls{r}, remoteWatches{r}, x.names())
	servers.closing = r.closing
	for _, s := range servers.all {
		go servers.tend(s)
	}
	return r, nil
}

// Size implements store.Store: the largest of the servers that are well, as of a second ago.
func (r *Remote) Size(context.Context) (total, inUse int64, err error) {
	if r.closing.Err() != nil {
		return 0, 0, store.ErrClosed
	}
	found := false
	for _, s := range r.servers.all {
		s.mu.Lock()
		if s.well != nil && s.size.total >= total {
			total, inUse, found = s.size.total, s.size.inUse, true
		}
		s.mu.Unlock()
	}
	if !found {
		return 0, 0, fmt.Errorf("%w: no etcd server answers", store.ErrUnavailable)
	}
	return total, inUse, nil
}

// RealKey is the key in etcd.
func (r *Remote) RealKey(key string) string { return string(r.names.out(key)) }

// Close implements store.Store.
func (r *Remote) Close() error {
	if r.closing.Err() != nil {
		return nil
	}
	r.close()
	r.servers.close()
	return nil
}

// maintain takes its turn in ending history until the store closes.
func (r *Remote) maintain() {
	if r.x.CompactionInterval <= 0 {
		return
	}
	tick := time.NewTicker(r.x.CompactionInterval)
	defer tick.Stop()
	turn := compaction{call: r.call}
	for {
		select {
		case <-r.closing.Done():
			return
		case <-tick.C:
			switch err := turn.take(r.closing); {
			case err == nil, r.closing.Err() != nil:
			case is(err, mvcc.ErrCompacted, rpctypes.ErrGRPCCompacted): // etcd may be told to by others, too
			case status.Code(err) == codes.PermissionDenied:
				r.x.Warn("history was not compacted: etcd lets only users with its role root do so; start with --etcd-compaction-interval=0, and etcd with --auto-compaction-retention")
			default:
				r.x.Warn(fmt.Sprintf("history was not compacted: %v", err))
			}
		}
	}
}

// remoteCalls implements caller over gRPC.
type remoteCalls struct{ r *Remote }

// Range implements caller.
func (c remoteCalls) Range(ctx context.Context, q *pb.RangeRequest) (*pb.RangeResponse, error) {
	wait := requestWait
	if len(q.RangeEnd) > 0 {
		wait = listWait
	}
	return request(ctx, c.r, wait, true, func(ctx context.Context, s *remoteServer) (*pb.RangeResponse, error) {
		return s.kv.Range(ctx, q)
	})
}

// Txn implements caller.
func (c remoteCalls) Txn(ctx context.Context, q *pb.TxnRequest) (*pb.TxnResponse, error) {
	return request(ctx, c.r, requestWait, false, func(ctx context.Context, s *remoteServer) (*pb.TxnResponse, error) {
		return s.kv.Txn(ctx, q)
	})
}

// Compact implements caller.
func (c remoteCalls) Compact(ctx context.Context, q *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	return request(ctx, c.r, requestWait, false, func(ctx context.Context, s *remoteServer) (*pb.CompactionResponse, error) {
		return s.kv.Compact(ctx, q)
	})
}

// LeaseGrant implements caller. A lease that nobody uses ends by itself, so it may be asked for again.
func (c remoteCalls) LeaseGrant(ctx context.Context, q *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	return request(ctx, c.r, requestWait, true, func(ctx context.Context, s *remoteServer) (*pb.LeaseGrantResponse, error) {
		return s.lease.LeaseGrant(ctx, q)
	})
}

// notBegun tells that a server refused to begin a request: it knows of no leader, learns, starts, or has too much to do.
func notBegun(err error) bool {
	return is(err, rpctypes.ErrGRPCNoLeader, rpctypes.ErrGRPCNotSupportedForLearner, rpctypes.ErrGRPCNotCapable, rpctypes.ErrGRPCRequestTooManyRequests) ||
		status.Convert(err).Message() == raft.ErrProposalDropped.Error()
}

// passes tells that another server, or the same one later, may answer.
func passes(err error) bool {
	if errors.Is(err, errUnwell) {
		return true
	}
	switch status.Code(err) {
	case codes.Unavailable, codes.Internal, codes.Canceled, codes.DeadlineExceeded, codes.Aborted:
		return true
	}
	return false
}

// outcome is the error of a request that will not be made again.
func outcome(err error) error {
	switch {
	case passes(err):
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return err
}

// remoteWatches begins watches over gRPC.
type remoteWatches struct{ r *Remote }

func (w remoteWatches) open(ctx context.Context, q watchRequest) (stream, error) {
	limited, done := context.WithTimeout(ctx, requestWait)
	server, well, _, err := w.r.servers.pick(limited)
	done()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(withLeader(ctx))
	stop := context.AfterFunc(well, cancel)
	s, err := server.watch.Watch(ctx)
	if err == nil {
		err = s.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{
			Key: q.key, RangeEnd: q.end, StartRevision: q.from, PrevKv: q.previous, ProgressNotify: true, Fragment: true,
		}}})
	}
	if err != nil {
		stop()
		cancel()
		server.look()
		return nil, err
	}
	return &remoteStream{watch: s, server: server, stop: stop, cancel: cancel, previous: q.previous}, nil
}

// remoteStream implements stream.
type remoteStream struct {
	watch    pb.Watch_WatchClient
	server   *remoteServer
	stop     func() bool // parts the watch from the server's well-being
	cancel   context.CancelFunc
	previous bool
}

// progress is called by one goroutine at a time.
func (s *remoteStream) progress() error {
	return s.watch.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}})
}

func (s *remoteStream) close() {
	s.stop()
	s.cancel()
}

func (s *remoteStream) next() (delivery, error) {
	var d delivery
	for {
		m, err := s.watch.Recv()
		switch {
		case err != nil:
			s.server.look()
			return delivery{}, err
		case m.CompactRevision != 0:
			return delivery{}, mvcc.ErrCompacted
		case m.Canceled:
			return delivery{}, errors.New(m.CancelReason)
		case m.Created:
			continue
		}
		for _, e := range m.Events {
			d.changes = append(d.changes, e)
			if s.previous {
				d.previous = append(d.previous, e.PrevKv)
			}
		}
		if m.Fragment { // more of the same revisions follows
			continue
		}
		d.revision = m.Header.Revision
		return d, nil
	}
}

var _ store.Store = (*Remote)(nil)
