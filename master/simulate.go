package master

import (
	"context"

	"k8s.io/client-go/rest"

	"github.com/wheelhouse-k8s/wheelhouse/simulate"
)

// nodeIdentitiesMax bounds the simulated nodes that have identities, and connections, of their own.
const nodeIdentitiesMax = 32

// simulate runs the simulated nodes over the public API.
func (m *Master) simulate(ctx context.Context) error {
	if m.config.SimulateNodes == 0 {
		return nil
	}
	select {
	case <-m.ready:
	case <-ctx.Done():
		return nil
	}
	o := simulate.Options{Config: m.RESTConfig(), Nodes: m.config.SimulateNodes}
	if o.Nodes <= nodeIdentitiesMax {
		o.NodeConfig = func(name string) (*rest.Config, error) {
			identity, err := m.own.Authority.Node(name)
			if err != nil {
				return nil, err
			}
			return m.restConfig(identity), nil
		}
	}
	return simulate.Run(ctx, o)
}
