// Package wheelhouse starts Kubernetes masters inside a Go program: for tests of operators and controllers against a
// real control plane, ready in a fraction of a second, several side by side.
//
//	m, err := wheelhouse.Start(ctx, wheelhouse.Options{})
//	...
//	defer m.Stop()
//	clientset, err := kubernetes.NewForConfig(m.RESTConfig())
package wheelhouse

import (
	"context"
	"fmt"
	"sync"

	"k8s.io/client-go/rest"

	"github.com/wheelhouse-k8s/wheelhouse/master"
)

// Options of Start. The zero value is a whole master in memory, on loopback and a free port.
type Options struct {
	// DataDir keeps the cluster on disk, with an embedded etcd; empty keeps it in memory.
	DataDir string
	// Components to run; nil means all: API server, controllers and scheduler.
	Components []master.Component
	// SimulateNodes is the number of simulated nodes that run pods in name only.
	SimulateNodes int
	// Configure changes anything else before the start.
	Configure func(*master.Config)
}

// Master is a running master.
type Master struct {
	m      *master.Master
	cancel context.CancelFunc
	done   chan struct{}
	err    error // set before done is closed
	once   sync.Once
}

// Start starts a master and returns when its API answers. ctx bounds the start and, when it ends, stops the master.
func Start(ctx context.Context, o Options) (*Master, error) {
	config := master.Default()
	config.DataDir, config.SimulateNodes = o.DataDir, o.SimulateNodes
	config.BindAddress, config.SecurePort = "127.0.0.1", 0
	if o.Components != nil {
		config.Components = o.Components
	}
	if o.Configure != nil {
		o.Configure(&config)
	}
	inner, err := master.New(config)
	if err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(ctx)
	m := &Master{m: inner, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(m.done)
		m.err = inner.Run(running)
	}()
	select {
	case <-inner.Ready():
		return m, nil
	case <-m.done:
		cancel()
		if m.err != nil {
			return nil, m.err
		}
		return nil, fmt.Errorf("the master ended before it was ready: %w", context.Cause(ctx))
	}
}

// Stop ends the master and waits until it has; it returns what made it fail, if anything did.
func (m *Master) Stop() error {
	m.once.Do(m.cancel)
	<-m.done
	return m.err
}

// Done is closed when the master has ended.
func (m *Master) Done() <-chan struct{} { return m.done }

// RESTConfig is a client configuration with the rights of an administrator.
func (m *Master) RESTConfig() *rest.Config { return m.m.RESTConfig() }

// URL of the API.
func (m *Master) URL() string { return m.m.URL() }

// Kubeconfig is the file with the administrator's credentials, for a master with a data folder.
func (m *Master) Kubeconfig() string { return m.m.Kubeconfig() }
