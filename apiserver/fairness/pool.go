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
	flows map[flow]*share
	// spare is the share of a flow that has left, for the next that comes.
	spare *share
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
	turns list.List // of chan Seat, each given the seat that is its own
	at    *list.Element
}

// waitersPerSeat bounds how many requests wait for each seat of a pool, and for each that one user may hold.
const waitersPerSeat = 4

// flow is one user's part of a level.
type flow struct {
	level PriorityLevel
	user  string
}

// share is how many seats a flow holds.
type share struct {
	flow  flow
	seats int
}

// NewPool makes a pool; without a bound when total is less than 1.
func NewPool(total int) *Pool {
	p := &Pool{total: max(total, 0), flows: map[flow]*share{}, queues: map[flow]*queue{}}
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

// Seat is what a request holds of a pool while it is worked on. The zero value holds none.
type Seat struct {
	pool  *Pool
	share *share
}

// Take gives a seat, unless the level or the user has had all that it can have.
func (p *Pool) Take(level PriorityLevel, user string) (Seat, bool) {
	f := flow{level, user}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queues) > 0 && p.queues[f] != nil { // who waits already comes first
		return Seat{}, false
	}
	return p.take(f)
}

// take gives a seat if the flow may have one more.
func (p *Pool) take(f flow) (Seat, bool) {
	sh := p.flows[f]
	free := p.free(f.level)
	if f.level != Exempt && p.total > 0 && (free < 1 || sh != nil && sh.seats >= free) {
		return Seat{}, false
	}
	if sh == nil {
		if sh = p.spare; sh == nil {
			sh = &share{}
		}
		p.spare, sh.flow = nil, f
		p.flows[f] = sh
	}
	sh.seats++
	if f.level != Exempt && p.taken[f.level] >= p.reserved[f.level] {
		p.committed++
	}
	p.taken[f.level]++
	return Seat{p, sh}, true
}

// Await is Take that waits: a seat that becomes free goes to the users who wait and may have it, in turn. It fails when the context
// ends, or at once if too many wait.
func (p *Pool) Await(ctx context.Context, level PriorityLevel, user string) (Seat, bool) {
	if s, ok := p.Take(level, user); ok {
		return s, true
	}
	f := flow{level, user}
	p.mu.Lock()
	q := p.queues[f]
	if q == nil {
		if s, ok := p.take(f); ok { // one has just become free
			p.mu.Unlock()
			return s, true
		}
	}
	if p.waiters >= waitersPerSeat*p.total || q != nil && q.turns.Len() >= max(waitersPerSeat*p.total/4, 1) {
		p.mu.Unlock()
		return Seat{}, false
	}
	if q == nil {
		q = &queue{flow: f}
		q.at = p.waiting.PushBack(q)
		p.queues[f] = q
	}
	turn := make(chan Seat, 1)
	at := q.turns.PushBack(turn)
	p.waiters++
	p.mu.Unlock()
	select {
	case s := <-turn:
		return s, true
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case s := <-turn: // it came at the last moment, and its request may still be in time
		return s, true
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
			s, ok := p.take(q.flow)
			if !ok {
				continue
			}
			q.turns.Remove(q.turns.Front()).(chan Seat) <- s
			p.waiters--
			p.waiting.MoveToBack(e)
			p.forget(q)
			again = true
			break
		}
	}
}

// free is how many more seats a level could get now.
func (p *Pool) free(level PriorityLevel) int {
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
	sh := s.share
	*s = Seat{}
	p.mu.Lock()
	defer p.mu.Unlock()
	level := sh.flow.level
	p.taken[level]--
	if level != Exempt && p.taken[level] >= p.reserved[level] {
		p.committed--
	}
	if sh.seats--; sh.seats == 0 {
		delete(p.flows, sh.flow)
		p.spare = sh
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
