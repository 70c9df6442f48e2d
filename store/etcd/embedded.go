package etcd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/wheelhouse-k8s/wheelhouse/durable"
	"github.com/wheelhouse-k8s/wheelhouse/store"
)

const (
	// DefaultQuota is the size of the database, in bytes, from which on only reads and deletions work.
	DefaultQuota = 8 << 30
	// readyWait bounds the start of a member that is alone, which elects itself in a fraction of a second, and of one that
	// joins, which has others to be let in by. One of a group waits for the others for as long as it takes.
	readyWait = 5 * time.Minute
)

// Options of an embedded member.
type Options struct {
	// Dir holds the member's data; it is made when missing.
	Dir string
	// Name of the member; empty means "master".
	Name string
	// Quota in bytes; 0 means DefaultQuota.
	Quota int64
	// CompactionInterval is how long history is kept; 0 means five minutes, negative never compacts.
	CompactionInterval time.Duration
	// Log takes etcd's own messages; nil drops them.
	Log *zap.Logger
	// Warn is told what the operator should know (space, alarms, a slow disk); nil ignores it.
	Warn func(message string)
	// Fatal is told why the member cannot go on, as when its disk fails: what it acknowledged is safe, but the process must
	// end. nil writes the reason to the standard error and ends the process.
	Fatal func(error)
	// Peer is how the member is reached by others; a member that is alone makes no use of it.
	Peer *Peer
	// Join makes a new member join a group that has added a learner for it (AddLearner). A folder that holds a member's data
	// needs no Join any more, and ignores it.
	Join *Join
	// ForceNew makes the member the only one of its group: for a group that has lost its majority for ever. It may lose the
	// newest writes.
	ForceNew bool
	// Running is called when the member has started, and before it can serve: of its methods, only those that ask nobody may
	// be used until Open returns. If it starts again before that, it is called again. nil ignores it.
	Running func(*Embedded)

	// Tests change these: how often copies are compared and space is looked at, whether a starting member compares its copy,
	// and how long its turn to defragment lasts (in whole seconds).
	compareEvery   time.Duration
	checkEvery     time.Duration
	startUnchecked bool
	turnLength     time.Duration
}

// Embedded is a store whose etcd member runs in this process, alone or as one of a group.
type Embedded struct {
	*keyspace
	o      Options
	gate   *gate
	peers  *peerStates
	probes probes
	// care is held by what must not run while the member is reopened, closed or defragmented: one such thing at a time.
	care      sync.Mutex
	hurry     sync.Once
	snapshots snapshots
	ledger    *keeper
	told      map[string]time.Time // when the operator was last told of what lasts; only maintain uses it
	done      chan struct{}        // closed when maintenance has ended
}

// Open starts the member and waits until it can serve.
func Open(ctx context.Context, o Options) (*Embedded, error) {
	o.complete()
	if err := prepare(o.Dir); err != nil {
		return nil, err
	}
	e := &Embedded{o: o, peers: newPeerStates(), gate: newGate(), told: map[string]time.Time{}, done: make(chan struct{})}
	e.gate.outage = func() string { q := e.Quorum(); return q.String() }
	examined, err := Examine(o.Dir)
	if err != nil {
		return nil, err
	}
	if examined.Remark != "" {
		o.Warn(examined.Remark)
	}
	member, err := e.open(ctx)
	if err != nil {
		return nil, err
	}
	e.keyspace = newKeyspace(e.gate, localWatches{newStream: e.gate.newStream, ended: e.gate.ended, call: e.gate}, names{})
	e.adopt(member)
	if err := e.whole(ctx, examined, member); err != nil {
		e.gate.shut(0)
		member.leave()
		return nil, err
	}
	e.ledger = e.keepLedger(examined)
	go e.maintain()
	return e, nil
}

// whole compares what the member holds, its log included, with what it had acknowledged: a log whose end is damaged looks like one that
// ends there. A member of a group gets what it lacks from the others.
func (e *Embedded) whole(ctx context.Context, x *Examination, m *running) error {
	if !x.Ledger || m.grouped {
		return nil
	}
	revision, err := e.Revision(ctx)
	if err != nil {
		return err
	}
	if revision < x.LedgerRevision {
		return damaged(e.o.walDir(), fmt.Errorf("with it the data end at revision %d, and revision %d was written", revision, x.LedgerRevision))
	}
	return nil
}

