package deployment

import (
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
)

// patience is how long a ReplicaSet may take to say that it knows its size before it is counted by that size. Its controller says so
// within seconds, also when it does not know what has become of its writes; unless it cannot look at the ReplicaSet at all.
const patience = 30 * time.Second

// silence remembers since when ReplicaSets have not said that they know their size.
type silence struct {
	mu    sync.Mutex
	since map[reconcile.Key]map[types.UID]unheard // guarded by mu; by the Deployment, for those that are silent
}

// unheard is the beginning of a silence, and what the ReplicaSet had observed by then.
type unheard struct {
	observed int64
	at       time.Time
}

// look notes which of a Deployment's ReplicaSets are silent now, and tells for how long each has been.
func (s *silence) look(d reconcile.Key, sets []*appsv1.ReplicaSet, now time.Time) func(*appsv1.ReplicaSet) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	var silent map[types.UID]unheard
	for _, rs := range sets {
		if observed(rs) {
			continue
		}
		u, ok := s.since[d][rs.UID]
		if !ok || u.observed != rs.Status.ObservedGeneration {
			u = unheard{rs.Status.ObservedGeneration, now}
		}
		if silent == nil {
			silent = map[types.UID]unheard{}
		}
		silent[rs.UID] = u
	}
	switch {
	case silent == nil:
		delete(s.since, d)
	case s.since == nil:
		s.since = map[reconcile.Key]map[types.UID]unheard{d: silent}
	default:
		s.since[d] = silent
	}
	return func(rs *appsv1.ReplicaSet) time.Duration {
		if u, ok := silent[rs.UID]; ok {
			return now.Sub(u.at)
		}
		return 0
	}
}

// heard tells that a ReplicaSet has said that it knows its size, or has been silent for so long that nobody waits for it any
// more. If not, the plan looks again when patience ends.
func (p *planner) heard(rs *appsv1.ReplicaSet) bool {
	if observed(rs) {
		return true
	}
	left := patience - p.silent(rs)
	if left <= 0 {
		return true
	}
	p.lookAgain(left)
	return false
}

// lookAgain has the plan made again after a time, if not sooner.
func (p *planner) lookAgain(after time.Duration) {
	if after > 0 && (p.plan.after == 0 || after < p.plan.after) {
		p.plan.after = after
	}
}
