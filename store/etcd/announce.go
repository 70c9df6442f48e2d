package etcd

import (
	"context"
	"math/rand/v2"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/membershippb"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

const (
	// announceEvery is how often a starting member tells its name again, and announceWait bounds one attempt to find out
	// whether it has caught up with the leader.
	announceEvery = 100 * time.Millisecond
	announceWait  = 2 * time.Second
)

// announced closes done when the member is known in its group by its name and has caught up with the leader. Etcd itself
// takes a member for ready when its name, told once, has come back; that message is lost when the connections to the others
// do not stand yet, and etcd repeats it after seven seconds only.
func (e *Embedded) announced(ctx context.Context, server *etcdserver.EtcdServer, done chan<- struct{}) {
	look := time.NewTicker(announceEvery)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-server.StopNotify():
			return
		case <-look.C:
		}
		leader, own := server.Leader(), server.Cluster().Member(server.MemberID())
		switch {
		case leader == 0 || leader == server.MemberID() || own == nil:
		case own.Name != e.o.Name:
			tellName(ctx, server, e.o.Name)
		default:
			asking, cancel := context.WithTimeout(ctx, announceWait)
			err := server.LinearizableReadNotify(asking)
			cancel()
			if err == nil {
				close(done)
				return
			}
		}
	}
}

// tellName sends what etcd sends at the start of a member.
func tellName(ctx context.Context, server *etcdserver.EtcdServer, name string) {
	data, err := proto.Marshal(&pb.InternalRaftRequest{
		Header: &pb.RequestHeader{ID: rand.Uint64()},
		ClusterMemberAttrSet: &membershippb.ClusterMemberAttrSetRequest{
			Member_ID: uint64(server.MemberID()), MemberAttributes: &membershippb.Attributes{Name: name},
		},
	})
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, announceEvery)
	defer cancel()
	id := uint64(server.MemberID())
	_ = server.Process(ctx, &raftpb.Message{Type: raftpb.MsgProp.Enum(), From: &id, To: &id, Entries: []*raftpb.Entry{{Data: data}}})
}
