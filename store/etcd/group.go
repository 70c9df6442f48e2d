package etcd

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"

	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// adopt makes a ready member the one that serves.
func (e *Embedded) adopt(r *running) {
	e.gate.now.Store(r)
	go e.attend(r)
	if r.grouped {
		reports := &reporter{tell: e.o.Warn, told: map[uint64]bool{}}
		go e.gate.leaders.follow(r.server, func(now time.Time) { e.report(reports, r, now) })
	}
	e.gate.leaders.change(true)
}

// Group makes a member that is alone one that others can join: it is opened again with a door for them, and its address is
// written into the membership. Requests wait meanwhile, and watches go on. For a member of a group it changes the settings.
func (e *Embedded) Group(ctx context.Context, p Peer) error {
	if _, err := peerURL(p.URL); err != nil {
		return err
	}
	e.care.Lock()
	defer e.care.Unlock()
	if err := e.setPeerURL(ctx, p.URL); err != nil {
		return err
	}
	return e.reopen(ctx, &p)
}

// Reload opens a member of a group again, so that it trusts the authorities that its files hold now. A leader hands its
// leadership over first. A member that is alone has nothing to reload.
func (e *Embedded) Reload(ctx context.Context) error {
	e.care.Lock()
	defer e.care.Unlock()
	if !e.gate.member().grouped {
		return nil
	}
	e.awaitSteady(ctx)
	e.stepDown(ctx)
	return e.reopen(ctx, e.o.Peer)
}

const (
	// steadyFor is how long others have been connected before this member leaves them for a while: until then a leader may not have heard
	// enough of them to stay, or to hand over to. One election is enough for it.
	steadyFor = groupElection * time.Millisecond
	// steadyWait bounds the wait for others whose connections come and go.
	steadyWait = 5 * steadyFor
)

// awaitSteady waits until the voters that are connected have been so for a while: members are opened again one after another, and the one
// before has just come back. Those that are away are not waited for.
func (e *Embedded) awaitSteady(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, steadyWait)
	defer cancel()
	r := e.gate.member()
	for {
		rest := time.Duration(0)
		for _, m := range r.server.Cluster().Members() {
			if since := e.peers.since(uint64(m.ID)); !m.IsLearner && !since.IsZero() {
				rest = max(rest, steadyFor-time.Since(since))
			}
		}
		if rest <= 0 {
			return
		}
		select {
		case <-time.After(rest):
		case <-ctx.Done():
			return
		}
	}
}

// Grouped tells whether the member has a door for others now.
func (e *Embedded) Grouped() bool { return e.gate.member().grouped }

// reopen closes the member and opens it as one of a group, and returns when it serves. If it cannot be opened it is opened as
// it was; if it only finds no leader in the time that it is given, it stays. Held by care.
func (e *Embedded) reopen(ctx context.Context, p *Peer) error {
	if e.closing.Err() != nil {
		return store.ErrClosed
	}
	fresh, err := e.swap(p)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.closing, cancel)()
	return e.ready(ctx, fresh, startOptions{grouped: true})
}

// swap puts a member that is opened anew in place of the present one. Requests wait for that, but not for its leader: they
// do so each for itself.
func (e *Embedded) swap(p *Peer) (*running, error) {
	defer e.gate.lock()()
	e.snapshots.end(fmt.Errorf("%w: the member was opened again, take another snapshot", store.ErrUnavailable))
	if why := e.gate.why.Load(); why != nil {
		return nil, *why
	}
	old, before := e.gate.member(), e.o.Peer
	if before == nil || before.Listen != p.Listen { // an address that is taken must not cost the present member
		door, err := openDoor(p)
		if err != nil {
			return nil, err
		}
		door.close()
	}
	old.leave()
	e.o.Peer = p
	fresh, err := e.begin(e.closing, startOptions{grouped: true})
	if err == nil {
		e.adopt(fresh)
		return fresh, nil
	}
	e.o.Peer = before
	fresh, again := e.begin(e.closing, startOptions{grouped: old.grouped})
	if again == nil && !old.grouped {
		if again = e.ready(e.closing, fresh, startOptions{}); again != nil {
			fresh.leave()
		}
	}
	if again != nil {
		e.gate.end(fmt.Errorf("%w: the store could not be opened again: %w", store.ErrClosed, again))
		if e.closing.Err() == nil {
			e.o.Fatal(again)
		}
		return nil, err
	}
	e.adopt(fresh)
	return nil, err
}

// SetPeerURL changes the address under which the others reach this member. It must lead here already: with a wrong one this
// member could not take part any more, and not even put it right.
func (e *Embedded) SetPeerURL(ctx context.Context, address string) error {
	if _, err := peerURL(address); err != nil {
		return err
	}
	e.care.Lock()
	defer e.care.Unlock()
	server := e.gate.member().server
	if m := server.Cluster().Member(server.MemberID()); m != nil && slices.Equal(m.PeerURLs, []string{address}) {
		return nil
	}
	if err := e.reachable(ctx, address); err != nil {
		return fmt.Errorf("the address of this master was not changed: %s does not lead to it: %w", address, err)
	}
	return e.setPeerURL(ctx, address)
}

// reachWait bounds the try of an address.
const reachWait = 5 * time.Second

// reachable asks at an address for the members, as a peer would.
func (e *Embedded) reachable(ctx context.Context, address string) error {
	m := e.gate.member()
	if !m.grouped {
		return errors.New("it is alone, and has no door for others")
	}
	ctx, cancel := context.WithTimeout(ctx, reachWait)
	defer cancel()
	transport, err := transport.NewTransport(peerTLS(e.o.Peer), reachWait)
	if err != nil {
		return err
	}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/members", nil)
	if err != nil {
		return err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	response.Body.Close()
	if got := response.Header.Get("X-Etcd-Cluster-ID"); got != m.server.Cluster().ID().String() {
		return errors.New("who answers there is not of this cluster")
	}
	return nil
}

func (e *Embedded) setPeerURL(ctx context.Context, address string) error {
	self := e.ID()
	return e.configure(ctx, "the address of this master was not changed",
		func(members []Member) bool {
			i := find(members, self)
			return i >= 0 && members[i].PeerURL == address
		},
		func(ctx context.Context, r *running) error {
			m := r.server.Cluster().Member(r.server.MemberID())
			if m == nil {
				return errors.New("this master is not a member")
			}
			_, err := r.server.UpdateMember(ctx, membership.Member{ID: m.ID,
				RaftAttributes: membership.RaftAttributes{PeerURLs: []string{address}, IsLearner: m.IsLearner}})
			return err
		})
}

func peerURL(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Port() == "" || u.Path != "" {
		return nil, fmt.Errorf("%q is not an address for other masters: it must look like https://HOST:PORT", address)
	}
	return u, nil
}

func find(members []Member, id uint64) int {
	return slices.IndexFunc(members, func(m Member) bool { return m.ID == id })
}
