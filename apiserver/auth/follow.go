package auth

import (
	"context"
	"sync"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
)

// followed are the resources that RBAC is made of.
var followed = []schema.GroupResource{rolesResource, clusterRolesResource, roleBindingsResource, clusterRoleBindingsResource}

// progress tells how far the followers have come.
type progress struct {
	mu   sync.Mutex
	seen map[schema.GroupResource]int64 // guarded by mu
	// moved is closed and replaced when seen grows; guarded by mu.
	moved chan struct{}
}

func newProgress() *progress {
	return &progress{seen: map[schema.GroupResource]int64{}, moved: make(chan struct{})}
}

func (p *progress) reach(gr schema.GroupResource, revision int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if revision > p.seen[gr] {
		p.seen[gr] = revision
		close(p.moved)
		p.moved = make(chan struct{})
	}
}

func (p *progress) await(ctx context.Context, gr schema.GroupResource, revision int64) error {
	for {
		// Both of one state: a step after it closes this very channel.
		p.mu.Lock()
		reached, moved := p.seen[gr] >= revision, p.moved
		p.mu.Unlock()
		if reached {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Run keeps RBAC up to date with the registry until ctx ends.
func (z *Authorizer) Run(ctx context.Context) {
	var wait sync.WaitGroup
	for _, gr := range followed {
		wait.Go(func() { z.follow(ctx, gr) })
	}
	wait.Wait()
}

// Sync waits until RBAC knows everything that was written before the call. The mirror may be behind what this process
// itself has just written.
func (z *Authorizer) Sync(ctx context.Context) error {
	if _, err := z.registry.Fresh(ctx); err != nil {
		return err
	}
	for _, gr := range followed {
		r, ok := z.registry.Resource(gr)
		if !ok {
			continue
		}
		var last int64
		for item := range r.All("") {
			last = max(last, item.Revision())
		}
		if err := z.progress.await(ctx, gr, last); err != nil {
			return err
		}
	}
	return nil
}

func (z *Authorizer) follow(ctx context.Context, gr schema.GroupResource) {
	r, ok := z.registry.Resource(gr)
	if !ok {
		return
	}
	r.Subscribe(ctx, func(deltas []registry.Delta) {
		var last int64
		for _, d := range deltas {
			if d.New != nil {
				z.RBAC.set(d.New.Object())
			} else {
				z.RBAC.remove(d.Old.Object())
			}
			last = max(last, d.Revision)
		}
		// Only now: whoever waits for the revision is decided on by what it brought.
		z.progress.reach(gr, last)
	})
}

func (r *RBAC) set(obj kind.Object) {
	switch o := obj.(type) {
	case *rbacv1.Role:
		r.SetRole(o.Namespace, o.Name, o.Rules)
	case *rbacv1.ClusterRole:
		r.SetRole("", o.Name, o.Rules)
	case *rbacv1.RoleBinding:
		r.SetBinding(o.Namespace, o.Name, o.RoleRef, o.Subjects)
	case *rbacv1.ClusterRoleBinding:
		r.SetBinding("", o.Name, o.RoleRef, o.Subjects)
	}
}

func (r *RBAC) remove(obj kind.Object) {
	switch obj.(type) {
	case *rbacv1.Role, *rbacv1.ClusterRole:
		r.DeleteRole(obj.GetNamespace(), obj.GetName())
	case *rbacv1.RoleBinding, *rbacv1.ClusterRoleBinding:
		r.DeleteBinding(obj.GetNamespace(), obj.GetName())
	}
}
