package master

import (
	"k8s.io/client-go/rest"

	"github.com/wheelhouse-k8s/wheelhouse/admin"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
)

// commands are what operators, and other masters, can ask of this master.
func (m *Master) commands() []admin.Command {
	var all []admin.Command
	all = append(all, m.members.Commands()...)
	all = append(all, m.backups.Commands()...)
	all = append(all, m.keys.Commands()...)
	all = append(all, m.certificates.Commands()...)
	return all
}

// commandPaths serve the commands, each that takes its time at a path of its own.
func (m *Master) commandPaths() []apiserver.Path {
	commands := m.commands()
	mux := m.identity.Introduce(admin.Mux(commands))
	paths := []apiserver.Path{{Pattern: admin.Root, Handler: mux}}
	for _, c := range commands {
		if c.Long {
			paths = append(paths, apiserver.Path{Pattern: admin.Root + c.Path, Handler: mux, LongRunning: true})
		}
	}
	return paths
}

// privilege keeps keys from who could not read them anyway.
func (m *Master) privilege() admin.Privilege {
	return admin.Privilege{Authorities: m.own.Authority.ClientPool, Now: m.config.Now}
}

// caller calls the commands of other masters.
func (m *Master) caller() *admin.Caller {
	return &admin.Caller{Introduced: m.identity.Introduced, Config: func() *rest.Config {
		config := m.restConfig(m.own.Admin())
		// A master with a serving certificate of its operator's shows the authority's to other masters.
		config.TLSClientConfig.NextProtos = []string{"http/1.1", membership.AuthorityProtocol}
		return config
	}}
}
