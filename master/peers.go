package master

import (
	"context"
	"net"
	"net/netip"
	"strconv"

	"github.com/wheelhouse-k8s/wheelhouse/apiserver/bootstrap"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/health"
	"github.com/wheelhouse-k8s/wheelhouse/election"
	"github.com/wheelhouse-k8s/wheelhouse/master/roll"
)

// peer is what others know of this master.
func (m *Master) peer() roll.Peer {
	p := roll.Peer{Name: m.identity, URL: m.URL(), Version: health.Version().GitVersion, Store: m.storeID()}
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
