package master

import (
	"context"

	"k8s.io/client-go/rest"

	"github.com/wheelhouse-k8s/wheelhouse/master/certificates"
	"github.com/wheelhouse-k8s/wheelhouse/pki"
	"github.com/wheelhouse-k8s/wheelhouse/simulate"
)

// nodeIdentitiesMax bounds the simulated nodes that have identities, and connections, of their own.
const nodeIdentitiesMax = 32

// simulateNodes runs simulated nodes over the public API. config gives a client with a certificate.
func simulateNodes(ctx context.Context, count int, own *certificates.Own, config func(*pki.Pair) *rest.Config) error {
	if count == 0 {
		return nil
	}
	o := simulate.Options{Config: config(own.Admin()), Nodes: count}
	if o.Nodes <= nodeIdentitiesMax {
		o.NodeConfig = func(name string) (*rest.Config, error) {
			identity, err := own.Authority.Node(name)
			if err != nil {
				return nil, err
			}
			return config(identity), nil
		}
	}
	return simulate.Run(ctx, o)
}
