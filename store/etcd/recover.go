package etcd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

// recoverLog prepares the log of a member that is to go on alone.
//
// All that is in the log counts as committed: etcd would forget the end of it, whose commitment a member learns, and even
// more so keeps, later than it acknowledges the entries, and a majority may have acknowledged them all.
//
// A learner that is the last of its group is promoted, in its own log: without a vote it could never lead, and etcd's
// way of starting a new cluster from an old member removes only the others. It writes what their leader would have
// written, so that members which join later and read the log from its beginning come to the same membership.
func recoverLog(o Options, found inDatabase) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("the log of this master could not be prepared for going on alone: %w", err)
		}
	}()
	log, self, state, last, err := openLog(o.walDir())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	learner := false
	for _, m := range found.members {
		learner = learner || uint64(m.ID) == self && m.IsLearner
	}
	term, vote, last := state.GetTerm(), state.GetVote(), max(last, state.GetCommit(), found.index)
	if !learner {
		return log.Save(&raftpb.HardState{Term: &term, Vote: &vote, Commit: &last}, nil)
	}
	change, err := json.Marshal(membership.ConfigChangeContext{Member: membership.Member{ID: types.ID(self)}, IsPromote: true})
	if err != nil {
		return err
	}
	data, err := proto.Marshal(&raftpb.ConfChange{Type: raftpb.ConfChangeAddNode.Enum(), NodeId: &self, Context: change})
	if err != nil {
		return err
	}
	index := last + 1
	return log.Save(&raftpb.HardState{Term: &term, Vote: &vote, Commit: &index},
		[]*raftpb.Entry{{Type: raftpb.EntryConfChange.Enum(), Term: &term, Index: &index, Data: data}})
}

// openLog opens a log at its end, and says whose it is and the index of its last entry.
func openLog(dir string) (log *wal.WAL, self uint64, state *raftpb.HardState, last uint64, err error) {
	snapshots, err := wal.ValidSnapshotEntries(zap.NewNop(), dir)
	if err != nil {
		return nil, 0, nil, 0, err
	}
	at := &walpb.Snapshot{}
	if len(snapshots) > 0 {
		at = snapshots[len(snapshots)-1]
	}
	for repaired := false; ; repaired = true {
		if log, err = wal.Open(zap.NewNop(), dir, at); err != nil {
			return nil, 0, nil, 0, err
		}
		metadata, state, entries, err := log.ReadAll()
		if err == nil {
			self, _, err := owner(metadata)
			if err != nil {
				return nil, 0, nil, 0, errors.Join(err, log.Close())
			}
			last := at.GetIndex()
			if len(entries) > 0 {
				last = entries[len(entries)-1].GetIndex()
			}
			return log, self, state, last, nil
		}
		log.Close()
		if repaired || !errors.Is(err, io.ErrUnexpectedEOF) || !wal.Repair(zap.NewNop(), dir) { // a crash may leave half an entry
			return nil, 0, nil, 0, err
		}
	}
}

// owner reads whose log it is.
func owner(metadata []byte) (member, cluster uint64, err error) {
	var of etcdserverpb.Metadata
	err = proto.Unmarshal(metadata, &of)
	return of.GetNodeID(), of.GetClusterID(), err
}
