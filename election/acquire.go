package election

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/wheelhouse-k8s/wheelhouse/client"
)

// hold is a lease that is held, with the fence of its term.
type hold struct {
	lease *coordinationv1.Lease
	fence int64
}

// acquire tries until the lease is held and fenced; the error is ctx's.
func (c *Candidate) acquire(ctx context.Context) (*hold, error) {
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	released := c.watchRelease(watching)
	backoff := retryMin
	for {
		changed := c.adviceChanged()
		held, wait, err := c.try(ctx)
		if held != nil && err == nil {
			return held, nil
		}
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
		case <-changed:
		case <-ctx.Done():
			timer.Stop()
			if held != nil { // the lease is held, but its term never began
				c.release()
			}
			return nil, ctx.Err()
		}
		timer.Stop()
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

// try takes the lease and its fence if it may. A hold with an error is a lease without its fence. wait is how long to
// wait before the next try.
func (c *Candidate) try(ctx context.Context) (held *hold, wait time.Duration, err error) {
	leases := client.For[*coordinationv1.Lease](c.Transport)
	wait = c.RetryPeriod + rand.N(c.RetryPeriod/5)
	have, err := leases.Get(ctx, c.Namespace, c.Name)
	missing := apierrors.IsNotFound(err)
	switch {
	case missing:
		have = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: c.Name}}
	case err != nil:
		return nil, wait, err
	}
	now := time.Now()
	if may, again := c.mayTake(have.Spec, now); !may {
		return nil, min(wait, again), nil
	}
	// The fence is read before the lease is taken and moved on after: see DESIGN.md.
	held = &hold{}
	if c.Fence != nil {
		if held.fence, err = c.Fence.Read(ctx); err != nil {
			return nil, wait, err
		}
	}
	changed := have.DeepCopy()
	changed.Spec = c.record(have.Spec, now)
	if missing {
		held.lease, err = leases.Create(ctx, changed)
	} else {
		held.lease, err = leases.Update(ctx, changed)
	}
	if err != nil {
		return nil, wait, err
	}
	if c.Fence != nil {
		held.fence, err = c.Fence.Take(ctx, held.fence, c.Identity)
	}
	return held, wait, err
}

// mayTake tells whether this candidate may take the lease now: one that is nobody's, its own, one that has not been
// renewed for the whole duration that its holder promised, or one whose holder is known to be gone. If not, again is
// when that can change.
func (c *Candidate) mayTake(have coordinationv1.LeaseSpec, now time.Time) (may bool, again time.Duration) {
	holder := ptr.Deref(have.HolderIdentity, "")
	if holder == c.Identity {
		return true, 0
	}
	left := c.left(have, now)
	if left > 0 {
		c.freeSince = time.Time{}
	}
	if holder != "" && left <= 0 {
		holder = "" // who let its time pass is nobody
	}
	advice, again := c.advised(holder)
	if again <= 0 {
		again = c.LeaseDuration
	}
	switch {
	case advice == Early:
		return true, 0
	case left > 0:
		return false, min(left, again)
	case advice != Yield:
		return true, 0
	}
	if c.freeSince.IsZero() {
		c.freeSince = now
	}
	left = c.freeSince.Add(yieldMax).Sub(now)
	return left <= 0, min(left, again)
}

// left is how much of a holder's time is left.
func (c *Candidate) left(have coordinationv1.LeaseSpec, now time.Time) time.Duration {
	holder := ptr.Deref(have.HolderIdentity, "")
	if holder == "" {
		return 0
	}
	if ptr.Deref(c.seen.HolderIdentity, "") != holder || !c.seen.RenewTime.Equal(have.RenewTime) {
		c.seen, c.seenAt = have, now
	}
	promised := time.Duration(ptr.Deref(have.LeaseDurationSeconds, 0)) * time.Second
	return c.seenAt.Add(max(promised, time.Second)).Sub(now)
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

// release gives the lease back, so that the next candidate need not wait for it to expire.
func (c *Candidate) release() {
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
