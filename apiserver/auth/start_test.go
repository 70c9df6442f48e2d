package auth

import (
	"context"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

// start runs a registry on an empty store, and an authorizer on it.
func start(t testing.TB) (*registry.Registry, *Authorizer) {
	t.Helper()
	return startOn(t, memory.New())
}

func startOn(t testing.TB, s store.Store) (*registry.Registry, *Authorizer) {
	t.Helper()
	r, err := registry.New(registry.Options{Store: s, Kinds: api.Kinds()})
	if err != nil {
		t.Fatal(err)
	}
	z, err := NewAuthorizer(r)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{}, 2)
	go func() {
		r.Run(ctx)
		done <- struct{}{}
	}()
	go func() {
		z.Run(ctx)
		done <- struct{}{}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		<-done
		s.Close()
	})
	<-r.Ready()
	return r, z
}

// create stores an object and waits until the mirror and the authorizer know it.
func create[T kind.Object](t testing.TB, r *registry.Registry, z *Authorizer, resource string, obj T) T {
	t.Helper()
	res, ok := r.Resource(schema.ParseGroupResource(resource))
	if !ok {
		t.Fatalf("no resource %s", resource)
	}
	res.Info().Default(obj)
	item, err := res.Create(t.Context(), obj, registry.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	syncRules(t, r, z)
	return item.Object().(T)
}

func remove(t testing.TB, r *registry.Registry, z *Authorizer, resource, namespace, name string) {
	t.Helper()
	res, _ := r.Resource(schema.ParseGroupResource(resource))
	zero := int64(0)
	o := registry.DeleteOptions{}
	o.GracePeriodSeconds = &zero
	if _, _, err := res.Delete(t.Context(), namespace, name, o); err != nil {
		t.Fatal(err)
	}
	syncRules(t, r, z)
}

func syncRules(t testing.TB, r *registry.Registry, z *Authorizer) {
	t.Helper()
	if err := z.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
}
