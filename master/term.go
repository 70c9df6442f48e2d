package master

import (
	"context"

	"golang.org/x/sync/errgroup"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/wheelhouse-k8s/wheelhouse/apiserver/auth"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/controllers"
	"github.com/wheelhouse-k8s/wheelhouse/election"
	"github.com/wheelhouse-k8s/wheelhouse/scheduler"
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
	if m.config.Runs(Controllers) {
		candidate := m.candidate(controllerManagerUser, "kube-controller-manager")
		loops.Go(func() error { return candidate.Run(ctx, m.leading("kube-controller-manager", m.control)) })
	}
	if m.config.Runs(Scheduler) {
		candidate := m.candidate(schedulerUser, "kube-scheduler")
		loops.Go(func() error { return candidate.Run(ctx, m.leading("kube-scheduler", m.schedule)) })
	}
	loops.Go(func() error { // without loops the term lasts as long as the master
		<-ctx.Done()
		return nil
	})
	return loops.Wait()
}

// leading reports a term, in the log and while it lasts in the metrics.
func (m *Master) leading(lease string, term func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		m.config.Log("leading as %s", lease)
		m.metrics.Leading(lease, true)
		defer m.metrics.Leading(lease, false)
		return term(ctx)
	}
}

func (m *Master) candidate(userName, lease string) *election.Candidate {
	c := m.config
	return &election.Candidate{
		Transport: m.as(userName), Name: lease, Identity: m.identity, Watch: true,
		LeaseDuration: c.LeaseDuration, RenewDeadline: c.RenewDeadline, RetryPeriod: c.RetryPeriod,
	}
}

// as gives the transport of a user of this master's own. Its writes carry upstream's names of field managers.
func (m *Master) as(userName string) client.Transport {
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
func (m *Master) control(ctx context.Context) error {
	options := m.config.ControllerManager
	options.RootCA = m.authority.CA().CertPEM
	return controllers.Run(ctx, m.as, kinds(), options)
}

// schedule runs the scheduler for one term.
func (m *Master) schedule(ctx context.Context) error {
	return scheduler.New(m.as(schedulerUser), scheduler.Options{Metrics: m.schedulerMetrics()}).Run(ctx)
}

func (m *Master) schedulerMetrics() scheduler.Metrics {
	to := m.metrics.Scheduler(scheduler.DefaultName)
	return scheduler.Metrics{Attempt: to.Attempt, Algorithm: to.Algorithm, Scheduled: to.Scheduled, Incoming: to.Incoming, Pending: to.Pending, Cache: to.Cache}
}
