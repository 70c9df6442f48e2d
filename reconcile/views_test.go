package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/client/clienttest"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile/reconciletest"
)

var everything = Matching{What: "everything", Has: func(*kind.Kind) bool { return true }}

// followed is a controller of all kinds of a set, on a server that the test fills.
type followed struct {
	*clienttest.Server
	kinds reconciletest.Kinds
	views *Views
	stop  func()

	mu  sync.Mutex
	ran []string // guarded by mu
}

func follow(t *testing.T, s *clienttest.Server, kinds ...*kind.Kind) *followed {
	f := &followed{Server: s}
	f.kinds.Set(kinds...)
	f.stop = started(t, s, func(b *Builder) *Controller {
		b.Kinds = &f.kinds
		f.views = WatchKinds(b, everything, func(k *kind.Kind) Keys {
			return func(d client.Delta, enqueue func(Key)) { Own(d, func(key Key) { key.Kind = k; enqueue(key) }) }
		}, Writes(kind.Delete))
		return &Controller{Reconcile: func(_ context.Context, key Key) (Result, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.ran = append(f.ran, key.String())
			return Result{}, nil
		}}
	})
	return f
}

// expect waits until nothing moves, and compares what has run since the last time.
func (f *followed) expect(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	slices.Sort(f.ran)
	if !slices.Equal(f.ran, want) {
		t.Errorf("ran: %q, want %q", f.ran, want)
	}
	f.ran = nil
}

func pod(name string) kind.Object {
	p := &corev1.Pod{}
	p.Namespace, p.Name = "ns", name
	return p
}

// Kinds may come and go while the controller runs.
func TestKindsComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		maps, pods := api.Of[*corev1.ConfigMap](), api.Of[*corev1.Pod]()
		s := &clienttest.Server{}
		s.Put(maps, configMap("a"))
		s.Put(pods, pod("p"))
		f := follow(t, s, maps)
		f.expect(t, "configmaps ns/a")
		s.Put(pods, pod("q"))
		f.expect(t)
		if f.views.Now().Of(pods) != nil || f.views.Now().Named(pods.GVK) != nil || len(f.views.Now().All()) != 1 {
			t.Error("pods are followed before they are in the set")
		}

		s.Hold(pods)
		f.kinds.Set(maps, pods)
		f.expect(t)
		view := f.views.Now().Named(pods.GVK)
		if view == nil || view != f.views.Now().Of(pods) {
			t.Fatal("pods are not followed")
		}
		if whole, legible := view.Whole(""), view.Legible("ns", "p"); !errors.Is(whole, errFilling) || !errors.Is(legible, errFilling) || !Transient(whole) {
			t.Errorf("a view that has not delivered yet is whole: %v, %v", whole, legible)
		}
		s.Put(maps, configMap("b")) // others do not wait for it
		f.expect(t, "configmaps ns/b")
		s.Release(pods)
		f.expect(t, "pods ns/p", "pods ns/q")
		if err := errors.Join(view.Whole(""), view.Legible("ns", "p")); err != nil {
			t.Error(err)
		}

		f.kinds.Set(pods)
		f.expect(t)
		s.Put(maps, configMap("c"))
		f.expect(t)
		if f.views.Now().Of(maps) != nil {
			t.Error("config maps are still followed")
		}
		f.kinds.Set(pods, maps)
		f.expect(t, "configmaps ns/a", "configmaps ns/b", "configmaps ns/c")
		f.stop()
	})
}

// No worker starts before all kinds that are there have been seen: also one that came last, and none that has gone.
func TestWorkersWaitForAllKinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		maps, pods, secrets := api.Of[*corev1.ConfigMap](), api.Of[*corev1.Pod](), api.Of[*corev1.Secret]()
		s := &clienttest.Server{}
		s.Put(maps, configMap("a"))
		s.Hold(pods)
		s.Hold(secrets)
		f := follow(t, s, maps, pods)
		f.expect(t)
		f.kinds.Set(maps, pods, secrets)
		f.expect(t)
		s.Release(pods)
		f.expect(t)
		f.kinds.Set(maps, pods) // nobody waits for secrets any more
		f.expect(t, "configmaps ns/a")
		f.stop()
	})
}

// What is read and written of kinds that come and go is held to what is there.
func TestDeclarationFollowsTheKinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		maps, pods := api.Of[*corev1.ConfigMap](), api.Of[*corev1.Pod]()
		f := follow(t, &clienttest.Server{}, maps)
		synctest.Wait()
		d := Declaration{AllReads: []*Views{f.views}, Writes: []Write{{All: f.views, Verbs: []kind.Verb{kind.Delete}}}}
		say := func() string {
			return fmt.Sprint(d.reads(maps), d.reads(pods), d.writes(client.Request{Verb: kind.Delete, Kind: maps}), d.writes(client.Request{Verb: kind.Delete, Kind: pods}),
				d.writes(client.Request{Verb: kind.Update, Kind: maps}))
		}
		before := say()
		f.kinds.Set(pods)
		synctest.Wait()
		if after := say(); before != "true false true false false" || after != "false true false true false" {
			t.Errorf("before %s, after %s", before, after)
		}
		g := &guard{Transport: f.Server, declared: d}
		for _, v := range []kind.Verb{kind.Get, kind.Delete} { // who has just seen the kind may ask once more
			if _, err := g.Do(t.Context(), client.Request{Verb: v, Kind: maps}); !Transient(err) {
				t.Errorf("%s of a kind that has gone: %v", v, err)
			}
		}
		f.stop()
	})
}

// Kinds that come and go all the time leave nothing behind, and what stays is followed throughout.
func TestKindsFlicker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		maps, pods := api.Of[*corev1.ConfigMap](), api.Of[*corev1.Pod]()
		s := &clienttest.Server{}
		f := follow(t, s, maps)
		for n := range 200 {
			f.kinds.Set(maps, pods)
			if n%3 == 0 {
				time.Sleep(time.Millisecond)
			}
			f.kinds.Set(maps)
			s.Put(maps, configMap(fmt.Sprint(n)))
		}
		synctest.Wait()
		f.mu.Lock()
		seen := strings.Count(strings.Join(f.ran, " "), "configmaps")
		f.mu.Unlock()
		if seen != 200 || f.views.Now().Of(pods) != nil {
			t.Errorf("%d of 200 config maps, pods %v", seen, f.views.Now().Of(pods))
		}
		f.stop()
	})
}
