package reconcile

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/client/clienttest"
)

// A controller that takes a view which it has not declared is not made.
func TestUndeclaredViewIsRefusedAtTheStart(t *testing.T) {
	_, err := NewBuilder("test-controller", &clienttest.Server{}).Make(func(b *Builder) *Controller {
		Watch[*corev1.ConfigMap](b, Own)
		client.For[*corev1.ConfigMap](b.Transport()).Live()
		client.For[*corev1.Pod](b.Transport()).Live()
		return &Controller{}
	})
	if err == nil || !strings.Contains(err.Error(), "test-controller reads pods") {
		t.Errorf("made: %v", err)
	}
}

// What a run reads or writes without a declaration never reaches the server, and the run fails.
func TestUndeclaredRequestsAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &clienttest.Server{Answer: func(_ context.Context, r client.Request) (runtime.Object, error) {
			if r.Kind.Plural != "configmaps" || r.Subresource != "" || r.Verb != kind.Get && r.Verb != kind.Update {
				t.Errorf("%s of %s/%s arrived", r.Verb, r.Kind.Plural, r.Subresource)
			}
			return configMap("a"), nil
		}}
		s.Put(api.Of[*corev1.ConfigMap](), configMap("a"))
		var mu sync.Mutex
		var errs []error
		panics := 0
		stop := started(t, s, func(b *Builder) *Controller {
			maps := Watch[*corev1.ConfigMap](b, Own, Writes(kind.Update))
			pods := client.For[*corev1.Pod](b.Transport())
			return &Controller{Reconcile: func(ctx context.Context, _ Key) (Result, error) {
				mu.Lock()
				defer mu.Unlock()
				if len(errs) > 0 { // it is tried again
					return Result{}, nil
				}
				own := configMap("a").(*corev1.ConfigMap)
				_, read := maps.Get(ctx, "ns", "a")
				_, update := maps.Update(ctx, own)
				_, status := maps.UpdateStatus(ctx, own)
				_, create := maps.Create(ctx, own)
				_, get := pods.Get(ctx, "ns", "p")
				_, look := pods.Look(ctx, "ns", "p", "").Gone()
				_, list := client.LookEmpty(ctx, b.Transport(), api.Of[*corev1.Pod](), "ns")
				errs = []error{read, update, status, create, get, look, list}
				defer func() { panics++ }()
				pods.Live()
				return Result{}, nil
			}}
		})
		synctest.Wait()
		mu.Lock()
		for i, err := range errs {
			if declared := i < 2; declared != (err == nil) || err != nil && !strings.Contains(err.Error(), errUndeclared.Error()) {
				t.Errorf("request %d: %v", i, err)
			}
		}
		if len(errs) == 0 || panics != 1 {
			t.Errorf("%d answers, %d panics", len(errs), panics)
		}
		mu.Unlock()
		stop()
	})
}
