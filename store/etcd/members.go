package etcd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	etcderrors "go.etcd.io/etcd/server/v3/etcdserver/errors"

	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// Member is one member of the group.
type Member struct {
	ID uint64
	// Name is empty until the member has started for the first time.
	Name    string
	PeerURL string
	// Learner members keep a copy of everything but have no vote.
	Learner bool
}

// ErrNotCaughtUp: a learner cannot be promoted yet.
var ErrNotCaughtUp = errors.New("it has not caught up with the leader yet: try again when it is in sync")

const (
	// membersWait bounds the wait for the newest list of members; afterwards the list that is known here must do.
	membersWait = 2 * time.Second
	// attemptWait bounds one attempt to change the membership: Raft drops a change in silence while another is under way.
	attemptWait = 2 * time.Second
	// attemptPause is between attempts. Etcd changes nothing until its connections have stood for five seconds.
	attemptPause = 200 * time.Millisecond
	// changeWait bounds all attempts.
	changeWait = 12 * time.Second
)

// Members lists the group: the newest list, or while there is no leader the last one that this member knows.
func (e *Embedded) Members(ctx context.Context) ([]Member, error) {
	r, err := e.gate.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer e.gate.mu.RUnlock()
	return members(ctx, r)
}

func members(ctx context.Context, r *running) ([]Member, error) {
	inner, cancel := context.WithTimeout(ctx, membersWait)
	defer cancel()
	found, err := r.server.MemberList(inner, &pb.MemberListRequest{Linearizable: r.server.Leader() != 0})
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		found = r.server.Cluster().Members()
	}
	return listOf(found), nil
}

// ReadMembers lists the group from the folder of a member that does not run.
func ReadMembers(dir string) ([]Member, error) {
	o := Options{Dir: dir}
	found, err := readMembership(o.databaseFile())
	if err != nil {
		return nil, err
	}
	return listed(found), nil
}

func listed(found inDatabase) []Member {
	list := make([]*membership.Member, len(found.members))
	for i := range found.members {
		list[i] = &found.members[i]
	}
	return listOf(list)
}

