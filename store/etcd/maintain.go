package etcd

import (
	"context"
	"fmt"
	"strconv"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

const (
	// compactionKey remembers the revision that the next compaction takes. Upstream's API servers use the same
	// key with the same meaning: of several servers on one etcd one compacts in each interval.
	compactionKey = "compact_rev_key"
	// checkInterval is how often space and alarms are looked at.
	checkInterval = 30 * time.Second
	// Defragmentation rewrites the whole database while writes wait, so it must give much back:
	// at least half the file, and at least defragmentMin bytes.
	defragmentMin = 128 << 20
	// quotaWarning is the share of the quota from which on the operator is warned, in percent.
	quotaWarning = 80
)

// maintain compacts history, gives space back, and raises and clears alarms until the store closes.
func (e *Embedded) maintain() {
	defer close(e.done)
	check := time.NewTicker(checkInterval)
	defer check.Stop()
	var compact <-chan time.Time
	if e.o.CompactionInterval > 0 {
		t := time.NewTicker(e.o.CompactionInterval)
		defer t.Stop()
		compact = t.C
	}
	turn := compaction{call: e.call}
	for {
		select {
		case <-e.closing.Done():
			return
		case <-compact:
			if err := turn.take(e.closing); err != nil && e.closing.Err() == nil {
				e.o.Warn(fmt.Sprintf("history was not compacted: %v", err))
			}
			e.giveSpaceBack()
		case <-check.C:
			e.checkSpace()
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

// giveSpaceBack defragments when that pays.
func (e *Embedded) giveSpaceBack() {
	b := e.gate.member().server.Backend()
	free := b.Size() - b.SizeInUse()
	if free < defragmentMin || free < b.Size()/2 {
		return
	}
	if err := b.Defrag(); err != nil {
		e.o.Warn(fmt.Sprintf("the database was not defragmented: %v", err))
	}
}

// checkSpace warns before the quota is reached. Once it has been, it makes what space there is to make and
// clears the alarm when writing is possible again.
func (e *Embedded) checkSpace() {
	server := e.gate.member().server
	size := server.Backend().Size()
	full := false
	for _, a := range server.Alarms() {
		full = full || a.Alarm == pb.AlarmType_NOSPACE
	}
	if !full {
		if size*100 >= e.o.Quota*quotaWarning {
			e.o.Warn(fmt.Sprintf("the database holds %d MiB of its quota of %d MiB: delete objects, or start with a larger --quota-backend-bytes",
				size>>20, e.o.Quota>>20))
		}
		return
	}
	if revision, err := e.Revision(e.closing); err == nil {
		e.Compact(e.closing, revision)
	}
	if err := server.Backend().Defrag(); err != nil {
		e.o.Warn(fmt.Sprintf("the database was not defragmented: %v", err))
	}
	if size = server.Backend().Size(); size*10 >= e.o.Quota*9 {
		e.o.Warn(fmt.Sprintf("the database is full (%d MiB of %d MiB): only reads and deletions work; delete objects, or start with a larger --quota-backend-bytes",
			size>>20, e.o.Quota>>20))
		return
	}
	for _, a := range server.Alarms() {
		if a.Alarm != pb.AlarmType_NOSPACE {
			continue
		}
		request := &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: a.MemberID, Alarm: a.Alarm}
		if _, err := server.Alarm(e.closing, request); err != nil {
			e.o.Warn(fmt.Sprintf("the space alarm was not cleared: %v", err))
			return
		}
	}
	e.o.Warn("the database has space again: writes work")
}
