// Package fairness keeps one user's requests from crowding out those of others.
//
// A request belongs to a priority level, which a list of flow schemas finds, and within it to the flow of its user. Levels,
// schemas and shares are those that upstream's API server begins with; they are data here, and become objects once priority
// and fairness is configurable. Who finds no seat waits for a while, in bounded numbers, and is told to come back then.
package fairness

import (
	"strings"

	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// PriorityLevel is upstream's: levels do not take each other's last seats.
type PriorityLevel int

// The levels, by upstream's names.
const (
	Exempt PriorityLevel = iota
	NodeHigh
	System
	LeaderElection
	WorkloadHigh
	WorkloadLow
	GlobalDefault
	CatchAll
	levelCount
)

// levels hold the shares of each: of all seats it has shares/totalShares, of which others may borrow the lendable percent.
var levels = [levelCount]struct {
	name             string
	shares, lendable int
}{
	Exempt:         {"exempt", 0, 0},
	NodeHigh:       {"node-high", 40, 25},
	System:         {"system", 30, 33},
	LeaderElection: {"leader-election", 10, 0},
	WorkloadHigh:   {"workload-high", 40, 50},
	WorkloadLow:    {"workload-low", 100, 90},
	GlobalDefault:  {"global-default", 20, 50},
	CatchAll:       {"catch-all", 5, 0},
}

func (l PriorityLevel) String() string { return levels[l].name }

// Request is what is looked at to classify a request.
type Request struct {
	User            user.Info
	Verb            kind.Verb
	Group, Resource string
	Subresource     string
	Path            string // of what is no resource
	AboutResource   bool
}

// subjects are the groups of a user that schemas speak of.
type subjects struct{ masters, nodes, serviceAccounts, systemAccounts, everybody bool }

// Schema finds the level of a request. The first that matches decides.
type Schema struct {
	Name          string
	PriorityLevel PriorityLevel
	// matches is asked after the groups have been looked at once.
	matches func(Request, subjects) bool
}

const (
	allServiceAccounts    = "system:serviceaccounts"
	systemServiceAccounts = "system:serviceaccounts:kube-system"
)

var schemas = [...]Schema{
	{"exempt", Exempt, func(_ Request, s subjects) bool { return s.masters }},
	{"probes", Exempt, func(r Request, s subjects) bool { return s.everybody && r.probe() }},
	{"system-leader-election", LeaderElection, func(r Request, s subjects) bool {
		return (s.systemAccounts || component(r.User.GetName())) && r.lease() && (r.Verb == kind.Get || r.Verb == kind.Create || r.Verb == kind.Update)
	}},
	{"system-node-high", NodeHigh, func(r Request, s subjects) bool { return s.nodes && (r.lease() || r.node()) }},
	{"system-nodes", System, func(_ Request, s subjects) bool { return s.nodes }},
	{"kube-controller-manager", WorkloadHigh, func(r Request, _ subjects) bool { return r.User.GetName() == user.KubeControllerManager }},
	{"kube-scheduler", WorkloadHigh, func(r Request, _ subjects) bool { return r.User.GetName() == user.KubeScheduler }},
	{"kube-system-service-accounts", WorkloadHigh, func(_ Request, s subjects) bool { return s.systemAccounts }},
	{"service-accounts", WorkloadLow, func(_ Request, s subjects) bool { return s.serviceAccounts }},
	{"global-default", GlobalDefault, func(_ Request, s subjects) bool { return s.everybody }},
	{"catch-all", CatchAll, func(Request, subjects) bool { return true }},
}

// Classify finds the schema of a request.
func Classify(r Request) *Schema {
	var s subjects
	for _, g := range r.User.GetGroups() {
		switch g {
		case user.SystemPrivilegedGroup:
			s.masters = true
		case user.NodesGroup:
			s.nodes = true
		case allServiceAccounts:
			s.serviceAccounts = true
		case systemServiceAccounts:
			s.systemAccounts = true
		case user.AllAuthenticated, user.AllUnauthenticated:
			s.everybody = true
		}
	}
	for i := range schemas {
		if schemas[i].matches(r, s) {
			return &schemas[i]
		}
	}
	return &schemas[len(schemas)-1]
}

func component(name string) bool {
	return name == user.KubeControllerManager || name == user.KubeScheduler
}

func (r Request) lease() bool {
	return r.AboutResource && r.Group == "coordination.k8s.io" && r.Resource == "leases" && r.Subresource == ""
}

func (r Request) node() bool {
	return r.AboutResource && r.Group == "" && r.Resource == "nodes" && (r.Subresource == "" || r.Subresource == "status")
}

// probe tells whether the request asks for health, of the whole or of a part.
func (r Request) probe() bool {
	if r.AboutResource || r.Verb != kind.Get {
		return false
	}
	for _, path := range [...]string{"/healthz", "/livez", "/readyz"} {
		if rest, ok := strings.CutPrefix(r.Path, path); ok && (rest == "" || rest[0] == '/') {
			return true
		}
	}
	return false
}
