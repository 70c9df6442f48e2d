package client

import (
	"context"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/api"
)

// What a subscriber is told first is everything, however late the server's first answer comes, and it is told even if
// there is nothing.
func TestFirstDelivery(t *testing.T) {
	named := func(name string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: "7"}}
	}
	for name, listed := range map[string]objects{"nothing": {}, "two": {{"", "a"}: named("a"), {"", "b"}: named("b")}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMirror(api.Of[*corev1.ConfigMap]())
				ctx, cancel := context.WithCancel(t.Context())
				var told []int
				go m.Subscribe(ctx, func(deltas []Delta) { told = append(told, len(deltas)) })
				synctest.Wait()
				if told != nil {
					t.Errorf("told of %v objects by a view that is not complete", told)
				}
				m.replace(listed, 7)
				synctest.Wait()
				if len(told) != 1 || told[0] != len(listed) {
					t.Errorf("first told of %v objects, want %d at once", told, len(listed))
				}
				later := named("c")
				later.ResourceVersion = "8"
				m.apply(later, false)
				synctest.Wait()
				if len(told) != 2 || told[1] != 1 {
					t.Errorf("then told of %v", told)
				}
				cancel()
				synctest.Wait()
				if len(m.subscribers) != 0 {
					t.Error("the subscription is left")
				}
			})
		})
	}
}
