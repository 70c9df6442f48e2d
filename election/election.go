// Package election decides who leads, by a Lease that all candidates watch over: the holder renews it, and who finds it
// not renewed for its whole duration may take it. The record is that of client-go's leader election, so that upstream's
// controller manager and scheduler take part in the same elections.
//
// A term of leadership is the lifetime of one function: Run calls it with a context that ends when the leadership does.
package election

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/wheelhouse-k8s/wheelhouse/client"
)

// The defaults: short enough that a crashed leader is followed in a few seconds.
const (
	DefaultLeaseDuration = 6 * time.Second
	DefaultRenewDeadline = 4 * time.Second
	DefaultRetryPeriod   = 2 * time.Second
)

// retryMin is how soon a try is repeated that failed; the time doubles up to the retry period.
const retryMin = 20 * time.Millisecond

// Names of the Leases of upstream's components, in kube-system.
const (
	ControllerManager = "kube-controller-manager"
	Scheduler         = "kube-scheduler"
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
	// Events tells of changes of leadership; it may be nil.
	Events *client.Recorder

	// seen is the record that another holder wrote last, and seenAt when it was first seen: clocks of several
	// machines are never compared.
	seen   coordinationv1.LeaseSpec
	seenAt time.Time
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
	switch {
	case c.Identity == "":
		return errors.New("leader election needs an identity")
	case c.LeaseDuration <= c.RenewDeadline:
		return fmt.Errorf("--leader-elect-lease-duration (%v) must be longer than --leader-elect-renew-deadline (%v)", c.LeaseDuration, c.RenewDeadline)
	case c.RenewDeadline <= c.RetryPeriod:
		return fmt.Errorf("--leader-elect-renew-deadline (%v) must be longer than --leader-elect-retry-period (%v)", c.RenewDeadline, c.RetryPeriod)
	case c.LeaseDuration < time.Second:
		return fmt.Errorf("--leader-elect-lease-duration (%v) must be a second at least", c.LeaseDuration)
	}
	return nil
}

// Run stands for election until ctx ends. Each time it is elected it calls term, whose context ends when the leadership is
// lost or ctx ends; term must return then. If term returns by itself, Run gives the Lease back and returns term's error.
func (c *Candidate) Run(ctx context.Context, term func(ctx context.Context) error) error {
	if err := c.complete(); err != nil {
		return err
	}
	for {
		lease, err := c.acquire(ctx)
		if err != nil {
			return nil // ctx has ended
		}
		slog.Debug("leading", "lease", c.Name, "identity", c.Identity)
		ended, err := c.lead(ctx, lease, term)
		if ended {
			return err
		}
		slog.Warn("no longer leading: the lease could not be renewed in time", "lease", c.Name, "identity", c.Identity)
	}
}

// acquire tries until the lease is held; the error is ctx's.
func (c *Candidate) acquire(ctx context.Context) (*coordinationv1.Lease, error) {
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	released := c.watchRelease(watching)
	backoff := retryMin
	for {
		lease, err := c.try(ctx)
		if err == nil && lease != nil {
			return lease, nil
		}
		wait := c.RetryPeriod + rand.N(c.RetryPeriod/5)
		if err != nil {
			// Not another's lease but a fault: most often, at the first start, the namespace is not there yet.
			wait = min(wait, backoff)
			backoff = min(2*backoff, c.RetryPeriod)
			slog.Debug("cannot acquire the lease yet", "lease", c.Name, "error", err)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-released:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
	}
}

// watchRelease signals when the live view shows that the lease is free, so that a clean handover takes no time.
func (c *Candidate) watchRelease(ctx context.Context) <-chan struct{} {
	free := make(chan struct{}, 1)
	if !c.Watch {
		return free
	}
	leases := client.For[*coordinationv1.Lease](c.Transport).Live()
	go leases.Subscribe(ctx, func(changes []client.Change[*coordinationv1.Lease]) {
		for _, change := range changes {
			if change.New == nil || change.New.Name != c.Name || change.New.Namespace != c.Namespace || ptr.Deref(change.New.Spec.HolderIdentity, "") != "" {
				continue
			}
			select {
			case free <- struct{}{}:
			default:
			}
		}
	})
	return free
}

// try takes the lease if it may; the lease is nil if another holds it.
func (c *Candidate) try(ctx context.Context) (*coordinationv1.Lease, error) {
	leases := client.For[*coordinationv1.Lease](c.Transport)
	now := time.Now()
	have, err := leases.Get(ctx, c.Namespace, c.Name)
	if apierrors.IsNotFound(err) {
		return leases.Create(ctx, &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: c.Name}, Spec: c.record(coordinationv1.LeaseSpec{}, now),
		})
	}
	if err != nil {
		return nil, err
	}
	if !c.mayTake(have.Spec, now) {
		return nil, nil
	}
	changed := have.DeepCopy()
	changed.Spec = c.record(have.Spec, now)
	return leases.Update(ctx, changed)
}

