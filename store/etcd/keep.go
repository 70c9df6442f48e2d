package etcd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
)

const (
	// markEvery is how soon a change is in the ledger's file; sealWait bounds how long a close waits for the newest.
	markEvery, sealWait = time.Second, time.Second
	// unmarkedMax in bytes is how much waits for a file that cannot be written before the ledger is given up.
	unmarkedMax = 4 << 20
	// rebuildPage is how many keys are read at once when a ledger is made from the database; rebuildPause follows a failure.
	rebuildPage  = 1000
	rebuildPause = time.Second
)

// keeper keeps the ledger of a member that runs.
type keeper struct {
	e    *Embedded
	file string
	salt ledgerSalt
	over chan struct{} // closed when it shall end
	done chan struct{} // closed when it has

	mu       sync.Mutex // guards all below
	out      *os.File   // nil while there is no ledger to append to
	pending  []byte     // whole revisions that are not in the file
	reached  int64      // the newest revision that was seen
	marked   int64      // the newest that the file has
	records  int        // in the file
	rewrites int        // how many records the file may have before it is written anew
	timer    *time.Timer
	moved    chan struct{} // closed and replaced when reached grows
}

// keepLedger begins a ledger that goes on from what was examined; x is nil for a member that had nothing.
func (e *Embedded) keepLedger(x *Examination) *keeper {
	k := &keeper{e: e, file: ledgerFile(e.o.Dir), over: make(chan struct{}), done: make(chan struct{}), moved: make(chan struct{})}
	latest := map[uint64]record{}
	if x != nil && x.contents != nil {
		k.salt, latest, k.reached = x.salt, x.contents.latest, x.contents.newest
	} else {
		k.salt, k.reached = newSalt(), 1
	}
	if err := k.begin(latest, k.reached); err != nil {
		e.o.Warn(fmt.Sprintf("values in the store cannot be checked at the next start: %v", err))
	}
	go k.run()
	return k
}

// begin writes a ledger anew and opens it for what follows.
func (k *keeper) begin(latest map[uint64]record, revision int64) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.beginLocked(latest, revision)
}

func (k *keeper) beginLocked(latest map[uint64]record, revision int64) error {
	if k.out != nil {
		k.out.Close()
		k.out = nil
	}
	n, err := writeLedger(k.file, k.salt, latest, revision)
	if err != nil {
		return err
	}
	k.records, k.rewrites, k.marked = n, 2*n+rewriteFloor, revision
	k.out, err = os.OpenFile(k.file, os.O_WRONLY|os.O_APPEND, 0o600)
	return err
}

func (k *keeper) run() {
	defer close(k.done)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-k.over
		cancel()
	}()
	for ctx.Err() == nil {
		err := k.follow(ctx)
		if errors.Is(err, mvcc.ErrCompacted) { // it was away for long, or got its database from another member
			err = k.rebuild(ctx)
		}
		if err == nil {
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(rebuildPause):
		}
	}
}

// follow takes over every change until the watch of them ends.
func (k *keeper) follow(ctx context.Context) error {
	k.mu.Lock()
	from := k.reached + 1
	k.mu.Unlock()
	s, err := localWatches{newStream: k.e.gate.newStream, ended: k.over}.open(ctx, watchRequest{key: []byte{0}, end: []byte{}, from: from})
	if err != nil {
		return err
	}
	defer s.close()
	for {
		d, err := s.next()
		if err != nil {
			return err
		}
		k.take(&d)
	}
}

func (k *keeper) take(d *delivery) {
	if len(d.changes) == 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, e := range d.changes {
		if k.out != nil {
			k.pending = k.salt.recordOf(e.Kv, e.Kv.ModRevision, e.Type == mvccpb.Event_DELETE).appendTo(k.pending)
		}
		k.reached = e.Kv.ModRevision
	}
	close(k.moved)
	k.moved = make(chan struct{})
	if k.timer == nil && k.out != nil {
		k.timer = time.AfterFunc(markEvery, k.flush)
	}
}

// flush writes what is pending, and a mark.
func (k *keeper) flush() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.timer = nil
	k.flushLocked()
}

func (k *keeper) flushLocked() {
	if k.out == nil || k.marked == k.reached {
		return
	}
	n := len(k.pending) / recordLength
	at, err := k.out.Seek(0, 2)
	if err == nil {
		b := record{revision: k.reached, kind: recordMark}.appendTo(k.pending)
		if _, err = k.out.Write(b); err != nil {
			err = errors.Join(err, k.out.Truncate(at)) // half of it says nothing
		}
	}
	if err != nil {
		if len(k.pending) > unmarkedMax {
			k.giveUp(err)
		} else {
			k.timer = time.AfterFunc(markEvery, k.flush)
		}
		return
	}
	k.pending, k.marked = k.pending[:0], k.reached
	if cap(k.pending) > unmarkedMax {
		k.pending = nil
	}
	if k.records += n + 1; k.records > k.rewrites {
		k.rewrite()
	}
}

// rewrite drops the records of what has been overwritten.
func (k *keeper) rewrite() {
	l, err := readLedger(k.file)
	if err == nil && l == nil {
		err = os.ErrNotExist
	}
	if err == nil {
		err = k.beginLocked(l.latest, l.revision)
	}
	if err != nil {
		k.giveUp(err)
	}
}

// giveUp goes on without a ledger until the next start makes one.
func (k *keeper) giveUp(why error) {
	if k.out != nil {
		k.out.Close()
	}
	k.out, k.pending = nil, nil
	os.Remove(k.file)
	k.e.o.Warn(fmt.Sprintf("values in the store cannot be checked at the next start: %v", why))
}

// rebuild makes the ledger from the database as it is now.
func (k *keeper) rebuild(ctx context.Context) error {
	latest := map[uint64]record{}
	request := &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Limit: rebuildPage, Serializable: true}
	for {
		r, err := k.e.gate.Range(ctx, request)
		if err != nil {
			return err
		}
		if request.Revision == 0 {
			request.Revision = r.Header.Revision
		}
		for _, kv := range r.Kvs {
			rec := k.salt.recordOf(kv, kv.ModRevision, false)
			latest[rec.key] = rec
		}
		if !r.More {
			break
		}
		request.Key = append(r.Kvs[len(r.Kvs)-1].Key, 0)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pending, k.reached = nil, request.Revision
	if err := k.beginLocked(latest, request.Revision); err != nil {
		k.giveUp(err)
	}
	return nil
}

// await waits for a moment until everything up to a revision was seen.
func (k *keeper) await(revision int64) {
	late := time.NewTimer(sealWait)
	defer late.Stop()
	for {
		k.mu.Lock()
		reached, moved := k.reached, k.moved
		k.mu.Unlock()
		if reached >= revision {
			return
		}
		select {
		case <-moved:
		case <-k.done:
			return
		case <-late.C:
			return
		}
	}
}

// end writes what is known. It is called before the member stops.
func (k *keeper) end() {
	close(k.over)
	<-k.done
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.timer != nil {
		k.timer.Stop()
	}
	k.flushLocked()
}

// seal says where the database ends, after the member has stopped.
func (k *keeper) seal(newest int64, index uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.out == nil {
		return
	}
	if newest == k.marked {
		_, _ = k.out.Write(record{revision: newest, key: index, kind: recordSeal}.appendTo(nil))
	}
	k.out.Close()
	k.out = nil
}
