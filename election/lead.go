package election

import (
	"context"
	"errors"
	"log/slog"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/utils/ptr"

	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/crew"
)

// lead runs one term, and returns when all of it has ended and the lease is given back or lost.
func (c *Candidate) lead(ctx context.Context, held *hold, term Term) (reason Reason, err error) {
	c.freeSince = time.Time{}
	c.tell(held.lease, "became leader")
	termCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Each goroutine has room for its one answer, and both answers are taken: when lead returns, nothing of the term runs any more, and
	// only then is the lease given back.
	finished := make(chan error, 1)
	go func() { finished <- crew.Try(func() error { return term(termCtx, held.fence) }) }()
	renewed := make(chan Reason, 1)
	go func() { renewed <- c.renew(termCtx, held.lease) }()

	select {
	case err = <-finished:
		cancel()
		<-renewed
		switch {
		case ctx.Err() != nil:
			reason = Stopped
		case errors.Is(err, ErrDeposed):
			reason = Lost
		default:
			reason = Failed
		}
	case reason = <-renewed:
		cancel()
		err = <-finished
	}
	c.tell(held.lease, "stopped leading")
	if reason != Lost {
		c.release()
	}
	return reason, err
}

// renew keeps the lease until ctx ends, the lease is lost, or another candidate is better placed.
func (c *Candidate) renew(ctx context.Context, lease *coordinationv1.Lease) Reason {
	renewed := time.Now()
	due := renewed.Add(c.RetryPeriod)
	for {
		// Taken before the advice is asked for, so that a change after the answer wakes the wait below.
		changed := c.adviceChanged()
		advice, again := c.advised(c.Identity)
		if advice == Yield {
			return Yielded
		}
		wait := time.Until(due)
		if again > 0 {
			wait = min(wait, again)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-changed:
		case <-ctx.Done():
			timer.Stop()
			return Stopped
		}
		timer.Stop()
		if c.overtaken(lease) {
			return Lost
		}
		now := time.Now()
		if now.Before(due) {
			continue
		}
		next, err := c.renewOnce(ctx, lease, renewed.Add(c.RenewDeadline))
		switch {
		case err == nil && next == nil:
			return Lost
		case err == nil:
			// It counts from before the request. Others count from when they saw the renewal, which is later: this master gives up first.
			lease, renewed = next, now
		case ctx.Err() != nil:
			return Stopped
		case time.Since(renewed) >= c.RenewDeadline:
			return Lost
		default:
			slog.Debug("cannot renew the lease, will retry", "lease", c.Name, "error", err)
		}
		due = now.Add(c.RetryPeriod)
		// At the deadline it is over, however far off the next try would be.
		if last := renewed.Add(c.RenewDeadline); last.Before(due) {
			due = last
		}
	}
}

// overtaken tells whether the live view shows that another has taken the lease since.
func (c *Candidate) overtaken(lease *coordinationv1.Lease) bool {
	if !c.Watch {
		return false
	}
	have, ok := client.For[*coordinationv1.Lease](c.Transport).Live().Get(c.Namespace, c.Name)
	if !ok || ptr.Deref(have.Spec.HolderIdentity, "") == c.Identity {
		return false
	}
	// The view may be older than the lease.
	order, err := resourceversion.CompareResourceVersion(have.ResourceVersion, lease.ResourceVersion)
	return err == nil && order > 0
}

// renewOnce renews the lease; nil if another holds it.
func (c *Candidate) renewOnce(ctx context.Context, lease *coordinationv1.Lease, deadline time.Time) (*coordinationv1.Lease, error) {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	leases := client.For[*coordinationv1.Lease](c.Transport)
	changed := lease.DeepCopy()
	changed.Spec = c.record(lease.Spec, time.Now())
	next, err := leases.Update(ctx, changed)
	if !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
		return next, err
	}
	if c.Slow != nil {
		c.Slow()
	}
	have, err := leases.Get(ctx, c.Namespace, c.Name)
	switch {
	case apierrors.IsNotFound(err): // somebody deleted it: nobody else holds it
		lost := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: c.Name}}
		lost.Spec = c.record(lease.Spec, time.Now())
		return leases.Create(ctx, lost)
	case err != nil:
		return nil, err
	case ptr.Deref(have.Spec.HolderIdentity, "") != c.Identity:
		return nil, nil
	}
	// Somebody wrote it, but it is still ours: that was an edit of something else, or a renewal of our own that seemed to fail.
	changed = have.DeepCopy()
	changed.Spec = c.record(have.Spec, time.Now())
	return leases.Update(ctx, changed)
}
