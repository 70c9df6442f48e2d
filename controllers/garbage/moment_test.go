package garbage

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
)

// All that one decision rests on is of one moment, or proven by the server; and what it writes is conditional on what it judged.

func blockingRef(name string) metav1.OwnerReference {
	r := ref("ConfigMap", name, types.UID("uid of "+name))
	r.BlockOwnerDeletion = ptr.To(true)
	return r
}

// TestWaitingIsProven: an owner that a view shows to wait for its dependents has them deleted only if the server says so, too. It may have
// been told to leave them alone since, or have lost the finalizer.
func TestWaitingIsProven(t *testing.T) {
	const at = "configmaps ga/owner"
	for _, c := range []struct {
		name   string
		stored kind.Object
		answer error
		want   string
		fails  bool
	}{
		{name: "it waits", want: "delete configmaps ga/child"},
		{name: "it is to leave them alone", stored: going("owner", metav1.FinalizerOrphanDependents)},
		{name: "another finalizer holds it", stored: going("owner", "example.com/other")},
		{name: "it has gone", stored: owned("ga", "owner", metav1.OwnerReference{}), want: "delete configmaps ga/child"},
		{name: "nobody knows", answer: errors.New("no leader"), fails: true},
	} {
		d := newDesk()
		child := owned("ga", "child", blockingRef("owner"))
		d.put(going("owner", metav1.FinalizerDeleteDependents), child)
		if c.stored != nil {
			if c.name == "it has gone" {
				c.stored.SetUID("another life")
			}
			d.stored[at] = c.stored
		}
		d.answers[at] = c.answer
		if got, err := d.judge(t, child); got != c.want || (err != nil) != c.fails {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
}

// TestOwnersAreReleasedAsJudged: the object changes while its dependents are looked for. What is written is conditional on the state that
// was judged, and not on the later one.
func TestOwnersAreReleasedAsJudged(t *testing.T) {
	for _, finalizer := range []string{metav1.FinalizerDeleteDependents, metav1.FinalizerOrphanDependents} {
		synctest.Test(t, func(t *testing.T) {
			maps := api.Of[*corev1.ConfigMap]()
			c, stop := collect(t, maps)
			changed := going("owner", finalizer)
			changed.ResourceVersion, changed.Finalizers = "8", append(changed.Finalizers, "example.com/new")
			var patches []string
			answer := c.Answer
			c.Answer = func(ctx context.Context, r client.Request) (runtime.Object, error) {
				if r.Verb == kind.Patch {
					patches = append(patches, string(r.Patch))
				}
				return answer(ctx, r)
			}
			first := true
			c.kinds.SetStrays(func(string, types.UID) error {
				if first {
					first = false
					c.Put(maps, changed)
				}
				return nil
			})
			c.Put(maps, going("owner", finalizer))
			c.wrote("patch owner")
			if len(patches) == 0 || !strings.Contains(patches[0], `"resourceVersion":"7"`) || strings.Contains(patches[0], "example.com/new") {
				t.Errorf("%s: %s", finalizer, patches)
			}
			stop()
		})
	}
}

// TestViewsBehindEachOther: the views show that an owner is being deleted, and not yet a dependent that is older than that. They are made to
// catch up before the owner lets go, or goes.
func TestViewsBehindEachOther(t *testing.T) {
	for finalizer, want := range map[string][]string{
		metav1.FinalizerDeleteDependents: {"delete child"}, metav1.FinalizerOrphanDependents: {"patch child", "patch owner"},
	} {
		synctest.Test(t, func(t *testing.T) {
			maps, secrets := api.Of[*corev1.ConfigMap](), api.Of[*corev1.Secret]()
			c, stop := collect(t, maps, secrets)
			c.wrote()
			unknown := true
			c.Catch = func(context.Context) error {
				if unknown {
					return errors.New("no answer")
				}
				if _, shown := c.View(maps).Get("ga", "owner"); shown {
					c.Put(secrets, secret("child", blockingRef("owner")))
				}
				return nil
			}
			c.Hold(secrets) // the owner's own key is to find it, and no news of the child
			c.Put(maps, going("owner", finalizer))
			c.wrote()
			unknown = false
			time.Sleep(time.Minute)
			c.wrote(want...)
			stop()
		})
	}
}

// TestKindsShiftWhileOwnersAreLookedFor: a kind is defined anew while the server is asked for an owner. The decision is one of the moment
// in which it began: what was not looked at then may hold dependents.
func TestKindsShiftWhileOwnersAreLookedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		maps, secrets := api.Of[*corev1.ConfigMap](), api.Of[*corev1.Secret]()
		c, stop := collect(t, maps, secrets)
		replaced := *secrets
		c.Put(maps, owned("ga", "kept"))
		c.wrote()
		answer := c.Answer
		c.Answer = func(ctx context.Context, r client.Request) (runtime.Object, error) {
			if r.Verb == kind.Get && r.Name == "owner" {
				c.kinds.Set(maps, &replaced)
				time.Sleep(time.Millisecond) // until the loop has taken the new one in
			}
			return answer(ctx, r)
		}
		c.Put(maps, going("owner", metav1.FinalizerDeleteDependents), owned("ga", "child", blockingRef("owner")))
		time.Sleep(time.Second)
		c.wrote("delete child", "patch owner")
		if policy := c.policy("child"); policy != metav1.DeletePropagationForeground {
			t.Errorf("deleted with the policy %s, as if it could have no dependents", policy)
		}
		stop()
	})
}
