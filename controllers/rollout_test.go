package controllers_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/wheelhouse-k8s/wheelhouse/client"
)

// kubelets makes the pods of a namespace ready, each a random moment after it appeared, until ctx ends. at is told at
// every change how many pods there are, and how many are available.
func kubelets(ctx context.Context, ns string, at func(pods, available int)) {
	pods := client.For[*corev1.Pod](cluster)
	var begun sync.WaitGroup
	all, available := map[types.UID]bool{}, map[types.UID]bool{}
	pods.Live().Subscribe(ctx, func(changes []client.Change[*corev1.Pod]) {
		for _, c := range changes {
			switch {
			case c.New == nil && c.Old.Namespace == ns:
				delete(available, c.Old.UID)
				delete(all, c.Old.UID)
			case c.New == nil || c.New.Namespace != ns:
				continue
			case c.New.DeletionTimestamp != nil:
				delete(available, c.New.UID)
				delete(all, c.New.UID)
			case c.New.Status.Phase == corev1.PodRunning:
				available[c.New.UID] = true
			default:
				all[c.New.UID] = true
				begun.Go(func() { begin(ctx, c.New) })
			}
			at(len(all), len(available))
		}
	})
	begun.Wait()
}

// begin makes a pod ready after up to a twentieth of a second. It may be gone by then.
func begin(ctx context.Context, pod *corev1.Pod) {
	select {
	case <-time.After(rand.N(50 * time.Millisecond)):
	case <-ctx.Done():
		return
	}
	changed := pod.DeepCopy()
	changed.Status.Phase = corev1.PodRunning
	changed.Status.Conditions = append(changed.Status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()})
	_, _ = client.For[*corev1.Pod](cluster).UpdateStatus(ctx, changed)
}

// TestRolloutKeepsItsBounds rolls 40 pods over, again and again and into the middle of rollouts, with maxUnavailable 0, and counts
// all and the available ones at every event of a watch.
func TestRolloutKeepsItsBounds(t *testing.T) {
	t.Parallel()
	const size, most = 40, 50
	ns := namespace(t)
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var counting bool
	lowest, highest := size, 0
	done := make(chan struct{})
	go func() {
		defer close(done)
		kubelets(ctx, ns, func(pods, available int) {
			mu.Lock()
			defer mu.Unlock()
			counting = counting || available == size
			if counting {
				lowest, highest = min(lowest, available), max(highest, pods)
			}
		})
	}()
	deployments := client.For[*appsv1.Deployment](cluster)
	d := deployment(ns, "web", size)
	d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{
		MaxSurge: new(intstr.FromString("25%")), MaxUnavailable: new(intstr.FromInt32(0)),
	}}
	must[*appsv1.Deployment](t)(deployments.Create(t.Context(), d))
	updated := func(at int32) func() bool {
		return func() bool {
			d, ok := deployments.Live().Get(ns, "web")
			return ok && d.Status.ObservedGeneration == d.Generation && d.Status.UpdatedReplicas >= at && d.Status.AvailableReplicas >= size &&
				(at < size || d.Status.Replicas == size)
		}
	}
	until(t, "all pods available", updated(size))
	for round := range 6 {
		patch := fmt.Sprintf(`{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"v%d"}]}}}}`, round%4)
		must[*appsv1.Deployment](t)(deployments.Patch(t.Context(), ns, "web", types.StrategicMergePatchType, []byte(patch)))
		if round%3 == 1 {
			until(t, "half of a rollout", updated(size/2)) // the next begins in the middle
			continue
		}
		until(t, "the rollout's end", updated(size))
	}
	cancel()
	<-done
	mu.Lock()
	defer mu.Unlock()
	if lowest < size || highest > most || !counting {
		t.Errorf("between %d available pods and %d in all at a moment, want %d and at most %d", lowest, highest, size, most)
	}
}
