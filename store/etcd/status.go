package etcd

import (
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/version"
)

// Status is how a member is, as far as it knows itself.
type Status struct {
	ID, Cluster, Leader uint64
	Learner             bool
	// Term and Index are Raft's: Index is the newest entry that is committed, Applied the newest that is in the database.
	Term, Index, Applied uint64
	// Revision is the store's, Size the database's on disk, and InUse the part of it in use, in bytes.
	Revision, Size, InUse int64
	// Alarms are those of the whole group.
	Alarms []string
	// Version of etcd.
	Version string
}

// Status tells how the member is. It asks no other.
func (e *Embedded) Status() Status {
	s := e.gate.member().server
	b := s.Backend()
	status := Status{
		ID: uint64(s.MemberID()), Cluster: uint64(s.Cluster().ID()), Leader: uint64(s.Leader()), Learner: s.IsLearner(),
		Term: s.Term(), Index: s.CommittedIndex(), Applied: s.AppliedIndex(),
		Revision: s.KV().Rev(), Size: b.Size(), InUse: b.SizeInUse(), Version: version.Version,
	}
	for _, a := range s.Alarms() {
		status.Alarms = append(status.Alarms, fmt.Sprintf("%s of member %x", a.Alarm, a.MemberID))
	}
	return status
}

// isCorrupt tells whether the alarms say that a member's data differ from the others'.
func isCorrupt(alarms []*pb.AlarmMember, id uint64) bool {
	for _, a := range alarms {
		if a.Alarm == pb.AlarmType_CORRUPT && a.MemberID == id {
			return true
		}
	}
	return false
}
