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

// listing is what others know of this master.
func (m *Master) listing() roster.Listing {
	l := roster.Listing{Name: m.enrolment.Name, URL: m.URL(), Version: health.Version().GitVersion, Store: m.identity.StoreID()}
	if !m.taken.advertise.IsLoopback() { // no pod reaches the service default/kubernetes there
		l.Address = m.taken.advertise
	}
	if host := m.taken.reachable(&m.config); host != "" {
		l.URL = "https://" + net.JoinHostPort(host, strconv.Itoa(m.Port()))
	}
	if m.config.Runs(Controllers) {
		l.Leases = append(l.Leases, election.ControllerManager)
	}
	if m.config.Runs(Scheduler) {
		l.Leases = append(l.Leases, election.Scheduler)
	}
	return l
}

// meetRoster looks at the stores that the masters on the roster say they belong to.
func meetRoster(own *identity.Identity, self string, listings []roster.Listing) {
	for _, l := range listings {
		if l.Store != "" && l.Name != self {
			own.Meet(&membership.Card{Store: membership.Store{ID: l.Store}, Master: l.Name, URL: l.URL})
		}
	}
}
