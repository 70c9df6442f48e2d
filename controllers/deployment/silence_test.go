package deployment

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
)

func TestSilence(t *testing.T) {
	var s silence
	start, web := time.Unix(1e9, 0), reconcile.Key{Namespace: "ns", Name: "web"}
	for n, step := range []struct {
		after                time.Duration
		generation, observed int64
		want                 time.Duration
	}{
		{0, 2, 1, 0},
		{time.Second, 2, 1, time.Second},
		{2 * time.Second, 3, 1, 2 * time.Second}, // another size does not make it say anything
		{3 * time.Second, 3, 2, 0},               // it has said something, if late
		{5 * time.Second, 3, 2, 2 * time.Second},
		{6 * time.Second, 3, 3, 0},
		{7 * time.Second, 4, 3, 0},
	} {
		rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{UID: "u", Generation: step.generation}}
		rs.Status.ObservedGeneration = step.observed
		if got := s.look(web, []*appsv1.ReplicaSet{rs}, start.Add(step.after))(rs); got != step.want {
			t.Errorf("step %d: silent for %v, want %v", n, got, step.want)
		}
	}
	if s.look(web, nil, start); len(s.since) > 0 {
		t.Errorf("a Deployment that is gone is remembered: %v", s.since)
	}
}
