package master

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"

	"github.com/wheelhouse-k8s/wheelhouse/apiserver/bootstrap"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/health"
	"github.com/wheelhouse-k8s/wheelhouse/election"
	"github.com/wheelhouse-k8s/wheelhouse/master/roll"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
)

// peer is what others know of this master.
func (m *Master) peer() roll.Peer {
	p := roll.Peer{Name: m.enrolment.Name, URL: m.URL(), Version: health.Version().GitVersion, Store: m.identity.StoreID()}
	if !m.advertise.IsLoopback() { // no pod reaches the service default/kubernetes there
		p.Address = m.advertise
	}
	if host := m.reachable(); host != "" {
		p.URL = "https://" + net.JoinHostPort(host, strconv.Itoa(m.Port()))
	}
	if m.config.Runs(Controllers) {
		p.Leases = append(p.Leases, election.ControllerManager)
	}
	if m.config.Runs(Scheduler) {
		p.Leases = append(p.Leases, election.Scheduler)
	}
	return p
}

// alone tells whether nobody else can use this master's store.
func (m *Master) alone() bool {
	return m.config.DataDir == "" && m.config.store == nil && !m.config.external() || m.member != nil && !m.member.Grouped()
}

// publishEndpoints lists the masters in the service default/kubernetes.
func (m *Master) publishEndpoints(ctx context.Context, masters []netip.AddrPort) error {
	return bootstrap.Endpoints(ctx, m.registry, masters)
}

// meetRoll looks at the stores that the masters on the roll say they belong to.
func (m *Master) meetRoll(peers []roll.Peer) {
	for _, p := range peers {
		if p.Store != "" && p.Name != m.enrolment.Name {
			m.identity.Meet(&membership.Card{Store: membership.Store{ID: p.Store}, Master: p.Name, URL: p.URL})
		}
	}
}

// self is the master's name and the URL of its API.
func (m *Master) self() (name, url string) {
	p := m.peer()
	return p.Name, p.URL
}

func (m *Master) proven(r *http.Request) bool { return m.privilege().Proven(r) }

// watchIdentity tends what this master knows of its store and of others, until ctx ends.
func (m *Master) watchIdentity(ctx context.Context) {
	var running sync.WaitGroup
	running.Go(func() { m.identity.Watch(ctx, m.members, m.as(controllerManagerUser)) })
	running.Go(func() { m.enrolment.AskLater(ctx, m.identity) })
	running.Wait()
}
