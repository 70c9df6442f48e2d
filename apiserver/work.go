package apiserver

import (
	"fmt"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"sync/atomic"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/klog/v2"

	"github.com/wheelhouse-k8s/wheelhouse/apiserver/fairness"
)

// heavySize is from which on a request is heavy: the size of its body, or of the object that its patch changes.
const heavySize = 64 << 10

// workshop is where heavy requests are computed. Computing cannot be interrupted, so the client of a heavy request is
// answered when its time is up, or forgotten when it has gone, while what it asked for is still worked on; that is counted,
// and it keeps its turn in the workshop, of which there are fewer than cores: whatever clients ask for and leave behind, a
// core is left for everybody else. Users take turns, so that nobody waits behind all that another has asked for.
type workshop struct {
	turns *fairness.Turns
	// tell is told how abandoned work goes on: see Options.Abandoned.
	tell func(status string)
}

// The fates of abandoned work, with the words of upstream's metric.
const (
	workPending  = "pending"
	workFinished = "result"
	workFailed   = "error"
	workPanicked = "panic"
)

func newWorkshop(tell func(string)) *workshop {
	if tell == nil {
		tell = func(string) {}
	}
	return &workshop{turns: fairness.NewTurns(max(1, runtime.GOMAXPROCS(0)/2)), tell: tell}
}

// heavy tells whether the request is computed in the workshop.
func (x *exchange) heavy() bool {
	return x.size >= heavySize && !slices.Contains(x.user.GetGroups(), user.SystemPrivilegedGroup)
}

// compute calls f in the workshop. What f changes must not be looked at after an error of the context: f may still be at it.
func (x *exchange) compute(s *Server, f func() error) error {
	if err := x.ctx.Err(); err != nil {
		return err
	}
	if err := s.workshop.turns.Take(x.ctx, x.schema.PriorityLevel, x.user.GetName()); err != nil {
		return err
	}
	work := &work{shop: s.workshop, done: make(chan struct{}), what: x.r.Method + " " + x.target.path}
	go work.run(f)
	select {
	case <-work.done:
	case <-x.ctx.Done():
		if !work.finished.Swap(true) {
			s.workshop.tell(workPending)
			return x.ctx.Err()
		}
		<-work.done
	}
	if work.panicked != nil {
		if work.panicked == http.ErrAbortHandler {
			panic(http.ErrAbortHandler)
		}
		panic(fmt.Sprintf("%v\n%s", work.panicked, work.stack))
	}
	return work.err
}

// work is one computation.
type work struct {
	shop *workshop
	what string
	// finished is set by whoever is first: the work that is done, or the request that leaves it behind.
	finished atomic.Bool
	done     chan struct{}
	// err, panicked and stack are what came of it, set before done is closed.
	err      error
	panicked any
	stack    []byte
}

func (w *work) run(f func() error) {
	defer func() {
		if w.panicked = recover(); w.panicked != nil {
			w.stack = debug.Stack()
		}
		if abandoned := w.finished.Swap(true); abandoned {
			w.shop.tell(w.fate())
		}
		w.shop.turns.Leave()
		close(w.done)
	}()
	w.err = f()
}

func (w *work) fate() string {
	switch {
	case w.panicked != nil:
		klog.ErrorS(nil, "panic while computing what nobody waits for any more", "request", w.what, "panic", w.panicked, "stack", string(w.stack))
		return workPanicked
	case w.err != nil:
		return workFailed
	}
	return workFinished
}
