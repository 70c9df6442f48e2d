package fairness

import (
	"container/list"
	"context"
	"sync"
)

// Turns let a few requests go on at a time. When one ends, the next turn goes to the levels in turn, and within a level to
// its users in turn: however many requests one of them has waiting, another's waits for one of theirs at most.
type Turns struct {
	mu     sync.Mutex // guards all below
	free   int
	levels [levelCount]levelQueue
	// last is the level that had a turn last.
	last PriorityLevel
}

// levelQueue are the users of a level who wait, in the order of their turns, and the requests of each.
type levelQueue struct {
	users   list.List // of *userQueue
	waiting map[string]*userQueue
}

type userQueue struct {
	name  string
	turns list.List // of chan struct{}, each closed when it has its turn
	// at is where it stands in the level's list.
	at *list.Element
}

// NewTurns lets so many go on at a time.
func NewTurns(count int) *Turns { return &Turns{free: count} }

// Take waits for a turn, which Leave gives back. It fails when the context ends.
func (t *Turns) Take(ctx context.Context, level PriorityLevel, user string) error {
	t.mu.Lock()
	if t.free > 0 { // nobody waits
		t.free--
		t.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	q := t.queue(level, user)
	at := q.turns.PushBack(turn)
	t.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-turn: // it came at the last moment
		t.pass()
	default:
		q.turns.Remove(at)
		t.levels[level].forget(q)
	}
	return ctx.Err()
}

// Leave gives the turn to who is next.
func (t *Turns) Leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pass()
}

func (t *Turns) queue(level PriorityLevel, user string) *userQueue {
	l := &t.levels[level]
	if l.waiting == nil {
		l.waiting = map[string]*userQueue{}
	}
	q := l.waiting[user]
	if q == nil {
		q = &userQueue{name: user}
		q.at = l.users.PushBack(q)
		l.waiting[user] = q
	}
	return q
}

func (l *levelQueue) forget(q *userQueue) {
	if q.turns.Len() == 0 {
		l.users.Remove(q.at)
		delete(l.waiting, q.name)
	}
}

// pass gives a turn on.
func (t *Turns) pass() {
	for n := range levelCount {
		level := (t.last + 1 + n) % levelCount
		l := &t.levels[level]
		first := l.users.Front()
		if first == nil {
			continue
		}
		q := first.Value.(*userQueue)
		close(q.turns.Remove(q.turns.Front()).(chan struct{}))
		l.users.MoveToBack(first)
		l.forget(q)
		t.last = level
		return
	}
	t.free++
}