// mayTake tells whether a record lets this candidate lead: nobody's, its own, or one that has not been renewed for the whole
// duration that its holder promised.
func (c *Candidate) mayTake(have coordinationv1.LeaseSpec, now time.Time) bool {
	holder := ptr.Deref(have.HolderIdentity, "")
	if holder == "" || holder == c.Identity {
		return true
	}
	if ptr.Deref(c.seen.HolderIdentity, "") != holder || !c.seen.RenewTime.Equal(have.RenewTime) {
		c.seen, c.seenAt = have, now
	}
	promised := time.Duration(ptr.Deref(have.LeaseDurationSeconds, 0)) * time.Second
	return !c.seenAt.Add(max(promised, time.Second)).After(now)
}

// record is the spec that says that this candidate holds the lease.
func (c *Candidate) record(have coordinationv1.LeaseSpec, now time.Time) coordinationv1.LeaseSpec {
	spec := *have.DeepCopy()
	stamp := metav1.NewMicroTime(now)
	if ptr.Deref(have.HolderIdentity, "") != c.Identity {
		if have.AcquireTime != nil || have.HolderIdentity != nil {
			spec.LeaseTransitions = ptr.To(ptr.Deref(have.LeaseTransitions, 0) + 1)
		} else {
			spec.LeaseTransitions = ptr.To(int32(0))
		}
		spec.AcquireTime = &stamp
	}
	spec.HolderIdentity = ptr.To(c.Identity)
	spec.LeaseDurationSeconds = ptr.To(int32((c.LeaseDuration + time.Second - 1) / time.Second))
	spec.RenewTime = &stamp
	return spec
}

// lead runs one term. ended is true if Run is to end too: ctx ended, or term returned by itself.
func (c *Candidate) lead(ctx context.Context, lease *coordinationv1.Lease, term func(context.Context) error) (ended bool, err error) {
	c.tell(lease, "became leader")
	termCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	finished := make(chan error, 1)
	go func() { finished <- term(termCtx) }()

	lost := make(chan *coordinationv1.Lease, 1)
	go func() { lost <- c.renew(termCtx, lease) }()

	select {
	case err = <-finished:
		cancel()
		c.release(<-lost)
		return true, err
	case lease = <-lost:
		cancel()
		err = <-finished
		c.tell(lease, "stopped leading")
		if ctx.Err() != nil {
			c.release(lease)
			return true, err
		}
		return false, nil
	}
}

// renew keeps the lease until ctx ends or the lease is lost, and returns its last state.
func (c *Candidate) renew(ctx context.Context, lease *coordinationv1.Lease) *coordinationv1.Lease {
	leases := client.For[*coordinationv1.Lease](c.Transport)
	renewed := time.Now()
	timer := time.NewTimer(c.RetryPeriod)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return lease
		}
		deadline, cancel := context.WithDeadline(ctx, renewed.Add(c.RenewDeadline))
		now := time.Now()
		changed := lease.DeepCopy()
		changed.Spec = c.record(lease.Spec, now)
		next, err := leases.Update(deadline, changed)
		if apierrors.IsConflict(err) {
			// Somebody wrote it. If it is still ours, that was only an edit of something else.
			if next, err = c.try(deadline); err == nil && next == nil {
				cancel()
				return lease
			}
		}
		cancel()
		switch {
		case err == nil:
			lease, renewed = next, now
		case ctx.Err() != nil:
			return lease
		case time.Since(renewed) >= c.RenewDeadline:
			return lease
		default:
			slog.Debug("cannot renew the lease, will retry", "lease", c.Name, "error", err)
		}
		timer.Reset(min(c.RetryPeriod, max(0, time.Until(renewed.Add(c.RenewDeadline)))))
	}
}

// release gives the lease back, so that the next candidate need not wait for it to expire.
func (c *Candidate) release(lease *coordinationv1.Lease) {
	ctx, cancel := context.WithTimeout(context.Background(), c.RetryPeriod)
	defer cancel()
	leases := client.For[*coordinationv1.Lease](c.Transport)
	// A renewal that was cut off may have been stored all the same.
	have, err := leases.Get(ctx, c.Namespace, c.Name)
	if err != nil || ptr.Deref(have.Spec.HolderIdentity, "") != c.Identity {
		return
	}
	now := metav1.NewMicroTime(time.Now())
	changed := have.DeepCopy()
	changed.Spec.HolderIdentity = ptr.To("")
	changed.Spec.LeaseDurationSeconds = ptr.To(int32(1))
	changed.Spec.RenewTime, changed.Spec.AcquireTime = &now, &now
	if _, err := leases.Update(ctx, changed); err != nil {
		slog.Debug("cannot release the lease", "lease", c.Name, "error", err)
	}
}

func (c *Candidate) tell(lease *coordinationv1.Lease, what string) {
	if c.Events == nil {
		return
	}
	c.Events.Event(lease, corev1.EventTypeNormal, "LeaderElection", c.Identity+" "+what)
}