func (o *Options) complete() {
	if o.Name == "" {
		o.Name = "master"
	}
	if o.Quota == 0 {
		o.Quota = DefaultQuota
	}
	if o.CompactionInterval == 0 {
		o.CompactionInterval = 5 * time.Minute
	}
	if o.compareEvery == 0 {
		o.compareEvery = compareEvery
	}
	if o.checkEvery == 0 {
		o.checkEvery = checkEvery
	}
	if o.turnLength == 0 {
		o.turnLength = turnLength
	}
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Fatal == nil {
		o.Fatal = func(err error) {
			fmt.Fprintf(os.Stderr, "the store cannot go on: %v\n", err)
			os.Exit(1)
		}
	}
}

// open starts the member as its database says, alone or in its group, and waits until it serves.
func (e *Embedded) open(ctx context.Context) (*running, error) {
	found, err := readMembership(e.o.databaseFile())
	if err != nil {
		return nil, err
	}
	exists := e.o.exists()
	joining := e.o.Join != nil && !exists
	// One that joined and ended before it had learnt of anybody knows no member, but the others will call at its door.
	unfinished := exists && len(found.members) == 0 && e.o.Peer != nil
	grouped := joining || !e.o.ForceNew && (len(found.members) > 1 || unfinished)
	if grouped && e.o.Peer == nil {
		return nil, errors.New("the data folder is one of a group of masters: start it with the settings that it is reached under by the others")
	}
	if e.o.ForceNew {
		if !exists {
			return nil, fmt.Errorf("%s holds no data that a new cluster could go on from", e.o.Dir)
		}
		if err := recoverLog(e.o, found); err != nil {
			return nil, err
		}
	}
	waiting := ctx
	if !grouped || joining {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, readyWait)
		defer cancel()
	}
	member, err := e.start(ctx, startOptions{grouped: grouped, joining: joining, forceNew: e.o.ForceNew})
	for until := time.Now().Add(joinWait); joining && membersDiffer(err) && time.Now().Before(until) && ctx.Err() == nil; {
		time.Sleep(joinPause)
		member, err = e.start(ctx, startOptions{grouped: true, joining: true})
	}
	if errors.Is(err, errNotAlone) { // the log is ahead of the database
		if e.o.Peer == nil {
			return nil, err
		}
		member, err = e.start(waiting, startOptions{grouped: true})
	}
	return member, err
}

const (
	// joinWait is how long a joining member takes it for possible that the member which it asked has not heard
	// of its learner yet.
	joinWait  = 5 * time.Second
	joinPause = 100 * time.Millisecond
)

// membersDiffer tells of etcd's error when a member that a joining one asked knows other members than it was told.
func membersDiffer(err error) bool {
	return err != nil && strings.Contains(err.Error(), "error validating peerURLs")
}

func (o *Options) databaseFile() string { return filepath.Join(o.Dir, "member", "snap", "db") }

// exists tells whether the folder holds a member's data.
func (o *Options) exists() bool {
	logs, _ := filepath.Glob(filepath.Join(o.Dir, "member", "wal", "*.wal"))
	return len(logs) > 0
}

// probeName is the file that tries whether the folder can be written; a crash may leave it behind.
const probeName = ".writable"

// prepare makes the folder, or checks that its member may start. What lies there besides is left alone: a file system of its own
// may keep something at its root.
func prepare(dir string) error {
	if err := durable.MakeFolder(dir, 0o700); err != nil {
		return fmt.Errorf("the data folder cannot be made: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, RemovedName)); err == nil {
		return wasRemoved(dir)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the data folder cannot be read: %w", err)
	}
	probe := filepath.Join(dir, probeName)
	if err := os.WriteFile(probe, nil, 0o600); err != nil {
		return fmt.Errorf("the data folder cannot be written: %w", err)
	}
	return os.Remove(probe)
}

// Size implements store.Store.
func (e *Embedded) Size(context.Context) (total, inUse int64, err error) {
	b := e.gate.member().server.Backend()
	return b.Size(), b.SizeInUse(), nil
}

const (
	// closeWait is how long requests in flight may take to end when the store closes.
	closeWait = time.Second
	// closeStepDown bounds the attempt to hand leadership over then: when all members stop at once, nobody takes it.
	closeStepDown = time.Second
)

// Close implements store.Store. The leader of a group hands its leadership over first.
func (e *Embedded) Close() error {
	if e.closing.Err() != nil {
		return nil
	}
	e.close()
	<-e.done
	e.care.Lock()
	defer e.care.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), closeStepDown)
	e.stepDown(ctx)
	cancel()
	e.gate.shut(closeWait)
	e.snapshots.end(store.ErrClosed)
	member := e.gate.member()
	if !member.failed() {
		e.ledger.await(member.server.KV().Rev())
	}
	e.ledger.end()
	member.leave()
	if found, err := readMembership(e.o.databaseFile()); err == nil {
		e.ledger.seal(found.newest, found.index)
	}
	return nil
}

var _ store.Store = (*Embedded)(nil)
