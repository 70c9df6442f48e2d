package kind

import (
	"fmt"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func named(plural string) *Kind {
	return Define(Resource{GroupVersion: schema.GroupVersion{Group: "example.com", Version: "v1"}, Kind: plural, Plural: plural,
		List: ListOf[corev1.ConfigMapList]}, Rules[corev1.ConfigMap]{})
}

func TestCatalog(t *testing.T) {
	a, b := named("as"), named("bs")
	c := NewCatalog([]*Kind{a, b})
	before := c.Now().All()
	other := named("as")
	c.Put(other)
	if found, ok := c.Now().ByGVR(a.GVR()); !ok || found != other || c.Now().All()[0] != other || before[0] != a {
		t.Error("the kind is not replaced in its place, or a snapshot has changed")
	}
	third := named("cs")
	c.Put(third)
	c.Remove(b.GVR())
	if _, ok := c.Now().ByGVK(b.GVK); ok || len(c.Now().All()) != 2 || c.Now().All()[1] != third {
		t.Errorf("%d kinds", len(c.Now().All()))
	}
}

// TestDerived: whoever asks after a change gets what was made of it, and it is made once for all.
func TestDerived(t *testing.T) {
	c := NewCatalog(nil)
	made := 0 // guarded by the Derived itself
	d := Derive(c, func(now *Kinds, before int) int {
		if made++; before > len(now.All()) {
			t.Error("it goes back")
		}
		return len(now.All())
	})
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			for i := range 50 {
				c.Put(named(fmt.Sprintf("k%d-%d", n, i)))
				if have, want := d.Get(), i+1; have < want {
					t.Errorf("%d kinds after %d were added", have, want)
				}
			}
		})
	}
	all.Wait()
	if d.Get() != 400 || made > 401 {
		t.Errorf("%d kinds, made %d times", d.Get(), made)
	}
}
