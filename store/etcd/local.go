package etcd

import (
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
)

// localWatches begins watches of a member in this process. They take what its database tells its own watch server,
// without the detour over a client and a server that talk by channels.
type localWatches struct {
	// newStream gives a stream of the member that runs now, and what is closed when that member stops.
	newStream func() (s mvcc.WatchStream, gone <-chan struct{}, err error)
	// ended is closed when no member will ever run again.
	ended <-chan struct{}
	call  caller
}

var errMemberStopped = errors.New("the member has stopped")

func (l localWatches) open(ctx context.Context, r watchRequest) (stream, error) {
	s, gone, err := l.newStream()
	if err != nil {
		return nil, err
	}
	id, err := s.Watch(ctx, clientv3.AutoWatchID, r.key, r.end, r.from)
	if err != nil {
		s.Close()
		return nil, err
	}
	return &localStream{ctx: ctx, stream: s, id: id, gone: gone, ended: l.ended, call: l.call, previous: r.previous}, nil
}

// localStream implements stream.
type localStream struct {
	ctx      context.Context
	stream   mvcc.WatchStream
	id       mvcc.WatchID
	gone     <-chan struct{}
	ended    <-chan struct{}
	call     caller
	previous bool
}

func (s *localStream) progress() error {
	s.stream.RequestProgress(s.id)
	return nil
}

func (s *localStream) close() {
	s.stream.Close()
	for r := range s.stream.Chan() {
		mvcc.ReportEventReceived(len(r.Events)) // etcd counts what waits to be delivered
	}
}

func (s *localStream) next() (delivery, error) {
	select {
	case r := <-s.stream.Chan():
		mvcc.ReportEventReceived(len(r.Events))
		if r.CompactRevision != 0 {
			return delivery{}, mvcc.ErrCompacted
		}
		d := delivery{changes: r.Events, revision: r.Revision}
		var err error
		if s.previous && len(r.Events) > 0 {
			d.previous, err = s.before(r.Events)
		}
		return d, err
	case <-s.gone:
		return delivery{}, errMemberStopped
	case <-s.ended:
		return delivery{}, errMemberStopped
	case <-s.ctx.Done():
		return delivery{}, s.ctx.Err()
	}
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
