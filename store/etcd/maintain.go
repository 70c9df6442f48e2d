package etcd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/types"

	"github.com/wheelhouse-k8s/wheelhouse/store"
)

const (
	// compactionKey remembers the revision that the next compaction takes. Upstream's API servers use the same
	// key with the same meaning: of several servers on one etcd one compacts in each interval.
	compactionKey = "compact_rev_key"
	// checkEvery is how often space is looked at.
	checkEvery = 10 * time.Second
	// copiesInterval is how often the alarm of differing copies is looked for: nothing can be written while it is raised.
	copiesInterval = time.Second
	// tellFull bounds how often the operator is told that space runs out.
	tellFull = 10 * time.Minute
	// Defragmentation rewrites the whole database while requests to this member wait, so it must give much back:
	// at least half the file, and at least defragmentMin bytes.
	defragmentMin = 128 << 20
	// turnLength is how long it is the turn of one member of a group to defragment, so that no two do so at once. The
	// members agree on it by their clocks: a clock that is wrong costs a pause of all, and no data.
	turnLength = time.Minute
	// quotaWarning is the share of the quota from which on the operator is warned, in percent.
	quotaWarning = 80
	// quotaRoom is the share of the quota below which a full database has room again, in percent.
	quotaRoom = 90
)

// maintain compacts history, gives space back, and raises and clears alarms until the store closes.
func (e *Embedded) maintain() {
	defer close(e.done)
	check := time.NewTicker(e.o.checkEvery)
	defer check.Stop()
	var compact <-chan time.Time
	if e.o.CompactionInterval > 0 {
		t := time.NewTicker(e.o.CompactionInterval)
		defer t.Stop()
		compact = t.C
	}
	copies := time.NewTicker(copiesInterval)
	defer copies.Stop()
	turn := compaction{call: e.call}
	for {
		select {
		case <-e.closing.Done():
			return
		case <-e.gate.ended:
			return
		case <-compact:
			if err := turn.take(e.closing); err != nil && e.closing.Err() == nil {
				e.o.Warn(fmt.Sprintf("history was not compacted: %v", err))
			}
		case <-copies.C:
			e.checkCopies()
		case <-check.C:
			e.checkSpace()
			if e.Fragmented() && e.myTurn(time.Now()) {
				e.defragment()
			}
		}
	}
}

// compaction takes part in upstream's agreement on who compacts what.
type compaction struct {
	call caller
	// version of compactionKey when this server last looked, and the store's revision then.
	version, revision int64
}

// take compacts the revision of one interval ago, if no other server did so in this interval.
func (c *compaction) take(ctx context.Context) error {
	key := []byte(compactionKey)
	r, err := c.call.Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{{Key: key, Target: pb.Compare_VERSION, Result: pb.Compare_EQUAL,
			TargetUnion: &pb.Compare_Version{Version: c.version}}},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{
			RequestPut: &pb.PutRequest{Key: key, Value: []byte(strconv.FormatInt(c.revision, 10))}}}},
		Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: key}}}},
	})
	if err != nil {
		return err
	}
	compacted := c.revision
	c.revision = r.Header.Revision
	if !r.Succeeded {
		if found := r.Responses[0].GetResponseRange(); len(found.Kvs) > 0 {
			c.version = found.Kvs[0].Version
		}
		return nil
	}
	c.version++
	if compacted == 0 { // the first turn after a start only remembers
		return nil
	}
	_, err = c.call.Compact(ctx, &pb.CompactionRequest{Revision: compacted})
	return err
}

// Fragmented tells whether defragmenting this member pays.
func (e *Embedded) Fragmented() bool {
	b := e.gate.member().server.Backend()
	free := b.Size() - b.SizeInUse()
	return free >= defragmentMin && free >= b.Size()/2
}

// errReading: a defragmentation would have to wait for a snapshot, and everything for it.
var errReading = errors.New("a snapshot of the database is being read: defragment afterwards")

// Defragment gives the free space in the database back to the disk. Requests to this member wait meanwhile; a leader hands its
// leadership over first. Members of a group do so by themselves when it pays, one after the other.
func (e *Embedded) Defragment() error {
	e.care.Lock()
	defer e.care.Unlock()
	if e.closing.Err() != nil {
		return store.ErrClosed
	}
	return e.snapshots.without(func() error {
		e.stepDown(e.closing)
		return e.gate.member().server.Defragment()
	})
}

// defragment defragments, and tells the operator when that fails.
func (e *Embedded) defragment() {
	if err := e.Defragment(); err != nil && !errors.Is(err, errReading) && e.closing.Err() == nil {
		e.o.Warn(fmt.Sprintf("the database was not defragmented: %v", err))
	}
}

// myTurn tells whether this member may defragment now.
func (e *Embedded) myTurn(now time.Time) bool {
	list := e.gate.member().server.Cluster().Members() // in the order of their numbers
	for i, m := range list {
		if uint64(m.ID) == e.ID() {
			return now.Unix()/int64(e.o.turnLength/time.Second)%int64(len(list)) == int64(i)
		}
	}
	return false
}

// checkSpace warns before the quota is reached. Once it has been, it makes what space there is to make and
// clears the alarm when writing is possible again. In a group the leader compacts, each member defragments itself in its
// turn, and each clears the alarm that it raised, the leader also those of members that are gone: one that has no space
// yet raises its own.
func (e *Embedded) checkSpace() {
	server := e.gate.member().server
	size := func() int64 { return server.Backend().Size() }
	leads := server.Leader() == server.MemberID()
	var mine []*pb.AlarmMember
	full := false
	for _, a := range server.Alarms() {
		if a.Alarm != pb.AlarmType_NOSPACE {
			continue
		}
		full = true
		gone := server.Cluster().Member(types.ID(a.MemberID)) == nil
		if a.MemberID == e.ID() || gone && leads {
			mine = append(mine, a)
		}
	}
	if !full {
		if size()*100 >= e.o.Quota*quotaWarning {
			e.tellSpace("the database holds %d MiB of its quota of %d MiB: delete objects, or start with a larger --quota-backend-bytes", size())
		}
		return
	}
	if leads {
		if revision, err := e.Revision(e.closing); err == nil {
			_, _ = e.call.Compact(e.closing, &pb.CompactionRequest{Revision: revision, Physical: true}) // there may be nothing to compact
		}
	}
	if size()*100 >= e.o.Quota*quotaRoom && e.myTurn(time.Now()) {
		e.defragment()
	}
	if size()*100 >= e.o.Quota*quotaRoom {
		e.tellSpace("the database is full (%d MiB of %d MiB): only reads and deletions work; delete objects, or start with a larger --quota-backend-bytes", size())
		return
	}
	for _, a := range mine {
		if err := e.disarm(a); err != nil {
			e.o.Warn(fmt.Sprintf("the space alarm was not cleared: %v", err))
			return
		}
		e.o.Warn("the database has space again: writes work")
	}
}

func (e *Embedded) disarm(a *pb.AlarmMember) error {
	ctx, cancel := context.WithTimeout(e.closing, leaderWait)
	defer cancel()
	_, err := e.gate.member().server.Alarm(ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: a.MemberID, Alarm: a.Alarm})
	return err
}

// tellSpace warns of the size, but of each kind only once in tellFull.
func (e *Embedded) tellSpace(format string, size int64) {
	if now := time.Now(); now.Sub(e.told[format]) >= tellFull {
		e.told[format] = now
		e.o.Warn(fmt.Sprintf(format, size>>20, e.o.Quota>>20))
	}
}
