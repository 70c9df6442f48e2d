package serviceaccount

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/client/clienttest"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
)

// TestUnreadableAccount: an account that nobody can read is in the way of the one that a namespace should have. When it is removed nobody
// is told, and yet the namespace gets its account.
func TestUnreadableAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		accounts := api.Of[*corev1.ServiceAccount]()
		s := &clienttest.Server{}
		var hidden atomic.Bool
		hidden.Store(true)
		s.Answer = func(_ context.Context, r client.Request) (runtime.Object, error) {
			if hidden.Load() {
				return nil, apierrors.NewAlreadyExists(r.Kind.GR(), "default")
			}
			s.Put(accounts, r.Object.(*corev1.ServiceAccount))
			return r.Object, nil
		}
		s.Put(api.Of[*corev1.Namespace](), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "a"}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		c, err := reconcile.NewBuilder("serviceaccount-controller", s).Make(New)
		if err != nil {
			t.Fatal(err)
		}
		go func() { done <- c.Run(ctx) }()
		time.Sleep(time.Hour + time.Second)
		synctest.Wait()
		hidden.Store(false)
		time.Sleep(recheck)
		synctest.Wait()
		if _, ok := s.View(accounts).Get("a", "default"); !ok {
			t.Error("the namespace has no account")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
