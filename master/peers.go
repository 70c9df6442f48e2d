package master

import (
	"context"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/apiserver/bootstrap"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/health"
	"github.com/wheelhouse-k8s/wheelhouse/election"
)

// peers are the live masters, this one included, ordered by name.
func (m *Master) peers() []Peer { return m.roll.peers() }

// peersChanged is closed when a master has come or gone.
func (m *Master) peersChanged() <-chan struct{} { return m.roll.next() }

// peer is what others know of this master.
func (m *Master) peer() Peer {
	p := Peer{Name: m.identity, URL: m.URL(), Version: health.Version().GitVersion, store: m.storeID()}
	if !m.advertise.IsLoopback() { // no pod reaches the service default/kubernetes there
		p.Address = m.advertise
	}
	if host := m.reachable(); host != "" {
		p.URL = "https://" + net.JoinHostPort(host, strconv.Itoa(m.Port()))
	}
	if m.config.Runs(Controllers) {
		p.leases = append(p.leases, election.ControllerManager)
	}
	if m.config.Runs(Scheduler) {
		p.leases = append(p.leases, election.Scheduler)
	}
	return p
}

// enter puts this master on the roll; live continues from the revision.
func (m *Master) enter(ctx context.Context) (revision int64, err error) {
	m.roll = newRoll(m.store, m.peer(), m.alone)
	if m.member != nil {
		m.precedence = newPrecedence(m.member, m.peers, m.peersChanged)
	}
	return m.roll.enter(ctx)
}

// alone tells whether nobody else can use this master's store.
func (m *Master) alone() bool {
	return m.config.DataDir == "" && m.config.store == nil && !m.config.external() || m.member != nil && !m.member.Grouped()
}

// live keeps this master on the roll, and the service default/kubernetes in step with it, until ctx ends.
func (m *Master) live(ctx context.Context, revision int64) {
	var running sync.WaitGroup
	running.Go(func() { m.roll.follow(ctx, revision) })
	running.Go(func() { m.roll.keep(ctx) })
	for ctx.Err() == nil {
		changed, again := m.roll.next(), endpointsCheck
		m.meetRoll()
		if err := bootstrap.Endpoints(ctx, m.registry, m.roll.endpoints()); err != nil && ctx.Err() == nil {
			slog.Warn("the endpoints of the service default/kubernetes could not be brought up to date, will retry", "error", err)
			again = endpointsRetry
		}
		check := time.NewTimer(again)
		select {
		case <-changed:
		case <-check.C:
		case <-ctx.Done():
		}
		check.Stop()
	}
	running.Wait()
	m.goOffRoll()
}

// goOffRoll takes this master off the roll and the service. The last one stays in the service: it may come back.
func (m *Master) goOffRoll() {
	if err := m.roll.leave(); err != nil {
		slog.Debug("this master's record could not be removed and will expire", "error", err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), recordTimeout)
	defer cancel()
	if _, err := m.roll.read(ctx); err != nil {
		return
	}
	if err := bootstrap.Endpoints(ctx, m.registry, m.roll.endpoints()); err != nil {
		slog.Debug("this master could not take itself off the service default/kubernetes", "error", err)
	}
}
