package roll

import (
	"context"
	"sync"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/election"
	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
)

const (
	// goneAfter is how long the store must have had no connection to a member before its master is taken for gone.
	goneAfter = 2 * time.Second
	// graceAfter is how long a master that has lost the store's leadership, but is still connected, may take to hand
	// its Leases over itself.
	graceAfter = time.Second
	// formerFor is how long the store's former leader counts as that.
	formerFor = 10 * time.Second
	// patienceMin is how long a holder stays that is not the store's leader; it doubles up to patienceMax while the
	// store's leader does not keep the Lease.
	patienceMin = 10 * time.Second
	patienceMax = 10 * time.Minute
	// lookAgain is how often the store's leader looks at a holder that is another master.
	lookAgain = 500 * time.Millisecond
	// membersPause is the wait before the members are asked for again after that failed, or did not tell a master's.
	membersPause = time.Second
)

// Group is what the store knows of its members.
type Group interface {
	Grouped() bool
	ID() uint64
	Leader() uint64
	LeaderChanged() <-chan struct{}
	Active(id uint64) time.Time
	InactiveSince(id uint64) time.Time
	Members(ctx context.Context) ([]etcd.Member, error)
	MoveLeader(ctx context.Context, id uint64) error
}

// Precedence says which master is best placed to lead: the one whose member leads the store, because its writes take one
// trip less, and because the store knows within a second or two when it is gone.
type Precedence struct {
	group Group
	peers func() []Peer
	// peersChanged is closed when masters come or go.
	peersChanged func() <-chan struct{}
	now          func() time.Time

	mu      sync.Mutex
	present ranks         // guarded by mu
	changed chan struct{} // guarded by mu; closed and replaced when present changes
}

// ranks is the state of the store's own election.
type ranks struct {
	// leader is the leading member, 0 if none is known, since a time; former led before.
	leader, former uint64
	since          time.Time
	// members by the names of their masters. Those that were removed stay: their masters are known to be gone.
	members map[string]uint64
}

func (r *ranks) name(id uint64) string {
	for name, other := range r.members {
		if other == id {
			return name
		}
	}
	return ""
}

// NewPrecedence makes one of the group and the roll's Peers and Changed.
func NewPrecedence(g Group, peers func() []Peer, peersChanged func() <-chan struct{}) *Precedence {
	return &Precedence{
		group: g, peers: peers, peersChanged: peersChanged, now: time.Now,
		present: ranks{members: map[string]uint64{}}, changed: make(chan struct{}),
	}
}

// Run follows the store's leader until ctx ends.
func (p *Precedence) Run(ctx context.Context) {
	for {
		leaders, peers := p.group.LeaderChanged(), p.peersChanged()
		p.note(p.group.Leader())
		var again <-chan time.Time
		if p.group.Grouped() && !p.learn(ctx) {
			again = time.After(membersPause)
		}
		select {
		case <-leaders:
		case <-peers:
		case <-again:
		case <-ctx.Done():
			return
		}
	}
}

// note takes in who leads the store.
func (p *Precedence) note(leader uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if leader == p.present.leader {
		return
	}
	if p.present.leader != 0 {
		p.present.former = p.present.leader
	}
	p.present.leader, p.present.since = leader, p.now()
	p.tellLocked()
}

// learn asks for the members' names; it tells whether each live master's is known.
func (p *Precedence) learn(ctx context.Context) bool {
	list, err := p.group.Members(ctx)
	if err != nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	members := map[string]uint64{}
	for name, id := range p.present.members {
		members[name] = id
	}
	news := false
	for _, m := range list {
		if m.Name != "" && members[m.Name] != m.ID {
			members[m.Name], news = m.ID, true
		}
	}
	p.present.members = members
	if news {
		p.tellLocked()
	}
	for _, peer := range p.peers() {
		if members[peer.Name] == 0 {
			return false
		}
	}
	return true
}

func (p *Precedence) tellLocked() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// Changed implements election.Advisor.
func (p *Precedence) Changed() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

func (p *Precedence) ranks() ranks {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.present
}

// connected tells whether the store is in touch with the member.
func (p *Precedence) connected(id uint64) bool { return !p.group.Active(id).IsZero() }

