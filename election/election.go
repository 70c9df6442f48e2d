// Package election decides who leads, by a Lease that all candidates watch over: the holder renews it, and who finds it
// not renewed for its whole duration may take it. The record is that of client-go's leader election, so that upstream's
// controller manager and scheduler take part in the same elections.
//
// A term of leadership is the lifetime of one function: Run calls it with a context that ends when the leadership does.
// See DESIGN.md for why two terms never act at once.
package election

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/client"
)

// The defaults: short enough that a crashed leader is followed in a few seconds.
const (
	DefaultLeaseDuration = 6 * time.Second
	DefaultRenewDeadline = 4 * time.Second
	DefaultRetryPeriod   = 2 * time.Second
)

const (
	// retryMin is how soon a try is repeated that failed; the time doubles up to the retry period.
	retryMin = 20 * time.Millisecond
	// After a term that failed a candidate stands aside for standAsideMin, doubling up to standAsideMax while its
	// terms fail within steadyAfter.
	standAsideMin = 500 * time.Millisecond
	standAsideMax = 30 * time.Second
	steadyAfter   = time.Minute
	// yieldMax bounds how long a free lease is left to a candidate that is better placed.
	yieldMax = 2 * time.Second
)

// Names of the Leases of upstream's components, in kube-system.
const (
	ControllerManager = "kube-controller-manager"
	Scheduler         = "kube-scheduler"
)

// ErrDeposed is what a term returns that has noticed by itself that another has taken over.
var ErrDeposed = errors.New("another has taken over")

// Fence is a register that only one candidate can move on. Whoever acts in a term makes its acts conditional on the
// revision that Take returned.
type Fence interface {
	// Read gives the register's present revision.
	Read(ctx context.Context) (revision int64, err error)
	// Take moves the register on for the term of identity; it fails unless the register is still at revision.
	Take(ctx context.Context, revision int64, identity string) (taken int64, err error)
}

// Advice is what a candidate should do about a lease beyond what the record says.
type Advice int

const (
	// Normal goes by the record.
	Normal Advice = iota
	// Early takes the lease now, though the holder's time is not over: it is known to be gone.
	Early
	// Yield leaves the lease, or gives it up, to a candidate that is better placed.
	Yield
)

// Advisor knows more of the other candidates than the record says.
type Advisor interface {
	// Advise says how to behave toward a holder of the lease: another, this candidate itself, or nobody (""). again is
	// when to ask again, 0 for the next regular try.
	Advise(holder string) (advice Advice, again time.Duration)
	// Changed is closed when it is worth asking again at once.
	Changed() <-chan struct{}
}

// Reason says why a term ended.
type Reason string

// The reasons.
const (
	Stopped Reason = "stopped" // the candidate was
	Lost    Reason = "lost"    // not renewed in time, or taken by another
	Failed  Reason = "failed"  // a part of the term did
	Yielded Reason = "yielded" // given up to a candidate that is better placed
)

// Candidate stands for election.
type Candidate struct {
	Transport client.Transport
	// Namespace and Name of the Lease; Namespace defaults to kube-system.
	Namespace, Name string
	// Identity of this candidate among all. One that comes back with the same identity (a restarted process) takes
	// its own Lease over at once, so it must be this process's alone.
	Identity string
	// LeaseDuration is how long others wait for a renewal; RenewDeadline is when a holder that cannot renew gives up
	// (before LeaseDuration); RetryPeriod is the time between tries. Zero means the default.
	LeaseDuration, RenewDeadline, RetryPeriod time.Duration
	// Watch has a candidate see in the transport's live view that the Lease became free, and take it at once. In a
	// master that view costs nothing.
	Watch bool
	// Fence keeps former terms from acting; nil leaves it to clocks, as upstream does.
	Fence Fence
	// Advisor may be nil. It needs a Fence: who takes a lease early must be sure that its holder is done.
	Advisor Advisor
	// Events tells of changes of leadership; it may be nil.
	Events *client.Recorder
	// Ended is told of the end of each term, and Slow of each renewal that met another's write of the Lease; they may be nil.
	Ended func(reason Reason, err error)
	Slow  func()

	// seen is the record that another holder wrote last, and seenAt when it was first seen: clocks of several
	// machines are never compared.
	seen   coordinationv1.LeaseSpec
	seenAt time.Time
	// freeSince is when the lease was first seen to be there for the taking while the advice was to leave it.
	freeSince time.Time
}

func (c *Candidate) complete() error {
	if c.Namespace == "" {
		c.Namespace = metav1.NamespaceSystem
	}
	for d, otherwise := range map[*time.Duration]time.Duration{
		&c.LeaseDuration: DefaultLeaseDuration, &c.RenewDeadline: DefaultRenewDeadline, &c.RetryPeriod: DefaultRetryPeriod,
	} {
		if *d == 0 {
			*d = otherwise
		}
	}
	if c.Ended == nil {
		c.Ended = func(Reason, error) {}
	}
	switch {
	case c.Identity == "":
		return errors.New("leader election needs an identity")
	case c.Advisor != nil && c.Fence == nil:
		return errors.New("leader election that may take a lease early needs a fence")
	case c.LeaseDuration <= c.RenewDeadline:
		return fmt.Errorf("--leader-elect-lease-duration (%v) must be longer than --leader-elect-renew-deadline (%v)", c.LeaseDuration, c.RenewDeadline)
	case c.RenewDeadline <= c.RetryPeriod:
		return fmt.Errorf("--leader-elect-renew-deadline (%v) must be longer than --leader-elect-retry-period (%v)", c.RenewDeadline, c.RetryPeriod)
	case c.LeaseDuration < time.Second:
		return fmt.Errorf("--leader-elect-lease-duration (%v) must be a second at least", c.LeaseDuration)
	}
	return nil
}

// Term is one term's work. Its context ends when the leadership does, and it must return then. fence is the revision
// that all it writes must be conditional on; 0 without a Fence. If it returns before, whatever it returns, the term has
// failed: the Lease is given back, and the candidate stands again after a while.
type Term func(ctx context.Context, fence int64) error

// Run stands for election until ctx ends. An error is one of the candidate's settings; whatever becomes of a term, Run goes on.
func (c *Candidate) Run(ctx context.Context, term Term) error {
	if err := c.complete(); err != nil {
		return err
	}
	aside := standAsideMin
	for {
		held, err := c.acquire(ctx)
		if err != nil {
			return nil // ctx has ended
		}
		slog.Debug("leading", "lease", c.Name, "identity", c.Identity)
		begun := time.Now()
		reason, err := c.lead(ctx, held, term)
		c.Ended(reason, err)
		if reason == Stopped {
			return nil
		}
		if reason != Failed || time.Since(begun) > steadyAfter {
			aside = standAsideMin
		}
		if reason == Failed {
			select {
			case <-time.After(aside):
			case <-ctx.Done():
				return nil
			}
			aside = min(2*aside, standAsideMax)
		}
	}
}

func (c *Candidate) advised(holder string) (Advice, time.Duration) {
	if c.Advisor == nil {
		return Normal, 0
	}
	return c.Advisor.Advise(holder)
}

// adviceChanged never happens without an Advisor.
func (c *Candidate) adviceChanged() <-chan struct{} {
	if c.Advisor == nil {
		return nil
	}
	return c.Advisor.Changed()
}

func (c *Candidate) tell(lease *coordinationv1.Lease, what string) {
	if c.Events == nil {
		return
	}
	c.Events.Event(lease, corev1.EventTypeNormal, "LeaderElection", c.Identity+" "+what)
}
