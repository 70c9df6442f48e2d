// Command users stands for programs of others: it names what is there for them, and for readers, though the product never calls it.
// It is compiled and never run. What is named neither here nor in the product is dead.
package main

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/wheelhouse-k8s/wheelhouse"
	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/custom"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
)

func main() {
	// A master within a Go program: the API of package wheelhouse.
	m, err := wheelhouse.Start(context.Background(), wheelhouse.Options{})
	if err != nil {
		return
	}
	_, _, _ = m.URL(), m.Kubeconfig(), m.Done()
	defer m.Stop()

	// The second implementation of a transport. It keeps the client wing honest: controllers and scheduler run against any API server
	// over HTTP, and tests hold them to that.
	_, _ = client.HTTP(context.Background(), m.RESTConfig())

	// Kinds that wait for who carries them out; tests hold them to the same rules as the others.
	_ = api.Unserved()

	// What kinds need whose objects are trees. A server keeps them, and no built-in kind is one.
	_ = kind.TreeHalves()
	_ = runtime.Object(&custom.List{}).DeepCopyObject()
}
