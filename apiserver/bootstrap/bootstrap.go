// Package bootstrap makes the objects that every cluster has: namespaces, roles and bindings, priority classes,
// the service of the API server itself and what others must know to trust it.
//
// It makes what is missing and brings up to date what upstream brings up to date; it never takes away what somebody
// added. On a cluster that has everything it writes nothing.
package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/bootstrap/policy"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
)

// writesInFlight bounds the parallel writes.
const writesInFlight = 64

// Options of Ensure.
type Options struct {
	Registry *registry.Registry
	// Port is this API server's, and Masters are where pods and nodes reach all that live. Without any the service
	// default/kubernetes is not made.
	Port    int
	Masters []netip.AddrPort
	// ServiceIP is the address of the service default/kubernetes: the first of the service range.
	ServiceIP net.IP
	// ClientCA and FrontProxyCA are the authorities, in PEM, whose clients and proxies are trusted.
	ClientCA, FrontProxyCA []byte
	// FrontProxyNames are the common names that a trusted proxy's certificate may have.
	FrontProxyNames []string
	// Joining says who may become a master; empty for nobody.
	Joining Joining
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Ensure makes what is missing. The registry must be running; it waits until it is ready.
func Ensure(ctx context.Context, o Options) error {
	if o.Now == nil {
		o.Now = time.Now
	}
	select {
	case <-o.Registry.Ready():
	case <-ctx.Done():
		return ctx.Err()
	}
	defaults, err := policy.Default()
	if err != nil {
		return err
	}
	e := &ensurer{registry: o.Registry, slots: make(chan struct{}, writesInFlight)}
	// Namespaces come first, so that nothing is ever seen in a namespace that does not exist.
	for _, name := range []string{metaDefault, metaSystem, metaPublic, corev1.NamespaceNodeLease} {
		put(ctx, e, "namespaces", newNamespace(name), keep)
	}
	if err := e.wait(); err != nil {
		return err
	}
	for _, c := range priorityClasses() {
		put(ctx, e, "priorityclasses.scheduling.k8s.io", c, keep)
	}
	e.policy(ctx, defaults)
	put(ctx, e, "configmaps", authenticationConfig(&o), mergeData)
	put(ctx, e, "configmaps", legacyTokenTracking(o.Now()), keep)
	e.joining(ctx, &o)
	if len(o.Masters) > 0 {
		put(ctx, e, "services", masterService(&o), reconcileService)
	}
	return errors.Join(Endpoints(ctx, o.Registry, o.Masters), e.wait())
}

// ensurer runs writes in parallel and collects their errors.
type ensurer struct {
	registry *registry.Registry
	slots    chan struct{}
	running  sync.WaitGroup

	mu     sync.Mutex
	failed []error // guarded by mu
}

func (e *ensurer) do(f func() error) {
	e.slots <- struct{}{}
	e.running.Go(func() {
		defer func() { <-e.slots }()
		if err := f(); err != nil {
			e.mu.Lock()
			e.failed = append(e.failed, err)
			e.mu.Unlock()
		}
	})
}

func (e *ensurer) wait() error {
	e.running.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	return errors.Join(e.failed...)
}

// merge brings have, a copy of the present object, up to what is wanted, in place.
type merge[T kind.Object] func(have, want T)

// keep leaves an object alone that exists.
func keep[T kind.Object](_, _ T) {}

// put makes an object if it is missing, and else merges what is wanted into it. A kind that this server does not
// have is left out.
func put[T kind.Object](ctx context.Context, e *ensurer, resource string, want T, m merge[T]) {
	r, ok := e.registry.Resource(schema.ParseGroupResource(resource))
	if !ok {
		return
	}
	namespace, name := want.GetNamespace(), want.GetName()
	if item := r.Peek(namespace, name); item != nil {
		have := item.Object().(T)
		next := kind.Copy(have)
		m(next, want)
		if same(next, have) {
			return
		}
	}
	e.do(func() error {
		if err := putNow(ctx, r, want, m); err != nil {
			return fmt.Errorf("making %s %s: %w", resource, name, err)
		}
		return nil
	})
}

func putNow[T kind.Object](ctx context.Context, r *registry.Resource, want T, m merge[T]) error {
	namespace, name := want.GetNamespace(), want.GetName()
	if r.Peek(namespace, name) == nil {
		made := kind.Copy(want)
		r.Info().Default(made)
		_, err := r.Create(ctx, made, registry.CreateOptions{})
		if !apierrors.IsAlreadyExists(err) {
			return err
		}
		// Another master was faster.
	}
	_, _, err := r.Update(ctx, namespace, name, func(_ context.Context, old kind.Object) (kind.Object, error) {
		next := kind.Copy(old.(T))
		m(next, want)
		return next, nil
	}, registry.UpdateOptions{})
	return err
}
