package roster

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

// Preference says which master is best placed to lead: the one whose member leads the store, because its writes take one
// trip less, and because the store knows within a second or two when it is gone.
type Preference struct {
	group    Group
	listings func() []Listing
	// mastersChanged is closed when masters come or go.
	mastersChanged func() <-chan struct{}
	now            func() time.Time

	mu      sync.Mutex
	present storeLeaders  // guarded by mu
	changed chan struct{} // guarded by mu; closed and replaced when present changes
}

// storeLeaders is who leads the store, and who led it before.
type storeLeaders struct {
	// leader is the leading member, 0 if none is known, since a time; former led before.
	leader, former uint64
	since          time.Time
	// members by the names of their masters. Those that were removed stay: their masters are known to be gone.
	members map[string]uint64
}

func (l *storeLeaders) name(id uint64) string {
	for name, other := range l.members {
		if other == id {
			return name
		}
	}
	return ""
}

// newPreference makes one of the group and the roster's Listings and Changed.
func newPreference(g Group, listings func() []Listing, mastersChanged func() <-chan struct{}) *Preference {
	return &Preference{
		group: g, listings: listings, mastersChanged: mastersChanged, now: time.Now,
		present: storeLeaders{members: map[string]uint64{}}, changed: make(chan struct{}),
	}
}

// Run follows the store's leader until ctx ends.
func (p *Preference) Run(ctx context.Context) {
	for {
		leaders, masters := p.group.LeaderChanged(), p.mastersChanged()
		p.note(p.group.Leader())
		var again <-chan time.Time
		if p.group.Grouped() && !p.learn(ctx) {
			again = time.After(membersPause)
		}
		select {
		case <-leaders:
		case <-masters:
		case <-again:
		case <-ctx.Done():
			return
		}
	}
}

// note takes in who leads the store.
func (p *Preference) note(leader uint64) {
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
func (p *Preference) learn(ctx context.Context) bool {
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
	for _, listing := range p.listings() {
		if members[listing.Name] == 0 {
			return false
		}
	}
	return true
}

func (p *Preference) tellLocked() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// Changed implements election.Advisor.
func (p *Preference) Changed() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

func (p *Preference) storeLeaders() storeLeaders {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.present
}

// connected tells whether the store is in touch with the member.
func (p *Preference) connected(id uint64) bool { return !p.group.Active(id).IsZero() }

// advisor advises this master's candidate for one Lease, which alone calls it.
type advisor struct {
	*Preference
	lease, self string

	// held since a time; zero when another holds it.
	held time.Time
	// yielded is when the Lease was last given up to the store's leader, and patience how long that is put off next time.
	yielded  time.Time
	patience time.Duration
}

// For gives the advisor of the master self for a Lease. The Lease's candidate alone calls it.
func (p *Preference) For(lease, self string) election.Advisor {
	return &advisor{Preference: p, lease: lease, self: self}
}

// Advise implements election.Advisor.
func (a *advisor) Advise(holder string) (election.Advice, time.Duration) {
	if holder != a.self {
		a.held = time.Time{}
	}
	if !a.group.Grouped() {
		return election.Normal, 0
	}
	leaders := a.storeLeaders()
	leads := leaders.leader == a.group.ID()
	switch {
	case holder == a.self:
		return a.keep(leaders, leads)
	case leads && holder != "":
		return a.overtake(leaders, holder)
	case !leads && holder == "" && a.better(leaders):
		return election.Yield, 0
	}
	return election.Normal, 0
}

// better tells whether the store's leader is another live master that stands for the Lease.
func (a *advisor) better(leaders storeLeaders) bool {
	if leaders.leader == 0 || leaders.leader == a.group.ID() || !a.connected(leaders.leader) {
		return false
	}
	name := leaders.name(leaders.leader)
	for _, listing := range a.listings() {
		if listing.Name == name && listing.Name != a.self {
			return listing.standsFor(a.lease)
		}
	}
	return false
}

// keep decides whether this master keeps the Lease that it holds.
func (a *advisor) keep(leaders storeLeaders, leads bool) (election.Advice, time.Duration) {
	now := a.now()
	if a.held.IsZero() {
		a.held = now
		if !a.yielded.IsZero() && now.Sub(a.yielded) < 3*a.patience {
			a.patience = min(2*a.patience, patienceMax) // it came back: the other does not keep it
		} else {
			a.patience = patienceMin
		}
	}
	if leads || !a.better(leaders) {
		return election.Normal, 0
	}
	since := leaders.since
	if a.held.After(since) {
		since = a.held
	}
	if left := since.Add(a.patience).Sub(now); left > 0 {
		return election.Normal, min(left, lookAgain) // it may be overtaken
	}
	a.yielded = now
	return election.Yield, 0
}

// overtake decides whether this master, which leads the store, takes the Lease from its holder early.
func (a *advisor) overtake(leaders storeLeaders, holder string) (election.Advice, time.Duration) {
	id, known := leaders.members[holder]
	if !known {
		return election.Normal, 0 // not one of ours: upstream's own, which no fence stops
	}
	now := a.now()
	former := id == leaders.former && now.Sub(leaders.since) < formerFor
	if a.connected(id) {
		if !former {
			return election.Normal, lookAgain
		}
		return after(leaders.since.Add(graceAfter).Sub(now))
	}
	if former {
		return election.Early, 0
	}
	since := a.group.InactiveSince(id)
	if leaders.since.After(since) {
		since = leaders.since // not connected yet, perhaps
	}
	return after(since.Add(goneAfter).Sub(now))
}

func after(left time.Duration) (election.Advice, time.Duration) {
	if left > 0 {
		return election.Normal, min(left, lookAgain)
	}
	return election.Early, 0
}

// stopLeadingWait bounds how long a master that stops waits until another leads the store.
const stopLeadingWait = 500 * time.Millisecond

// StopLeading has another master lead the store, so that the Leases that are given back next go where they will stay.
func (p *Preference) StopLeading(ctx context.Context) {
	if !p.group.Grouped() || p.group.Leader() != p.group.ID() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, stopLeadingWait)
	defer cancel()
	list, err := p.group.Members(ctx)
	if err != nil {
		return
	}
	live := map[string]bool{}
	for _, listing := range p.listings() {
		live[listing.Name] = true
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
