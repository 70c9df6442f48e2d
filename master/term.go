package master

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/controllers"
	"github.com/wheelhouse-k8s/wheelhouse/election"
	"github.com/wheelhouse-k8s/wheelhouse/master/backups"
	"github.com/wheelhouse-k8s/wheelhouse/master/roster"
	"github.com/wheelhouse-k8s/wheelhouse/registry/notes"
	"github.com/wheelhouse-k8s/wheelhouse/scheduler"
	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// The users under which the two loops of a leader act, as upstream names them.
const (
	controllerManagerUser = "system:kube-controller-manager"
	schedulerUser         = "system:kube-scheduler"
)

// leader is what a master needs to stand for the leaderships, and to use them.
type leader struct {
	config     *Config
	self       string
	server     *server
	preference *roster.Preference // nil without a member of the store
	rootCA     func() (ca []byte, changed <-chan struct{})
	backups    *backups.Backups
}

func (m *Master) leader() *leader {
	return &leader{
		config: &m.config, self: m.enrolment.Name, server: m.server, preference: m.roster.Preference(), rootCA: m.own.RootCA, backups: m.backups,
	}
}

// lead stands for both leaderships until ctx ends. They are two, under upstream's names, so that upstream's own
// controller manager or scheduler can take the place of ours one by one.
func (l *leader) lead(ctx context.Context) error {
	loops, ctx := errgroup.WithContext(ctx)
	// The terms outlast ctx until another master leads the store, so that it gets the Leases.
	terms, end := context.WithCancel(context.WithoutCancel(ctx))
	loops.Go(func() error {
		defer end()
		<-ctx.Done()
		if l.preference != nil {
			l.preference.StopLeading(terms)
		}
		return nil
	})
	if l.preference != nil {
		loops.Go(func() error { l.preference.Run(terms); return nil })
	}
	if l.config.Runs(Controllers) {
		loops.Go(func() error {
			return l.candidate(controllerManagerUser, election.ControllerManager).Run(terms, l.control)
		})
	}
	if l.config.Runs(Scheduler) {
		loops.Go(func() error { return l.candidate(schedulerUser, election.Scheduler).Run(terms, l.schedule) })
	}
	return loops.Wait()
}

func (l *leader) candidate(userName, lease string) *election.Candidate {
	c := &election.Candidate{
		Transport: l.server.as(userName), Name: lease, Identity: l.self, Watch: true,
		Fence: fence{store: l.server.store, key: notes.Terms + lease},
		Slow:  func() { l.server.metrics.SlowRenewal(lease) },
		Ended: func(reason election.Reason, err error) {
			l.server.metrics.TermEnded(lease, string(reason))
			l.config.Log("no longer leading as %s: %s", lease, inWords(reason, err))
		},
	}
	c.LeaseDuration, c.RenewDeadline, c.RetryPeriod = l.config.leaseTimes()
	if l.preference != nil {
		c.Advisor = l.preference.For(lease, l.self)
	}
	return c
}

// inWords says why a term has ended.
func inWords(reason election.Reason, err error) string {
	switch {
	case reason == election.Failed && err == nil:
		return "it ended by itself; standing again soon"
	case reason == election.Failed:
		return fmt.Sprintf("a part of it failed (%v); standing again soon", err)
	case reason == election.Lost && errors.Is(err, election.ErrDeposed):
		return "another master has taken over"
	case reason == election.Lost:
		return "the lease was not renewed in time, or another has taken over"
	case reason == election.Yielded:
		return "it goes to the master that leads the store"
	}
	return "the master stops"
}

// term is one term of leadership. Its transports write only as long as it lasts: a master that was stopped for a while
// and has lost its leadership meanwhile cannot act on what it knew, not even once.
type term struct {
	l     *leader
	fence store.Fence
	end   context.CancelCauseFunc
}

// during runs work as a term, and reports it in the log and, while it lasts, in the metrics.
func (l *leader) during(ctx context.Context, lease string, revision int64, work func(context.Context, *term) error) error {
	l.config.Log("leading as %s", lease)
	l.server.metrics.Leading(lease, true)
	defer l.server.metrics.Leading(lease, false)
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	t := &term{l: l, fence: store.Fence{Key: notes.Terms + lease, Revision: revision}, end: end}
	// Whatever earlier terms wrote stands before the fence: no loop decides before the mirror shows all of it.
	if err := l.server.registry.WaitFor(ctx, revision); err != nil {
		return nil // ctx has ended
	}
	err := work(store.WithFence(ctx, t.fence), t)
	if errors.Is(context.Cause(ctx), election.ErrDeposed) {
		return election.ErrDeposed
	}
	return err
}

// as gives the transport of a user of this master's own for the term.
func (t *term) as(userName string) client.Transport {
	transport := t.l.server.as(userName)
	transport.term = t
	return transport
}

// guard makes the writes of a request conditional on the term. Most contexts come from the term's and are so already.
func (t *term) guard(ctx context.Context) context.Context {
	if f, ok := store.FenceOf(ctx); ok && f == t.fence {
		return ctx
	}
	return store.WithFence(ctx, t.fence)
}

// answered ends the term if a write was refused because another term has begun.
func (t *term) answered(err error) {
	if errors.Is(err, store.ErrFenced) {
		t.end(election.ErrDeposed)
	}
}

// control runs the controllers for one term.
func (l *leader) control(ctx context.Context, fence int64) error {
	return l.during(ctx, election.ControllerManager, fence, func(ctx context.Context, t *term) error {
		options := l.config.ControllerManager
		options.RootCA.Source = l.rootCA
		loops, ctx := errgroup.WithContext(ctx)
		loops.Go(func() error { return controllers.Run(ctx, t.as, l.server.registry, options) })
		loops.Go(func() error { return l.backups.Keep(ctx, t.as(controllerManagerUser)) })
		return loops.Wait()
	})
}

// schedule runs the scheduler for one term.
func (l *leader) schedule(ctx context.Context, fence int64) error {
	return l.during(ctx, election.Scheduler, fence, func(ctx context.Context, t *term) error {
		return scheduler.New(t.as(schedulerUser), scheduler.Options{Metrics: l.schedulerMetrics()}).Run(ctx)
	})
}

func (l *leader) schedulerMetrics() scheduler.Metrics {
	to := l.server.metrics.Scheduler(scheduler.DefaultName)
	return scheduler.Metrics{Attempt: to.Attempt, Algorithm: to.Algorithm, Scheduled: to.Scheduled, Incoming: to.Incoming, Pending: to.Pending, Cache: to.Cache}
}
