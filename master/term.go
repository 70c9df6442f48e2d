package master

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/wheelhouse-k8s/wheelhouse/apiserver/auth"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/controllers"
	"github.com/wheelhouse-k8s/wheelhouse/election"
	"github.com/wheelhouse-k8s/wheelhouse/registry/notes"
	"github.com/wheelhouse-k8s/wheelhouse/scheduler"
	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// The users under which the two loops of a leader act, as upstream names them.
const (
	controllerManagerUser = "system:kube-controller-manager"
	schedulerUser         = "system:kube-scheduler"
)

// lead stands for both leaderships until ctx ends. They are two, under upstream's names, so that upstream's own
// controller manager or scheduler can take the place of ours one by one.
func (m *Master) lead(ctx context.Context) error {
	loops, ctx := errgroup.WithContext(ctx)
	// The terms outlast ctx until another master leads the store, so that it gets the Leases.
	terms, end := context.WithCancel(context.WithoutCancel(ctx))
	loops.Go(func() error {
		defer end()
		<-ctx.Done()
		if m.precedence != nil {
			m.precedence.HandOver(terms)
		}
		return nil
	})
	if m.precedence != nil {
		loops.Go(func() error { m.precedence.Run(terms); return nil })
	}
	if m.config.Runs(Controllers) {
		loops.Go(func() error {
			return m.candidate(controllerManagerUser, election.ControllerManager).Run(terms, m.control)
		})
	}
	if m.config.Runs(Scheduler) {
		loops.Go(func() error { return m.candidate(schedulerUser, election.Scheduler).Run(terms, m.schedule) })
	}
	return loops.Wait()
}

func (m *Master) candidate(userName, lease string) *election.Candidate {
	c := &election.Candidate{
		Transport: m.as(userName), Name: lease, Identity: m.enrolment.Name, Watch: true,
		Fence: fence{store: m.store, key: notes.Terms + lease},
		Slow:  func() { m.metrics.SlowRenewal(lease) },
		Ended: func(reason election.Reason, err error) {
			m.metrics.TermEnded(lease, string(reason))
			m.config.Log("no longer leading as %s: %s", lease, inWords(reason, err))
		},
	}
	c.LeaseDuration, c.RenewDeadline, c.RetryPeriod = m.config.leaseTimes()
	if m.precedence != nil {
		c.Standing = m.precedence.For(lease, m.enrolment.Name)
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
	m     *Master
	fence store.Fence
	end   context.CancelCauseFunc
}

// during runs work as a term, and reports it in the log and, while it lasts, in the metrics.
func (m *Master) during(ctx context.Context, lease string, revision int64, work func(context.Context, *term) error) error {
	m.config.Log("leading as %s", lease)
	m.metrics.Leading(lease, true)
	defer m.metrics.Leading(lease, false)
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	t := &term{m: m, fence: store.Fence{Key: notes.Terms + lease, Revision: revision}, end: end}
	// Whatever earlier terms wrote stands before the fence: no loop decides before the mirror shows all of it.
	if err := m.registry.WaitFor(ctx, revision); err != nil {
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
	transport := t.m.as(userName)
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

// as gives the transport of a user of this master's own. Its writes carry upstream's names of field managers.
func (m *Master) as(userName string) *inProcess {
	info, manager := user.Info(&user.DefaultInfo{Name: userName, Groups: []string{user.AllAuthenticated}}), "kube-controller-manager"
	if namespace, name, err := serviceaccount.SplitUsername(userName); err == nil {
		info = auth.ServiceAccount(namespace, name)
	}
	if userName == schedulerUser {
		manager = "kube-scheduler"
	}
	return &inProcess{server: m.server, registry: m.registry, user: info, agent: manager}
}

// control runs the controllers for one term.
func (m *Master) control(ctx context.Context, fence int64) error {
	return m.during(ctx, election.ControllerManager, fence, func(ctx context.Context, t *term) error {
		options := m.config.ControllerManager
		options.RootCA.Source = m.own.RootCA
		loops, ctx := errgroup.WithContext(ctx)
		loops.Go(func() error { return controllers.Run(ctx, t.as, m.catalog, options) })
		loops.Go(func() error { return m.backups.Keep(ctx, t.as(controllerManagerUser)) })
		return loops.Wait()
	})
}

// schedule runs the scheduler for one term.
func (m *Master) schedule(ctx context.Context, fence int64) error {
	return m.during(ctx, election.Scheduler, fence, func(ctx context.Context, t *term) error {
		return scheduler.New(t.as(schedulerUser), scheduler.Options{Metrics: m.schedulerMetrics()}).Run(ctx)
	})
}

func (m *Master) schedulerMetrics() scheduler.Metrics {
	to := m.metrics.Scheduler(scheduler.DefaultName)
	return scheduler.Metrics{Attempt: to.Attempt, Algorithm: to.Algorithm, Scheduled: to.Scheduled, Incoming: to.Incoming, Pending: to.Pending, Cache: to.Cache}
}
