package podgc

import (
	"context"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/client/clienttest"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
)

// TestNodeIsProvenGone: pods of a node that the view does not show go only if the server proves that it is gone.
func TestNodeIsProvenGone(t *testing.T) {
	nodes := api.Of[*corev1.Node]()
	for _, c := range []struct {
		name  string
		node  runtime.Object
		err   error
		goes  bool
		fails bool
	}{
		{name: "gone", err: apierrors.NewNotFound(nodes.GR(), "n"), goes: true},
		{name: "it came back, or the view lags", node: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "u"}}},
		{name: "unreadable", err: apierrors.NewInternalError(errors.New("odd")), fails: true},
		{name: "no such path", err: apierrors.NewGenericServerResponse(404, "get", nodes.GR(), "n", "404", 0, true), fails: true},
		{name: "forbidden", err: apierrors.NewForbidden(nodes.GR(), "n", nil), fails: true},
	} {
		deleted := false
		server := &clienttest.Server{Answer: func(_ context.Context, r client.Request) (runtime.Object, error) {
			if r.Verb == kind.Get {
				return c.node, c.err
			}
			deleted = deleted || r.Verb == kind.Delete
			return &corev1.Pod{}, nil
		}}
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "p", UID: "p"}, Spec: corev1.PodSpec{NodeName: "n"}}
		server.Put(api.Of[*corev1.Pod](), pod)
		now := time.Unix(1000, 0)
		ctx, cancel := context.WithCancel(t.Context())
		b := reconcile.NewBuilder("pod-garbage-collector-controller", server)
		b.Now, b.Options = func() time.Time { return now }, []any{&Options{}}
		made := newController(b)
		ignore := func(reconcile.Key, time.Duration) {}
		made.look(ignore)
		now = now.Add(quarantine)
		made.look(ignore)
		_, err := made.reconcile(ctx, reconcile.KeyOf(pod))
		cancel()
		if deleted != c.goes || (err != nil) != c.fails {
			t.Errorf("%s: deleted %v, %v", c.name, deleted, err)
		}
	}
}
