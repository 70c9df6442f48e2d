package garbage

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/client/clienttest"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile/reconciletest"
)

// collector is a running garbage collector of kinds that come and go. What is there is what the views show.
type collector struct {
	*testing.T
	*clienttest.Server
	kinds reconciletest.Kinds

	mu     sync.Mutex
	writes []string // guarded by mu
	// unserved is a kind whose requests are refused because it is not there.
	unserved *kind.Kind // guarded by mu
	// policies with which objects were deleted.
	policies map[string]metav1.DeletionPropagation // guarded by mu
}

func (c *collector) policy(name string) metav1.DeletionPropagation {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.policies[name]
}

func collect(t *testing.T, kinds ...*kind.Kind) (c *collector, stop func()) {
	c = &collector{T: t, Server: &clienttest.Server{}, policies: map[string]metav1.DeletionPropagation{}}
	c.kinds.Set(kinds...)
	c.Answer = func(_ context.Context, r client.Request) (runtime.Object, error) {
		if r.Verb == kind.Get {
			if o, shown := c.View(r.Kind).Get(r.Namespace, r.Name); shown {
				return o, nil
			}
			return nil, apierrors.NewNotFound(r.Kind.GR(), r.Name)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if r.Kind == c.unserved {
			return nil, &apierrors.StatusError{ErrStatus: metav1.Status{Code: 404, Reason: metav1.StatusReasonNotFound, Message: "the server could not find the requested resource"}}
		}
		c.writes = append(c.writes, string(r.Verb)+" "+r.Name)
		if r.Verb == kind.Delete {
			c.policies[r.Name] = *r.Delete.PropagationPolicy
			c.Remove(r.Kind, r.Namespace, r.Name)
		}
		return nil, nil
	}
	b := reconcile.NewBuilder("garbage-collector-controller", c.Server)
	b.Events, b.Kinds, b.Options = client.NewRecorder(c.Server, "test"), &c.kinds, []any{&Options{Enabled: true}}
	made, err := b.Make(New)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- made.Run(ctx) }()
	return c, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// wrote tells what was written since the last time.
func (c *collector) wrote(want ...string) {
	c.Helper()
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	slices.Sort(c.writes)
	if !slices.Equal(slices.Compact(c.writes), want) {
		c.Errorf("wrote %q, want %q", c.writes, want)
	}
	c.writes = nil
}

func (c *collector) setUnserved(k *kind.Kind) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unserved = k
}

func secret(name string, refs ...metav1.OwnerReference) kind.Object {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ga", Name: name, UID: types.UID("uid of " + name), ResourceVersion: "7", OwnerReferences: refs}}
}

// TestKindsThatComeAndGo: objects of a kind are collected from the moment on at which the kind comes, and no longer when it has gone; as
// owners they count as absent while their kind is there, and as unknown before and afterwards.
func TestKindsThatComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		maps, secrets := api.Of[*corev1.ConfigMap](), api.Of[*corev1.Secret]()
		c, stop := collect(t, maps)
		c.Put(maps, owned("ga", "map", ref("ConfigMap", "gone", "g")))
		c.Put(maps, owned("ga", "of-secret", ref("Secret", "gone", "g")))
		c.Put(secrets, secret("early", ref("ConfigMap", "gone", "g")))
		c.wrote("delete map")

		c.kinds.Set(maps, secrets)
		c.wrote("delete early", "delete of-secret")
		again := owned("ga", "of-secret", ref("Secret", "gone", "g"))
		again.UID = "another life"
		c.Put(maps, again)
		c.wrote("delete of-secret")
		c.Put(secrets, secret("owner"))
		c.Put(maps, owned("ga", "kept", ref("Secret", "owner", "uid of owner")))
		c.wrote()

		c.kinds.Set(maps)
		c.wrote()
		c.Put(secrets, secret("late", ref("ConfigMap", "gone", "g")))
		c.Put(maps, owned("ga", "unknown", ref("Secret", "gone", "g")))
		c.Remove(secrets, "ga", "owner")
		c.wrote()
		stop()
	})
}

// TestOwnersWaitForKindsThatCame: an owner does not let go of its dependents while some may be of a kind that came lately.
func TestOwnersWaitForKindsThatCame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		maps, secrets := api.Of[*corev1.ConfigMap](), api.Of[*corev1.Secret]()
		c, stop := collect(t, maps)
		c.Put(secrets, secret("child", ref("ConfigMap", "owner", "uid of owner")))
		c.Hold(secrets)
		c.kinds.Set(maps, secrets)
		c.wrote()
		owner := owned("ga", "owner")
		owner.DeletionTimestamp, owner.Finalizers = ptr.To(metav1.Unix(1, 0)), []string{metav1.FinalizerOrphanDependents}
		c.Put(maps, owner)
		c.wrote()
		c.Release(secrets)
		c.Put(maps, owner.DeepCopy())
		c.wrote("patch child", "patch owner")
		if _, there := c.View(secrets).Get("ga", "child"); !there {
			t.Error("the child was not left alone")
		}
		stop()
	})
}

