package nodelifecycle

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/client/clienttest"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
)

var nodes, pods = api.Of[*corev1.Node](), api.Of[*corev1.Pod]()

// kubelet is a server with the status manager of a kubelet beside it, which writes Ready again whenever somebody wrote another thing.
type kubelet struct {
	*clienttest.Server
	mu sync.Mutex
	// marked counts how often each pod was marked not ready.
	marked map[string]int
}

func (k *kubelet) answer(_ context.Context, r client.Request) (runtime.Object, error) {
	if r.Verb == kind.Get {
		return nil, apierrors.NewNotFound(r.Kind.GR(), r.Name) // the node has no Lease
	}
	switch o := r.Object.(type) {
	case *corev1.Node:
		k.Put(nodes, o)
	case *corev1.Pod:
		k.mu.Lock()
		k.marked[o.Name]++
		k.mu.Unlock()
		k.Put(pods, o)
		k.Put(pods, readyPod(o.Name)) // the kubelet again
	}
	return r.Object, nil
}

func readyPod(name string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(name)}, Spec: corev1.PodSpec{NodeName: "n"}}
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	return p
}

func made(t *testing.T, transport client.Transport) *reconcile.Controller {
	t.Helper()
	b := reconcile.NewBuilder("node-lifecycle-controller", transport)
	b.Events, b.Options = client.NewRecorder(transport, "test"), []any{&Options{
		MonitorPeriod: 5 * time.Second, MonitorGracePeriod: 40 * time.Second, StartupGracePeriod: time.Minute,
		EvictionRate: 0.1, SecondaryEvictionRate: 0.01, UnhealthyZoneThreshold: 0.55, LargeClusterSizeThreshold: 50,
	}}
	c, err := b.Make(New)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestAKubeletIsNotFought marks the pods of a node once when it falls silent, and each pod once that comes to it afterwards,
// whatever the kubelet makes of it.
func TestAKubeletIsNotFought(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &kubelet{Server: &clienttest.Server{}, marked: map[string]int{}}
		k.Answer = k.answer
		silent := node("Ready=True")
		silent.Name, silent.UID = "n", "n"
		k.Put(nodes, silent)
		k.Put(pods, readyPod("a"), readyPod("b"))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		c := made(t, k)
		go func() { done <- c.Run(ctx) }()
		expect := func(when string, a, b, late int) {
			t.Helper()
			time.Sleep(10 * time.Minute)
			synctest.Wait()
			k.mu.Lock()
			defer k.mu.Unlock()
			if k.marked["a"] != a || k.marked["b"] != b || k.marked["late"] != late {
				t.Errorf("%s pods were marked: %v; want a %d, b %d, late %d times", when, k.marked, a, b, late)
			}
		}
		expect("after the node fell silent,", 1, 1, 0)
		k.Put(pods, readyPod("late"))
		expect("after another came,", 1, 1, 1)
		relabelled := readyPod("a")
		relabelled.Labels = map[string]string{"x": "y"}
		k.Put(pods, relabelled)
		expect("after one was changed,", 1, 1, 1)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
