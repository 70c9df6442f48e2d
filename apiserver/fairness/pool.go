package fairness

import (
	"container/list"
	"context"
	"sync"
)

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
	// waiting are the flows that wait for seats, in the order of their turns, each with its requests; queues finds them.
	waiting list.List // of *queue
	queues  map[flow]*queue
	waiters int
}

// queue are the requests of one flow that wait.
type queue struct {
	flow  flow
	turns list.List // of chan struct{}, each closed when the seat is its own
	at    *list.Element
}

// waitersPerSeat bounds how many requests wait for each seat of a pool, and for each that one user may hold.
const waitersPerSeat = 4

// flow is one user's part of a level.
type flow struct {
	level Level
	user  string
}

// NewPool makes a pool; without a bound when total is less than 1.
func NewPool(total int) *Pool {
	p := &Pool{total: max(total, 0), flows: map[flow]int{}, queues: map[flow]*queue{}}
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
	if p.queues[f] != nil || !p.mayTake(f) { // who waits already comes first
		return Seat{}, false
	}
	return p.take(f), true
}

func (p *Pool) mayTake(f flow) bool {
	free := p.free(f.level)
	return f.level == Exempt || p.total == 0 || free >= 1 && (p.flows[f] == 0 || p.flows[f] < free)
}

func (p *Pool) take(f flow) Seat {
	if f.level != Exempt && p.taken[f.level] >= p.reserved[f.level] {
		p.committed++
	}
	p.taken[f.level]++
	p.flows[f]++
	return Seat{p, f}
}

// Await is Take that waits: a seat that becomes free goes to the users who wait and may have it, in turn. It fails when the context
// ends, or at once if too many wait.
func (p *Pool) Await(ctx context.Context, level Level, user string) (Seat, bool) {
	if s, ok := p.Take(level, user); ok {
		return s, true
	}
	f := flow{level, user}
	p.mu.Lock()
	if p.queues[f] == nil && p.mayTake(f) { // one has just become free
		defer p.mu.Unlock()
		return p.take(f), true
	}
	q := p.queues[f]
	if p.waiters >= waitersPerSeat*p.total || q != nil && q.turns.Len() >= max(waitersPerSeat*p.total/4, 1) {
		p.mu.Unlock()
		return Seat{}, false
	}
	if q == nil {
		q = &queue{flow: f}
		q.at = p.waiting.PushBack(q)
		p.queues[f] = q
	}
	turn := make(chan struct{})
	at := q.turns.PushBack(turn)
	p.waiters++
	p.mu.Unlock()
	select {
	case <-turn:
		return Seat{p, f}, true
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-turn: // it came at the last moment, and its request may still be in time
		return Seat{p, f}, true
	default:
		q.turns.Remove(at)
		p.waiters--
		p.forget(q)
		return Seat{}, false
	}
}

func (p *Pool) forget(q *queue) {
	if q.turns.Len() == 0 {
		p.waiting.Remove(q.at)
		delete(p.queues, q.flow)
	}
}

// seatWaiting gives free seats to those who wait. Each flow that gets one goes behind the others.
func (p *Pool) seatWaiting() {
	for again := true; again; {
		again = false
		for e, next := p.waiting.Front(), (*list.Element)(nil); e != nil; e = next {
			next = e.Next()
			q := e.Value.(*queue)
			if !p.mayTake(q.flow) {
				continue
			}
			p.take(q.flow)
			close(q.turns.Remove(q.turns.Front()).(chan struct{}))
			p.waiters--
			p.waiting.MoveToBack(e)
			p.forget(q)
			again = true
			break
		}
	}
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
	if p.waiters > 0 {
		p.seatWaiting()
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
