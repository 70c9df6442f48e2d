package fairness

import "sync"

// Pool is a number of seats that requests share. It keeps two promises: the seats that a level does not lend are its own, even
// while it does not use them, and no user holds more seats than are left for the others of the level. So a user alone may
// have half of what the level can get, and who comes late still finds a seat.
type Pool struct {
	// total is the number of seats; less than 1 means that there is no bound.
	total int
	// reserved are the seats of each level that others cannot have.
	reserved [levelCount]int

	mu sync.Mutex // guards all below
	// taken counts the seats in use by level, flows by user within it; those without seats are absent.
	taken [levelCount]int
	flows map[flow]int
	// committed is the sum of what is taken or reserved, whichever is more, over all levels that are not exempt.
	committed int
}

// flow is one user's part of a level.
type flow struct {
	level Level
	user  string
}

// NewPool makes a pool; without a bound when total is less than 1.
func NewPool(total int) *Pool {
	p := &Pool{total: max(total, 0), flows: map[flow]int{}}
	shares := 0
	for _, l := range levels {
		shares += l.shares
	}
	for i, l := range levels {
		p.reserved[i] = p.total * l.shares * (100 - l.lendable) / (shares * 100)
		p.committed += p.reserved[i]
	}
	return p
}

// Seat is a place in a pool. The zero value holds none.
type Seat struct {
	pool *Pool
	flow flow
}

// Take gives a seat, unless the level or the user has had all that it can have.
func (p *Pool) Take(level Level, user string) (Seat, bool) {
	f := flow{level, user}
	p.mu.Lock()
	defer p.mu.Unlock()
	if free := p.free(level); level != Exempt && p.total > 0 && (free < 1 || p.flows[f] > 0 && p.flows[f] >= free) {
		return Seat{}, false
	}
	if level != Exempt && p.taken[level] >= p.reserved[level] {
		p.committed++
	}
	p.taken[level]++
	p.flows[f]++
	return Seat{p, f}, true
}

// free is how many more seats a level could get now.
func (p *Pool) free(level Level) int {
	return max(p.reserved[level]-p.taken[level], 0) + p.total - p.committed
}

// Held tells whether this is a seat.
func (s *Seat) Held() bool { return s.pool != nil }

// Leave gives the seat back. Leaving again, or leaving no seat, does nothing. A seat belongs to one goroutine.
func (s *Seat) Leave() {
	p := s.pool
	if p == nil {
		return
	}
	s.pool = nil
	level := s.flow.level
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken[level]--
	if level != Exempt && p.taken[level] >= p.reserved[level] {
		p.committed--
	}
	if p.flows[s.flow]--; p.flows[s.flow] == 0 {
		delete(p.flows, s.flow)
	}
}

// Taken is how many seats are in use.
func (p *Pool) Taken() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := 0
	for _, n := range p.taken {
		all += n
	}
	return all
}
