package nodelifecycle

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/client/clienttest"

	"github.com/wheelhouse-k8s/wheelhouse/controllers/internal/nodestate"
)

// TestAnUnseenLeaseIsNoSilence: a node is not declared silent while its Lease cannot be read, whose reading its controller is not
// allowed otherwise; nor if the view lags. Another node without a sign of life is.
func TestAnUnseenLeaseIsNoSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leases := api.Of[*coordinationv1.Lease]()
		s := &clienttest.Server{}
		var mu sync.Mutex
		silenced := map[string]bool{}
		s.Answer = func(_ context.Context, r client.Request) (runtime.Object, error) {
			if r.Verb == kind.Get {
				return nil, apierrors.NewForbidden(r.Kind.GR(), r.Name, nil)
			}
			if n, ok := r.Object.(*corev1.Node); ok {
				mu.Lock()
				defer mu.Unlock()
				silenced[n.Name] = silenced[n.Name] || nodestate.Ready(n) == corev1.ConditionUnknown
				s.Put(nodes, n)
			}
			return r.Object, nil
		}
		renew := func(name string) {
			s.Put(leases, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: name},
				Spec: coordinationv1.LeaseSpec{RenewTime: &metav1.MicroTime{Time: time.Now()}}})
		}
		s.Catch = func(context.Context) error { renew("lagging"); return nil }
		for _, name := range []string{"dead", "unseen", "lagging"} {
			n := node("Ready=True")
			n.Name = name
			s.Put(nodes, n)
		}
		s.Blur(leases, &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: 500, Reason: metav1.StatusReasonStoreReadError,
			Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: metav1.CauseTypeUnexpectedServerResponse, Field: "/registry/leases/kube-node-lease/unseen"}}}}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		c := made(t, s)
		go func() { done <- c.Run(ctx) }()
		expect := func(when string, dead, unseen, lagging bool) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if silenced["dead"] != dead || silenced["unseen"] != unseen || silenced["lagging"] != lagging {
				t.Errorf("%s silenced: %v", when, silenced)
			}
		}
		time.Sleep(10 * time.Minute)
		expect("in ten minutes", true, false, false)
		s.Blur(leases, nil)
		time.Sleep(2 * time.Minute)
		expect("after the lease was removed", true, true, false)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
