package master

import "github.com/wheelhouse-k8s/wheelhouse/control"

// commands are what operators, and other masters, can ask of this master.
func (m *Master) commands() []control.Command {
	var all []control.Command
	all = append(all, m.encryptionCommands()...)
	return all
}