// going is an object that is being deleted and waits for this controller.
func going(name, finalizer string, refs ...metav1.OwnerReference) *corev1.ConfigMap {
	o := owned("ga", name, refs...)
	o.DeletionTimestamp, o.Finalizers = ptr.To(metav1.Unix(1, 0)), []string{finalizer}
	return o
}

// TestStraysHoldOwners: an owner is not let go while something is stored that may be a dependent and that no kind explains. An object
// between two such owners is not removed as if it had no dependents.
func TestStraysHoldOwners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		maps := api.Of[*corev1.ConfigMap]()
		c, stop := collect(t, maps)
		c.kinds.SetStrays(func(namespace string, owner types.UID) error {
			if namespace == "ga" && owner != "uid of free" {
				return apierrors.NewInternalError(errors.New("something is stored"))
			}
			return nil
		})
		c.Put(maps, going("orphaning", metav1.FinalizerOrphanDependents), going("first", metav1.FinalizerDeleteDependents), going("free", metav1.FinalizerDeleteDependents))
		c.wrote("patch free")
		blocking := ref("ConfigMap", "first", "uid of first")
		blocking.BlockOwnerDeletion = ptr.To(true)
		c.Put(maps, owned("ga", "between", blocking))
		c.wrote("delete between")
		if policy := c.policy("between"); policy != metav1.DeletePropagationForeground {
			t.Errorf("deleted with the policy %s", policy)
		}
		c.kinds.SetStrays(nil)
		time.Sleep(time.Hour)
		c.wrote("patch first", "patch orphaning")
		stop()
	})
}

// TestOwnersWaitForKindsUnseen: a kind has come, and the controller's loop has not heard of it yet.
func TestOwnersWaitForKindsUnseen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		maps, secrets := api.Of[*corev1.ConfigMap](), api.Of[*corev1.Secret]()
		c, stop := collect(t, maps)
		c.Put(secrets, secret("child", ref("ConfigMap", "owner", "uid of owner")))
		c.wrote()
		c.kinds.Slip(maps, secrets)
		c.Put(maps, going("owner", metav1.FinalizerOrphanDependents))
		c.wrote()
		c.kinds.Set(maps, secrets)
		c.wrote("patch child", "patch owner")
		stop()
	})
}

// TestOwnersThatWentUnseen: an owner goes while nobody follows its kind. Its dependents are collected when the kind is back.
func TestOwnersThatWentUnseen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		maps, secrets := api.Of[*corev1.ConfigMap](), api.Of[*corev1.Secret]()
		c, stop := collect(t, maps, secrets)
		c.Put(secrets, secret("owner"), secret("stays"))
		c.Put(maps, owned("ga", "child", ref("Secret", "owner", "uid of owner")), owned("ga", "kept", ref("Secret", "stays", "uid of stays")))
		c.wrote()
		c.kinds.Set(maps)
		c.wrote()
		c.Remove(secrets, "ga", "owner")
		c.wrote()
		c.kinds.Set(maps, secrets)
		c.wrote("delete child")
		stop()
	})
}

// TestDependentsThatWentUnseen: the last dependent goes while nobody follows its kind. The owner that waits for it is looked at again.
func TestDependentsThatWentUnseen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		maps, secrets := api.Of[*corev1.ConfigMap](), api.Of[*corev1.Secret]()
		for what, back := range map[string][]*kind.Kind{"the kind is back": {maps, secrets}, "the kind has gone for good": {maps}} {
			c, stop := collect(t, maps, secrets)
			blocking := ref("ConfigMap", "owner", "uid of owner")
			blocking.BlockOwnerDeletion = ptr.To(true)
			child := secret("child", blocking)
			child.SetDeletionTimestamp(ptr.To(metav1.Unix(1, 0)))
			c.Put(secrets, child)
			c.Put(maps, going("owner", metav1.FinalizerDeleteDependents))
			c.wrote()
			if len(back) == 1 {
				c.kinds.Set(back...)
			} else {
				other := *secrets // replaced by another definition
				c.kinds.Slip(maps)
				c.Remove(secrets, "ga", "child")
				c.kinds.Set(maps, &other)
			}
			t.Log(what)
			c.wrote("patch owner")
			stop()
		}
	})
}

// TestKindsThatAreNotServedYet: that the server does not find a kind does not mean that the object has gone.
func TestKindsThatAreNotServedYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		maps, secrets := api.Of[*corev1.ConfigMap](), api.Of[*corev1.Secret]()
		c, stop := collect(t, maps, secrets)
		c.setUnserved(secrets)
		c.Put(secrets, secret("child", ref("ConfigMap", "owner", "uid of owner")), secret("lost", ref("ConfigMap", "gone", "g")))
		c.Put(maps, going("owner", metav1.FinalizerOrphanDependents))
		c.wrote()
		c.setUnserved(nil)
		time.Sleep(time.Minute)
		c.wrote("delete lost", "patch child", "patch owner")
		stop()
	})
}
