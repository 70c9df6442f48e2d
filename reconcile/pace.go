package reconcile

import (
	"sync"
	"time"
)

// sweepEvery is after how many runs the pacer forgets keys that have rested.
const sweepEvery = 1024

// pacer keeps the budget of each key that ran lately.
type pacer struct {
	pace Pace
	now  func() time.Time

	mu   sync.Mutex        // guards all below
	full map[Key]time.Time // when the key's budget will be whole again
	runs int
}

func newPacer(p Pace) *pacer {
	return &pacer{pace: p, now: time.Now, full: map[Key]time.Time{}}
}

// wait is how long a change of a key should wait; 0 if the key may run at once.
func (p *pacer) wait(k Key) time.Duration {
	if p.pace.Interval == 0 {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	full, ranLately := p.full[k]
	if !ranLately {
		return 0
	}
	return full.Sub(p.now()) - p.pace.Interval*time.Duration(p.pace.Burst-1)
}

// ran takes one run from a key's budget.
func (p *pacer) ran(k Key) {
	if p.pace.Interval == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	full := p.full[k]
	if full.Before(now) {
		full = now
	}
	p.full[k] = full.Add(p.pace.Interval)
	if p.runs++; p.runs%sweepEvery == 0 {
		for key, full := range p.full {
			if full.Before(now) {
				delete(p.full, key)
			}
		}
	}
}
