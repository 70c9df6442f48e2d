package master

import (
	"net"
	"strconv"

	"github.com/wheelhouse-k8s/wheelhouse/apiserver/health"
	"github.com/wheelhouse-k8s/wheelhouse/election"
	"github.com/wheelhouse-k8s/wheelhouse/master/identity"
	"github.com/wheelhouse-k8s/wheelhouse/master/roster"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
)

// entry is what others know of this master.
func (m *Master) entry() roster.Entry {
	p := roster.Entry{Name: m.enrolment.Name, URL: m.URL(), Version: health.Version().GitVersion, Store: m.identity.StoreID()}
	if !m.taken.advertise.IsLoopback() { // no pod reaches the service default/kubernetes there
		p.Address = m.taken.advertise
	}
	if host := m.taken.reachable(&m.config); host != "" {
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

// meetRoster looks at the stores that the masters on the roster say they belong to.
func meetRoster(own *identity.Identity, self string, entries []roster.Entry) {
	for _, p := range entries {
		if p.Store != "" && p.Name != self {
			own.Meet(&membership.Card{Store: membership.Store{ID: p.Store}, Master: p.Name, URL: p.URL})
		}
	}
}
