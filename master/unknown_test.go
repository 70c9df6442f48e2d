package master

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

// forgetful is a store that loses the answers of some writes. What it lost happens later: when the store is next asked
// for its revision, or when it has made enough pods otherwise.
type forgetful struct {
	store.Store
	mu sync.Mutex
	// pods were asked for, of which count answers were lost; lost are the writes that have not happened yet.
	pods, count, enough int
	lost                []func()
}

func (f *forgetful) writeLost() {
	for _, write := range f.lost {
		write()
	}
	f.lost = nil
}

func (f *forgetful) Revision(ctx context.Context) (int64, error) {
	f.mu.Lock()
	f.writeLost()
	f.mu.Unlock()
	return f.Store.Revision(ctx)
}

// Create loses the answer to every fourth new pod.
func (f *forgetful) Create(ctx context.Context, key string, value []byte, ttl time.Duration) (int64, error) {
	if !strings.HasPrefix(key, "/registry/pods/") {
		return f.Store.Create(ctx, key, value, ttl)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pods++; f.pods == f.enough {
		f.writeLost()
	}
	if f.pods%4 == 1 && f.count < 8 {
		f.count++
		value := bytes.Clone(value) // the caller uses it again
		f.lost = append(f.lost, func() { _, _ = f.Store.Create(context.WithoutCancel(ctx), key, value, ttl) })
		return 0, fmt.Errorf("%w: the leader was lost, the outcome is unknown", store.ErrUnavailable)
	}
	return f.Store.Create(ctx, key, value, ttl)
}

// TestLostAnswersMakeNoMorePods has creations whose answers are lost and which happen later: a ReplicaSet still gets as many pods
// as it asks for, and never one more.
func TestLostAnswersMakeNoMorePods(t *testing.T) {
	t.Parallel()
	const size = 40
	s := &forgetful{Store: memory.New(), enough: size}
	t.Cleanup(func() { s.Store.Close() })
	m, _ := startMaster(t, s, nil)
	as := m.server.as("system:kube-controller-manager")
	as.user = &user.DefaultInfo{Name: "admin", Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated}}
	var mu sync.Mutex
	seen := map[string]bool{}
	enough, all := make(chan struct{}), make(chan struct{})
	go client.For[*corev1.Pod](as).Live().Subscribe(t.Context(), func(changes []client.Change[*corev1.Pod]) {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range changes {
			switch {
			case c.New == nil:
			case c.New.Name == "last" && c.Old == nil:
				close(all)
			case c.New.Name != "last":
				seen[c.New.Name] = true
			}
		}
	})
	labels := map[string]string{"app": "web"}
	sets := client.For[*appsv1.ReplicaSet](as)
	if _, err := sets.Create(t.Context(), &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: appsv1.ReplicaSetSpec{Replicas: new(int32(size)), Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}},
		}},
	}); err != nil {
		t.Fatal(err)
	}
	go sets.Live().Subscribe(t.Context(), func(changes []client.Change[*appsv1.ReplicaSet]) {
		for _, c := range changes {
			if c.New != nil && c.New.Status.Replicas == size && (c.Old == nil || c.Old.Status.Replicas != size) {
				close(enough)
			}
		}
	})
	select {
	case <-enough:
	case <-time.After(time.Minute):
		t.Fatal("the ReplicaSet does not get its pods")
	}
	// One more pod, after which the subscriber has seen them all.
	if _, err := client.For[*corev1.Pod](as).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "last"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}); err != nil {
		t.Fatal(err)
	}
	<-all
	mu.Lock()
	defer mu.Unlock()
	if len(seen) != size || s.count < 5 {
		t.Errorf("%d pods were made, want %d; %d answers were lost", len(seen), size, s.count)
	}
}
