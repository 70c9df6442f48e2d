package keys

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/admin"
	"github.com/wheelhouse-k8s/wheelhouse/encryption"
)

// works is the one change of keys, or rewrite, that runs on a master.
type works struct {
	mu      sync.Mutex
	last    *Work // guarded by mu
	running sync.WaitGroup
}

// Work tells of a change of keys or a rewrite.
type Work struct {
	Name     string              `json:"name"`
	Step     string              `json:"step,omitempty"`
	Progress encryption.Progress `json:"progress"`
	// Rewritten is how many objects it has written anew in all.
	Rewritten int        `json:"rewritten"`
	Started   time.Time  `json:"started"`
	Ended     *time.Time `json:"ended,omitempty"`
	// Error is why it ended early.
	Error string `json:"error,omitempty"`
}

// get is the work that runs or ran last, nil if there was none.
func (k *works) get() *Work {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.last == nil {
		return nil
	}
	copied := *k.last
	return &copied
}

func (k *works) wait() { k.running.Wait() }

// start runs a work unless one runs.
func (k *works) start(ctx context.Context, name string, run func(context.Context) error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.last != nil && k.last.Ended == nil {
		return admin.Refused(fmt.Sprintf("this master is at work on %q already, since %s", k.last.Name, k.last.Started.Format(time.TimeOnly)))
	}
	work := &Work{Name: name, Started: time.Now()}
	k.last = work
	k.running.Go(func() {
		err := run(ctx)
		k.mu.Lock()
		defer k.mu.Unlock()
		now := time.Now()
		work.Ended = &now
		if err != nil {
			work.Error = err.Error()
		}
	})
	return nil
}

func (k *works) report(step string, p encryption.Progress) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last.Step, k.last.Progress, k.last.Rewritten = step, p, max(k.last.Rewritten, p.Rewritten)
}