func listOf(found []*membership.Member) []Member {
	list := make([]Member, len(found))
	for i, m := range found {
		list[i] = Member{ID: uint64(m.ID), Name: m.Name, Learner: m.IsLearner}
		if len(m.PeerURLs) > 0 {
			list[i].PeerURL = m.PeerURLs[0]
		}
	}
	slices.SortFunc(list, func(a, b Member) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return list
}

func nameOf(name string, urls []string) string {
	if name != "" {
		return name
	}
	return fmt.Sprint(urls)
}

// configure changes the membership: it tries until the members are as wanted, the reason against it is final, or the time
// is up. Every change that is asked for here may be asked for twice.
func (e *Embedded) configure(ctx context.Context, failed string, wanted func([]Member) bool, change func(context.Context, *running) error) error {
	ctx, cancel := context.WithTimeout(ctx, changeWait)
	defer cancel()
	var last error
	for {
		r, err := e.gate.enter(ctx)
		if err != nil {
			return err
		}
		list, err := members(ctx, r)
		if err == nil && !wanted(list) {
			attempt, cancel := context.WithTimeout(ctx, attemptWait)
			err = change(attempt, r)
			cancel()
			last = err
		}
		list = listOf(r.server.Cluster().Members())
		e.gate.mu.RUnlock()
		switch {
		case err == nil, wanted(list):
			return nil
		case final(err):
			return fmt.Errorf("%s: %w", failed, inWords(err))
		}
		select {
		case <-time.After(attemptPause):
		case <-ctx.Done():
			if last == nil {
				last = ctx.Err()
			}
			return fmt.Errorf("%s: %w", failed, inWords(last))
		}
	}
}

// final tells of the reasons that do not pass with time.
func final(err error) bool {
	for _, target := range []error{membership.ErrIDNotFound, membership.ErrIDRemoved, membership.ErrIDExists, membership.ErrMemberNotLearner,
		membership.ErrTooManyLearners, membership.ErrPeerURLexists, etcderrors.ErrLearnerNotReady, etcderrors.ErrNotEnoughStartedMembers,
		etcderrors.ErrBadLeaderTransferee, errUnsafe, errOnlyVoter} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// inWords says what etcd's errors mean for masters.
func inWords(err error) error {
	switch {
	case errors.Is(err, membership.ErrIDNotFound), errors.Is(err, membership.ErrIDRemoved):
		return errors.New("there is no such member")
	case errors.Is(err, membership.ErrMemberNotLearner):
		return errors.New("it has a vote already")
	case errors.Is(err, membership.ErrPeerURLexists):
		return errors.New("a member with this address exists already: remove it first")
	case errors.Is(err, etcderrors.ErrLearnerNotReady):
		return ErrNotCaughtUp
	case errors.Is(err, etcderrors.ErrNotEnoughStartedMembers):
		return errors.New("too few of the voting masters would be left running to agree on anything: start those that are down first")
	case errors.Is(err, etcderrors.ErrUnhealthy):
		return errors.New("this master has not been connected to enough of the others for the last five seconds: see that they run and try again")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, etcderrors.ErrTimeout), errors.Is(err, etcderrors.ErrCanceled):
		return fmt.Errorf("%w: it was not agreed on in time; see whether most masters run, and look at the members before trying again", store.ErrUnavailable)
	}
	return err
}

// AddLearner adds a learner, for a new member that will be reached at the address. Asked again it returns the learner added before.
func (e *Embedded) AddLearner(ctx context.Context, address string) (Member, error) {
	u, err := peerURL(address)
	if err != nil {
		return Member{}, err
	}
	if !e.Grouped() {
		return Member{}, errors.New("this master is alone, and must be opened for others first")
	}
	var learner Member
	err = e.configure(ctx, "no place was made for the new master",
		func(list []Member) bool {
			i := slices.IndexFunc(list, func(m Member) bool { return m.PeerURL == address && m.Learner && m.Name == "" })
			if i >= 0 {
				learner = list[i]
			}
			return i >= 0
		},
		func(ctx context.Context, r *running) error {
			now := time.Now() // whose second is a part of the ID
			m := membership.NewMemberAsLearner("", types.URLs{*u}, "", &now)
			_, err := r.server.AddMember(ctx, *m)
			if errors.Is(err, membership.ErrIDRemoved) { // not as a final reason: the next second is another
				return fmt.Errorf("a member with this address has left in this very second, and its ID %s can never be used again", m.ID)
			}
			if err == nil {
				learner = Member{ID: uint64(m.ID), PeerURL: address, Learner: true}
			}
			return err
		})
	return learner, err
}

// Promote gives a learner a vote. It must be in sync with the leader.
func (e *Embedded) Promote(ctx context.Context, id uint64) error {
	return e.configure(ctx, "the master was not given a vote",
		func(list []Member) bool { i := find(list, id); return i >= 0 && !list[i].Learner },
		func(ctx context.Context, r *running) error {
			_, err := r.server.PromoteMember(ctx, id)
			return err
		})
}

// errUnsafe: a removal would leave too few members that run.
var errUnsafe = errors.New("too few of the voting masters would be left running to agree on anything: start those that are down, or add another, first")

// errOnlyVoter: without the only voter there is no cluster.
var errOnlyVoter = errors.New("it is the only master with a vote")

// Remove takes a member out of the group. It refuses to when too few of the remaining voters are connected to this member
// to form a majority. The leader removes itself only after handing its leadership over.
func (e *Embedded) Remove(ctx context.Context, id uint64) error {
	if id == e.ID() && id == e.Leader() {
		e.stepDown(ctx)
	}
	known := false
	return e.configure(ctx, "the master was not removed",
		func(list []Member) bool {
			found := find(list, id) >= 0
			gone := known && !found
			known = known || found
			return gone
		},
		func(ctx context.Context, r *running) error {
			if err := e.safeWithout(listOf(r.server.Cluster().Members()), id); err != nil {
				return err
			}
			_, err := r.server.RemoveMember(ctx, id)
			return err
		})
}

// safeWithout checks that most of the voters that are left without a member are connected.
func (e *Embedded) safeWithout(list []Member, id uint64) error {
	i := find(list, id)
	if i < 0 {
		return membership.ErrIDNotFound
	}
	if list[i].Learner {
		return nil
	}
	voters, active := 0, 0
	for _, m := range list {
		if m.Learner || m.ID == id {
			continue
		}
		voters++
		if !e.Active(m.ID).IsZero() {
			active++
		}
	}
	if voters == 0 {
		return errOnlyVoter
	}
	if active < voters/2+1 {
		return errUnsafe
	}
	return nil
}

// moveAttempt bounds one attempt to hand leadership over: the message to the next leader may get lost, and Raft gives up
// after an election time.
const moveAttempt = groupElection*time.Millisecond + 200*time.Millisecond

// MoveLeader makes another voter lead.
func (e *Embedded) MoveLeader(ctx context.Context, id uint64) error {
	r, err := e.gate.enter(ctx)
	if err != nil {
		return err
	}
	defer e.gate.mu.RUnlock()
	ctx, cancel := context.WithTimeout(ctx, changeWait)
	defer cancel()
	return r.moveLeader(ctx, id)
}

func (r *running) moveLeader(ctx context.Context, id uint64) error {
	for {
		lead := uint64(r.server.Leader())
		if lead == id {
			return nil
		}
		if lead != uint64(r.server.MemberID()) {
			return errors.New("leadership was not handed over: only the leader itself can do that, ask that master")
		}
		attempt, cancel := context.WithTimeout(ctx, moveAttempt)
		err := r.server.MoveLeader(attempt, lead, id)
		cancel()
		switch {
		case err == nil:
			return nil
		case errors.Is(err, etcderrors.ErrBadLeaderTransferee):
			return errors.New("leadership was not handed over: there is no such master with a vote")
		case ctx.Err() != nil:
			return fmt.Errorf("leadership was not handed over in time: %w", err)
		}
	}
}

// stepDownWait bounds how long a leader that leaves tries to hand leadership over. Without it the others need as long to
// miss it.
const stepDownWait = 2500 * time.Millisecond

// stepDown hands leadership over to the voter that has been connected for longest, if this member leads and there is one.
func (e *Embedded) stepDown(ctx context.Context) {
	r := e.gate.member()
	if r.server.Leader() != r.server.MemberID() || e.gate.why.Load() != nil {
		return
	}
	var to uint64
	var since time.Time
	for _, m := range r.server.Cluster().Members() {
		at := e.peers.since(uint64(m.ID))
		if !m.IsLearner && !at.IsZero() && (to == 0 || at.Before(since)) {
			to, since = uint64(m.ID), at
		}
	}
	if to == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, stepDownWait)
	defer cancel()
	if err := r.moveLeader(ctx, to); err != nil {
		e.o.Warn(err.Error())
	}
}
