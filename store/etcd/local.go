package etcd

import (
	"context"
	"errors"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
)

// localWatches begins watches of a member in this process. They take what its database tells its own watch server,
// without the detour over a client and a server that talk by channels.
type localWatches struct {
	// newStream gives a stream of the member that runs now, and what is closed when that member stops.
	newStream func(ctx context.Context) (s mvcc.WatchStream, gone <-chan struct{}, err error)
	// ended is closed when no member will ever run again.
	ended <-chan struct{}
	call  caller
}

var errMemberStopped = errors.New("the member has stopped")

func (l localWatches) open(ctx context.Context, r watchRequest) (stream, error) {
	s := &localStream{localWatches: l, ctx: ctx, request: r}
	return s, s.begin()
}

// localStream implements stream. When the member is opened again the stream goes on where it was.
type localStream struct {
	localWatches
	ctx     context.Context
	request watchRequest // from is the first revision that was not delivered
	mu      sync.Mutex
	stream  mvcc.WatchStream // nil while there is none; guarded by mu; only next and close change it
	id      mvcc.WatchID     // guarded by mu
	gone    <-chan struct{}
}

// goneWait is how soon a watch of a member that stopped looks what became of it.
const goneWait = 20 * time.Millisecond

// begin watches through the member that runs now, or as soon as one runs.
func (s *localStream) begin() error {
	for {
		stream, gone, err := s.newStream(s.ctx)
		if err != nil {
			return err
		}
		select {
		case <-gone: // it stopped, and why is being found out
			stream.Close()
			select {
			case <-time.After(goneWait):
			case <-s.ended:
			case <-s.ctx.Done():
				return s.ctx.Err()
			}
			continue
		default:
		}
		r := &s.request
		if r.from == 0 {
			r.from = stream.Rev() + 1
		}
		id, err := stream.Watch(s.ctx, clientv3.AutoWatchID, r.key, r.end, r.from)
		if err != nil {
			stream.Close()
			return err
		}
		s.mu.Lock()
		s.stream, s.id, s.gone = stream, id, gone
		s.mu.Unlock()
		return nil
	}
}

func (s *localStream) progress() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stream != nil {
		s.stream.RequestProgress(s.id)
	}
	return nil
}

func (s *localStream) close() {
	s.mu.Lock()
	stream := s.stream
	s.stream = nil
	s.mu.Unlock()
	if stream == nil { // it was closed, and no other could be begun
		return
	}
	stream.Close()
	for r := range stream.Chan() {
		mvcc.ReportEventReceived(len(r.Events)) // etcd counts what waits to be delivered
	}
}

func (s *localStream) next() (delivery, error) {
	for {
		select {
		case r := <-s.stream.Chan():
			return s.delivery(&r)
		case <-s.gone:
			s.close()
			if err := s.begin(); err != nil {
				return delivery{}, err
			}
		case <-s.ended:
			return delivery{}, errMemberStopped
		case <-s.ctx.Done():
			return delivery{}, s.ctx.Err()
		}
	}
}

func (s *localStream) delivery(r *mvcc.WatchResponse) (delivery, error) {
	mvcc.ReportEventReceived(len(r.Events))
	if r.CompactRevision != 0 {
		return delivery{}, mvcc.ErrCompacted
	}
	d := delivery{changes: r.Events, revision: r.Revision}
	reached := r.Revision
	if n := len(r.Events); n > 0 {
		reached = r.Events[n-1].Kv.ModRevision
	}
	s.request.from = reached + 1
	var err error
	if s.request.previous && len(r.Events) > 0 {
		d.previous, err = s.before(r.Events)
	}
	return d, err
}

// before reads what the keys held before the changes.
func (s *localStream) before(changes []*mvccpb.Event) ([]*mvccpb.KeyValue, error) {
	previous := make([]*mvccpb.KeyValue, len(changes))
	for i, e := range changes {
		if e.Type == mvccpb.Event_PUT && e.Kv.CreateRevision == e.Kv.ModRevision {
			continue
		}
		r, err := s.call.Range(s.ctx, &pb.RangeRequest{Key: e.Kv.Key, Revision: e.Kv.ModRevision - 1, Serializable: true})
		if err != nil {
			return nil, err
		}
		if len(r.Kvs) > 0 {
			previous[i] = r.Kvs[0]
		}
	}
	return previous, nil
}