// advisor is what this master advises its candidate for one Lease. It belongs to the Lease's candidate.
type advisor struct {
	*Precedence
	lease, self string

	// held since a time; zero when another holds it.
	held time.Time
	// yielded is when the Lease was last given up to the store's leader, and patience how long that is put off next time.
	yielded  time.Time
	patience time.Duration
}

// For says how the master called self stands for a Lease. It belongs to the Lease's candidate.
func (p *Precedence) For(lease, self string) election.Advisor {
	return &advisor{Precedence: p, lease: lease, self: self}
}

// Advise implements election.Advisor.
func (s *advisor) Advise(holder string) (election.Advice, time.Duration) {
	if holder != s.self {
		s.held = time.Time{}
	}
	if !s.group.Grouped() {
		return election.Normal, 0
	}
	r := s.ranks()
	leads := r.leader == s.group.ID()
	switch {
	case holder == s.self:
		return s.keep(r, leads)
	case leads && holder != "":
		return s.overtake(r, holder)
	case !leads && holder == "" && s.better(r):
		return election.Yield, 0
	}
	return election.Normal, 0
}

// better tells whether the store's leader is another live master that stands for the Lease.
func (s *advisor) better(r ranks) bool {
	if r.leader == 0 || r.leader == s.group.ID() || !s.connected(r.leader) {
		return false
	}
	name := r.name(r.leader)
	for _, peer := range s.peers() {
		if peer.Name == name && peer.Name != s.self {
			return peer.standsFor(s.lease)
		}
	}
	return false
}

// keep decides whether this master keeps the Lease that it holds.
func (s *advisor) keep(r ranks, leads bool) (election.Advice, time.Duration) {
	now := s.now()
	if s.held.IsZero() {
		s.held = now
		if !s.yielded.IsZero() && now.Sub(s.yielded) < 3*s.patience {
			s.patience = min(2*s.patience, patienceMax) // it came back: the other does not keep it
		} else {
			s.patience = patienceMin
		}
	}
	if leads || !s.better(r) {
		return election.Normal, 0
	}
	since := r.since
	if s.held.After(since) {
		since = s.held
	}
	if left := since.Add(s.patience).Sub(now); left > 0 {
		return election.Normal, min(left, lookAgain) // it may be overtaken
	}
	s.yielded = now
	return election.Yield, 0
}

// overtake decides whether this master, which leads the store, takes the Lease from its holder early.
func (s *advisor) overtake(r ranks, holder string) (election.Advice, time.Duration) {
	id, known := r.members[holder]
	if !known {
		return election.Normal, 0 // not one of ours: upstream's own, which no fence stops
	}
	now := s.now()
	former := id == r.former && now.Sub(r.since) < formerFor
	if s.connected(id) {
		if !former {
			return election.Normal, lookAgain
		}
		return after(r.since.Add(graceAfter).Sub(now))
	}
	if former {
		return election.Early, 0
	}
	since := s.group.InactiveSince(id)
	if r.since.After(since) {
		since = r.since // not connected yet, perhaps
	}
	return after(since.Add(goneAfter).Sub(now))
}

func after(left time.Duration) (election.Advice, time.Duration) {
	if left > 0 {
		return election.Normal, min(left, lookAgain)
	}
	return election.Early, 0
}

// handOverWait bounds how long a master that stops waits until another leads the store.
const handOverWait = 500 * time.Millisecond

// HandOver has another master lead the store, so that the Leases that are given back next go where they will stay.
func (p *Precedence) HandOver(ctx context.Context) {
	if !p.group.Grouped() || p.group.Leader() != p.group.ID() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, handOverWait)
	defer cancel()
	list, err := p.group.Members(ctx)
	if err != nil {
		return
	}
	live := map[string]bool{}
	for _, peer := range p.peers() {
		live[peer.Name] = true
	}
	for _, m := range list {
		if m.ID == p.group.ID() || m.Learner || !live[m.Name] || !p.connected(m.ID) {
			continue
		}
		if p.group.MoveLeader(ctx, m.ID) == nil {
			return
		}
	}
}
