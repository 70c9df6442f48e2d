package auth

import (
	"context"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/wheelhouse-k8s/wheelhouse/registry"
	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

// lagging is a store whose watches deliver nothing until released is closed.
type lagging struct {
	store.Store
	released chan struct{}
}

type laggingWatch struct {
	store.Watch
	out chan store.Batch
}

func (w laggingWatch) C() <-chan store.Batch { return w.out }

func (s lagging) Watch(ctx context.Context, prefix string, o store.WatchOptions) store.Watch {
	inner := s.Store.Watch(ctx, prefix, o)
	w := laggingWatch{inner, make(chan store.Batch)}
	go func() {
		defer close(w.out)
		select {
		case <-s.released:
		case <-ctx.Done():
			return
		}
		for b := range inner.C() {
			select {
			case w.out <- b:
			case <-ctx.Done():
				return
			}
		}
	}()
	return w
}

// TestSyncWaitsForTheMirror: what was written just before Sync is in force after it, however late the mirror hears of it.
func TestSyncWaitsForTheMirror(t *testing.T) {
	s := lagging{memory.New(), make(chan struct{})}
	r, z := startOn(t, s)
	roles, _ := r.Resource(schema.GroupResource{Group: rbacv1.GroupName, Resource: "clusterroles"})
	bindings, _ := r.Resource(schema.GroupResource{Group: rbacv1.GroupName, Resource: "clusterrolebindings"})
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "reader"}, Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}}}}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "readers"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "reader"},
		Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: "someone"}},
	}
	if _, err := roles.Create(t.Context(), role, registry.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := bindings.Create(t.Context(), binding, registry.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	before := r.Stats().ConsistentReads
	synced := make(chan error, 1)
	go func() { synced <- z.Sync(t.Context()) }()
	ask := authorizer.AttributesRecord{User: &user.DefaultInfo{Name: "someone"}, Verb: "get", Resource: "pods", ResourceRequest: true}
	// Sync has begun to wait, or has wrongly returned, when the registry has asked the store for its revision.
	for r.Stats().ConsistentReads == before {
		select {
		case err := <-synced:
			t.Fatalf("it did not wait: %v", err)
		default:
		}
	}
	close(s.released)
	if err := <-synced; err != nil {
		t.Fatal(err)
	}
	if decision, why, err := z.Authorize(t.Context(), ask); decision != authorizer.DecisionAllow {
		t.Errorf("after Sync: %v %s %v", decision, why, err)
	}
}
