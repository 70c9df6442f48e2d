package etcd

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/server/v3/etcdserver"

	"github.com/wheelhouse-k8s/wheelhouse/store"
)

const (
	// lookForLeader is how often a member looks whether it still knows a leader: etcd tells of new leaders only.
	lookForLeader = 100 * time.Millisecond
	// A write that was made under a lost leader may still be committed by the next one, but soon: afterwards, or if there
	// is no next one for long, it ends with an unknown outcome.
	nextLeaderWait, lostWait = 300 * time.Millisecond, 3 * time.Second
	// hurriedWait bounds requests in a process that ends.
	hurriedWait = time.Second
)

// errLeaderLost ends writes whose leader was lost.
var errLeaderLost = fmt.Errorf("%w: the leader was lost, the outcome is unknown", store.ErrUnavailable)

// errNoLeader: a request waited for a leader in vain. Callers get store.NoQuorum for it, which tells more.
var errNoLeader = errors.New("no leader")

// leaders follows who leads, and keeps the requests that are under way.
type leaders struct {
	mu      sync.Mutex
	term    uint64           // counts the changes seen; guarded by mu
	changed chan struct{}    // closed at the next change; guarded by mu
	flights map[*flight]bool // guarded by mu
	hurried bool             // guarded by mu
}

// flight is a request under way in a group.
type flight struct {
	term   uint64 // of leaders, when it began
	ctx    context.Context
	cancel context.CancelCauseFunc
	late   *time.Timer // nil unless the process ends; guarded by leaders.mu
}

func newLeaders() *leaders {
	return &leaders{changed: make(chan struct{}), flights: map[*flight]bool{}}
}

// follow looks after the leader until the member stops, and calls also as often as it looks.
func (l *leaders) follow(server *etcdserver.EtcdServer, also func(time.Time)) {
	look := time.NewTicker(lookForLeader)
	defer look.Stop()
	last := server.Leader()
	for {
		elected := server.LeaderChangedNotify()
		if now := server.Leader(); now != last {
			last = now
			l.change(now != 0)
		}
		select {
		case <-elected:
			last = server.Leader()
			l.change(last != 0)
		case now := <-look.C:
			also(now)
		case <-server.StopNotify():
			return
		}
	}
}

// change tells that the leader was lost, or that there is a new one.
func (l *leaders) change(known bool) {
	l.mu.Lock()
	l.term++
	term := l.term
	close(l.changed)
	l.changed = make(chan struct{})
	l.mu.Unlock()
	wait := lostWait
	if known {
		wait = nextLeaderWait
	}
	time.AfterFunc(wait, func() { l.endBefore(term, errLeaderLost) })
}

func (l *leaders) changes() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// wait returns when there is a leader.
func (l *leaders) wait(ctx context.Context, server *etcdserver.EtcdServer, deadline time.Time, hurried <-chan struct{}) error {
	if server.Leader() != 0 {
		return nil
	}
	late := time.NewTimer(time.Until(deadline))
	defer late.Stop()
	for {
		changed, elected := l.changes(), server.LeaderChangedNotify()
		if server.Leader() != 0 {
			return nil
		}
		select {
		case <-changed:
		case <-elected:
		case <-late.C:
			return errNoLeader
		case <-hurried:
			late.Reset(hurriedWait)
			hurried = nil
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return errNoLeader
			}
			return ctx.Err()
		case <-server.StopNotify():
			return errNoLeader
		}
	}
}

func (l *leaders) begin(ctx context.Context) (context.Context, *flight) {
	f := &flight{}
	f.ctx, f.cancel = context.WithCancelCause(ctx)
	l.mu.Lock()
	f.term = l.term
	l.flights[f] = true
	if l.hurried {
		f.late = time.AfterFunc(hurriedWait, func() { f.cancel(errLeaderLost) })
	}
	l.mu.Unlock()
	return f.ctx, f
}

// hurry bounds the requests that are under way, and those that begin from now on.
func (l *leaders) hurry() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hurried = true
	for f := range l.flights {
		if f.late == nil {
			f.late = time.AfterFunc(hurriedWait, func() { f.cancel(errLeaderLost) })
		}
	}
}

func (l *leaders) finish(f *flight) {
	l.mu.Lock()
	delete(l.flights, f)
	late := f.late
	l.mu.Unlock()
	if late != nil {
		late.Stop()
	}
	f.cancel(nil)
}

// cause says why the flight was ended by leaders; nil if it was not.
func (f *flight) cause() error {
	if why := context.Cause(f.ctx); why != context.Canceled && why != f.ctx.Err() {
		return why
	}
	return nil
}

// endBefore ends the requests that began before the term.
func (l *leaders) endBefore(term uint64, why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for f := range l.flights {
		if f.term < term {
			f.cancel(why)
		}
	}
}

func (l *leaders) endAll(why error) { l.endBefore(^uint64(0), why) }

// Leader is the member that leads as far as this one knows, 0 if none does.
func (e *Embedded) Leader() uint64 { return uint64(e.gate.member().server.Leader()) }

// LeaderChanged returns a channel that is closed when the leader is lost or another one is known. Ask again for each change.
func (e *Embedded) LeaderChanged() <-chan struct{} { return e.gate.leaders.changes() }

// ID is this member's.
func (e *Embedded) ID() uint64 { return uint64(e.gate.member().server.MemberID()) }
