package registry

import (
	"slices"
	"sync"
	"time"
)

// Bounds of the snapshots that a table keeps for the later pages of lists.
const (
	snapshotsMax = 8
	// snapshotAge is how long a continue token is good: etcd's compaction leaves as much to upstream's.
	snapshotAge = 5 * time.Minute
	// supersededMax bounds the bytes of objects that only kept snapshots still hold.
	supersededMax = 64 << 20
	// countsMax bounds the pages of which a snapshot remembers what is left.
	countsMax = 4096
)

// pageStart is where a page begins: a key, and the scope of the list that goes on there. Lists of one namespace and of all pause at
// the same keys, and have not the same left.
type pageStart struct{ scope, key string }

// keep holds a snapshot for further pages and remembers how many objects are left from a key on. Only a list that begins
// prolongs it: one that goes on has a token that ages, and would have to begin anew one day.
func (t *table) keep(s *snapshot, next pageStart, remaining int64, now time.Time, begins bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if remaining >= 0 {
		if s.remaining == nil || len(s.remaining) >= countsMax {
			s.remaining = map[pageStart]int64{}
		}
		s.remaining[next] = remaining
	}
	if !begins {
		return
	}
	if s.until.IsZero() {
		s.since = t.superseded
		t.kept = append(t.kept, s)
		if len(t.kept) > snapshotsMax {
			t.kept = append(t.kept[:0:0], t.kept[1:]...)
		}
	}
	s.until = now.Add(snapshotAge)
}

// left is the number of objects from a key on, if a former page counted them.
func (t *table) left(s *snapshot, at pageStart) (int64, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n, ok := s.remaining[at]
	return n, ok
}

// expire lets go of snapshots that are too old, or that hold too much that is nowhere else. It is called with mu held for writing.
func (t *table) expire(now time.Time) {
	if len(t.kept) == 0 {
		return
	}
	t.kept = slices.DeleteFunc(t.kept, func(s *snapshot) bool {
		return s.until.Before(now) || t.superseded-s.since > supersededMax
	})
}

// horizonEvery is how often the present revision is noted.
const horizonEvery = 10 * time.Second

// horizon knows which revision was the present one a while ago.
type horizon struct {
	mu    sync.Mutex
	marks []mark // guarded by mu; by time, the first one at least snapshotAge old as soon as there is one
}

type mark struct {
	at       time.Time
	revision int64
}

// pass notes the present revision, if the last note is old enough; it is true then.
func (h *horizon) pass(revision int64, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(h.marks); n > 0 && now.Sub(h.marks[n-1].at) < horizonEvery {
		return false
	}
	h.marks = append(h.marks, mark{now, revision})
	h.trim(now)
	return true
}

// trim drops the marks that a later one makes superfluous. It is called with mu held.
func (h *horizon) trim(now time.Time) {
	for len(h.marks) > 1 && now.Sub(h.marks[1].at) >= snapshotAge {
		h.marks = h.marks[1:]
	}
}

// behind tells that the revision was past already when a token's life began that ends now.
func (h *horizon) behind(revision int64, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.trim(now)
	return len(h.marks) > 0 && now.Sub(h.marks[0].at) >= snapshotAge && revision < h.marks[0].revision
}

// reset forgets all, because the store's revisions start over.
func (h *horizon) reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.marks = nil
}

// passed is called when the mirror has reached a revision: from time to time all tables let go of what is old.
func (r *Registry) passed(revision int64, now time.Time) {
	if !r.horizon.pass(revision, now) {
		return
	}
	for _, t := range r.kinds.Load().tables {
		t.mu.Lock()
		t.expire(now)
		t.mu.Unlock()
	}
}
