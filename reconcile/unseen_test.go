package reconcile

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
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
	"github.com/wheelhouse-k8s/wheelhouse/client/clienttest"
)

func withUID(name string, uid types.UID) kind.Object {
	o := configMap(name)
	o.SetUID(uid)
	return o
}

// TestDeletionsAreAwaited: the answer to a deletion has no revision. The key that deleted does not run again while its view shows what is
// gone; where the view cannot tell, the store is asked.
func TestDeletionsAreAwaited(t *testing.T) {
	maps := api.Of[*corev1.ConfigMap]()
	for _, c := range []struct {
		name   string
		shown  kind.Object
		delete client.Request
		// show makes the view show what has come of it.
		show  func(*clienttest.Server)
		asked int
	}{
		{name: "shown", shown: withUID("a", "1"), show: func(s *clienttest.Server) { s.Remove(maps, "ns", "a") },
			delete: client.Request{Verb: kind.Delete, Kind: maps, Namespace: "ns", Name: "a"}},
		{name: "shown, and made anew", shown: withUID("a", "1"), show: func(s *clienttest.Server) { s.Put(maps, withUID("a", "2")) },
			delete: client.Request{Verb: kind.Delete, Kind: maps, Namespace: "ns", Name: "a"}},
		{name: "not shown yet", shown: withUID("b", "1"), asked: 1,
			delete: client.Request{Verb: kind.Delete, Kind: maps, Namespace: "ns", Name: "a"}},
		{name: "another is shown", shown: withUID("a", "1"), asked: 1,
			delete: client.Request{Verb: kind.Delete, Kind: maps, Namespace: "ns", Name: "a", Delete: metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: ptr.To(types.UID("2"))}}}},
		{name: "many", shown: withUID("a", "1"), asked: 1,
			delete: client.Request{Verb: kind.DeleteCollection, Kind: maps, Namespace: "ns"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked, answers := 0, make(chan error)
				s := &clienttest.Server{Answer: func(context.Context, client.Request) (runtime.Object, error) { return &metav1.Status{}, nil }}
				s.Catch = func(context.Context) error { asked++; return <-answers }
				s.Put(maps, c.shown)
				s.Put(api.Of[*corev1.Secret](), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "key"}})
				runs := 0
				stop := started(t, s, func(b *Builder) *Controller {
					Watch[*corev1.Secret](b, Own)
					Watch[*corev1.ConfigMap](b, nil, Writes(kind.Delete, kind.DeleteCollection))
					return &Controller{Reconcile: func(ctx context.Context, _ Key) (Result, error) {
						if runs++; runs > 1 {
							return Result{}, nil
						}
						_, err := b.Transport().Do(ctx, c.delete)
						return Result{}, err
					}}
				})
				synctest.Wait()
				s.Put(api.Of[*corev1.Secret](), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "key"}})
				time.Sleep(time.Second)
				synctest.Wait()
				if runs != 1 || asked != c.asked {
					t.Errorf("before the view shows it: %d runs, %d questions", runs, asked)
				}
				if c.show != nil {
					c.show(s)
				} else {
					select {
					case answers <- nil:
					case <-time.After(time.Hour):
						t.Error("nobody asks what has become of it")
					}
				}
				time.Sleep(shownRetry)
				synctest.Wait()
				if runs != 2 || asked != c.asked {
					t.Errorf("afterwards: %d runs, %d questions", runs, asked)
				}
				stop()
			})
		})
	}
}

// asking is a transport that is only asked what the store holds.
type asking struct {
	client.Transport
	applied int64

	mu    sync.Mutex
	fresh func(kinds []*kind.Kind) error // guarded by mu
	asked int                            // guarded by mu
}

func (a *asking) Applied() int64 { return a.applied }

func (a *asking) Fresh(_ context.Context, kinds ...*kind.Kind) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	return a.fresh(kinds)
}

