package reconcile

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/client/clienttest"
)

func configMap(name string) kind.Object {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}}
}

// No worker starts before the Keys of every kind have been called for all that is there, however late a view delivers, and
// even if there is nothing to deliver.
func TestWorkersWaitForFirstDeliveries(t *testing.T) {
	maps, pods, secrets := api.Of[*corev1.ConfigMap](), api.Of[*corev1.Pod](), api.Of[*corev1.Secret]()
	for name, late := range map[string][]kind.Object{
		"with objects": {&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}}, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "q"}}}, "without": nil,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &clienttest.Server{}
				s.Put(maps, configMap("a"))
				s.Put(pods, late...)
				s.Hold(pods)
				var mu sync.Mutex
				var runs []string
				indexed := 0
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error)
				go func() {
					done <- Run(ctx, s, &Controller{
						Name: "test", Reads: []Read{{Kind: maps, Keys: Own}, {Kind: secrets}, {Kind: pods, Keys: func(client.Delta, func(Key)) {
							mu.Lock()
							defer mu.Unlock()
							indexed++
						}}},
						Reconcile: func(_ context.Context, key Key) (Result, error) {
							mu.Lock()
							defer mu.Unlock()
							if indexed != len(late) {
								t.Errorf("%s runs when %d of %d objects have been delivered", key, indexed, len(late))
							}
							runs = append(runs, key.String())
							return Result{}, nil
						},
					})
				}()
				synctest.Wait()
				if len(runs) != 0 {
					t.Errorf("%v ran before the last view delivered", runs)
				}
				s.Release(pods)
				synctest.Wait()
				mu.Lock()
				if !slices.Equal(runs, []string{"ns/a"}) {
					t.Errorf("ran: %v", runs)
				}
				mu.Unlock()
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A controller that is stopped while a view has not delivered yet stops at once.
func TestStoppedBeforeTheFirstDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		maps := api.Of[*corev1.ConfigMap]()
		s := &clienttest.Server{}
		s.Hold(maps)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			done <- Run(ctx, s, &Controller{Name: "test", Reads: []Read{{Kind: maps, Keys: Own}}})
		}()
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
