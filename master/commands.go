package master

import (
	"github.com/wheelhouse-k8s/wheelhouse/apiserver"
	"github.com/wheelhouse-k8s/wheelhouse/control"
)

// commands are what operators, and other masters, can ask of this master.
func (m *Master) commands() []control.Command {
	var all []control.Command
	all = append(all, m.membershipCommands()...)
	all = append(all, m.invitationCommands()...)
	all = append(all, m.backupCommands()...)
	all = append(all, m.encryptionCommands()...)
	all = append(all, m.certificateCommands()...)
	return all
}

// commandPaths serve the commands, each that takes its time at a path of its own.
func (m *Master) commandPaths() []apiserver.Path {
	commands := m.commands()
	mux := m.introduce(control.Mux(commands))
	paths := []apiserver.Path{{Pattern: control.Root, Handler: mux}}
	for _, c := range commands {
		if c.Long {
			paths = append(paths, apiserver.Path{Pattern: control.Root + c.Path, Handler: mux, LongRunning: true})
		}
	}
	return paths
}