// TestNothingIsRememberedForEver: keys that never run again leave nothing behind, whatever they wrote; and what the views do not show yet is
// kept, however many there are.
func TestNothingIsRememberedForEver(t *testing.T) {
	maps, pods := api.Of[*corev1.ConfigMap](), api.Of[*corev1.Pod]()
	s := &clienttest.Server{}
	s.Put(maps, withUID("stays", "1"))
	a := &asking{Transport: s, fresh: func([]*kind.Kind) error { return nil }}
	u := newUnseen(a)
	remember := func(n int, w func(n int) *writes) {
		for i := range n {
			if u.remember(Key{Name: strconv.Itoa(i)}, w(i)) {
				u.sweep(t.Context())
			}
		}
	}
	lens := func() []int { return []int{len(u.written), len(u.leaving), len(u.open)} }
	lost := func(n int) *writes { return &writes{open: []*kind.Kind{[]*kind.Kind{maps, pods}[n%2]}} }
	remember(10*unseenSweep, lost)
	if got := lens(); got[2] >= unseenSweep || a.asked > 11 {
		t.Errorf("lost writes: %v remembered after %d questions", got, a.asked)
	}
	a.fresh, a.asked = func([]*kind.Kind) error { return errors.New("no leader") }, 0
	remember(10*unseenSweep, lost)
	if got := lens(); got[2] != 10*unseenSweep || a.asked > 5 {
		t.Errorf("lost writes, and no answer: %v remembered after %d questions", got, a.asked)
	}
	a.fresh = func([]*kind.Kind) error { return nil }
	if err := u.await(t.Context(), Key{Name: "0"}); err != nil || slices.Max(lens()) != 5*unseenSweep {
		t.Errorf("one question answers for all writes of its kind that were made before: %v, %v", lens(), err)
	}
	u.sweep(t.Context())

	u = newUnseen(a)
	gone, shown := leaving{s.View(maps), "ns", "gone", "2"}, leaving{s.View(maps), "ns", "stays", "1"}
	remember(2*unseenSweep, func(int) *writes { return &writes{leaving: []leaving{gone}} })
	if got := lens(); got[1] > unseenSweep {
		t.Errorf("deletions that are shown: %v remembered", got)
	}
	remember(2*unseenSweep, func(int) *writes { return &writes{leaving: []leaving{gone, shown}} })
	if got := lens(); got[1] != 2*unseenSweep {
		t.Errorf("deletions that are not: %v remembered", got)
	}

	u = newUnseen(a)
	a.applied = 5
	remember(4*unseenSweep, func(n int) *writes { return &writes{highest: int64(5 + n%2)} })
	if got := lens(); got[0] < 2*unseenSweep || got[0] > 3*unseenSweep {
		t.Errorf("writes, half of which are shown: %v remembered", got)
	}
}

// TestWritesOfKindsThatHaveGone: nobody waits to see what has become of a write of a kind that is not served any more; a kind that is
// served is asked about all the same.
func TestWritesOfKindsThatHaveGone(t *testing.T) {
	maps, pods := api.Of[*corev1.ConfigMap](), api.Of[*corev1.Pod]()
	var trouble error
	a := &asking{Transport: &clienttest.Server{}, fresh: func(kinds []*kind.Kind) error {
		if slices.Contains(kinds, maps) {
			return client.ErrNotServed
		}
		return trouble
	}}
	u := newUnseen(a)
	key := Key{Name: "k"}
	u.remember(key, &writes{open: []*kind.Kind{maps, pods}})
	trouble = errors.New("no leader")
	if err := u.await(t.Context(), key); !errors.Is(err, trouble) || len(u.open) != 1 {
		t.Errorf("while a kind that is served has not been asked about: %v, %v", err, u.open)
	}
	trouble = nil
	if err := u.await(t.Context(), key); err != nil || len(u.open) != 0 {
		t.Errorf("in the end: %v, %v", err, u.open)
	}
}

// TestQuestionsThatBeganBefore: an answer says nothing of a write that ended while it was on its way.
func TestQuestionsThatBeganBefore(t *testing.T) {
	maps := api.Of[*corev1.ConfigMap]()
	a := &asking{Transport: &clienttest.Server{}}
	u := newUnseen(a)
	early, late := Key{Name: "early"}, Key{Name: "late"}
	u.remember(early, &writes{open: []*kind.Kind{maps}})
	a.fresh = func([]*kind.Kind) error {
		u.remember(late, &writes{open: []*kind.Kind{maps}})
		return nil
	}
	if err := u.await(t.Context(), early); err != nil {
		t.Error(err)
	}
	if _, kept := u.open[late]; !kept || len(u.open) != 1 {
		t.Errorf("still to be asked about: %v", u.open)
	}
}
