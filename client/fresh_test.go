package client_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/client"
)

// After Fresh a view shows what others wrote before, at once; a subscriber misses nothing and hears nothing twice.
func TestFreshOverHTTP(t *testing.T) {
	m := start(t)
	for _, noStream := range []bool{false, true} {
		t.Run(fmt.Sprintf("noStream=%v", noStream), func(t *testing.T) {
			d := &door{noStream: noStream}
			transport, other := connect(t, m, d), client.For[*corev1.ConfigMap](connect(t, m, &door{}))
			maps := client.For[*corev1.ConfigMap](transport)
			view := maps.Live()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			f := &follower{}
			f.follow(ctx, view)
			for i := range 20 {
				name := fmt.Sprintf("fresh-%v-%d", noStream, i)
				made, err := other.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}})
				if err != nil {
					t.Fatal(err)
				}
				if err := transport.Fresh(t.Context(), api.Of[*corev1.ConfigMap](), api.Of[*corev1.Secret]()); err != nil {
					t.Fatal(err)
				}
				if have, ok := view.Get("default", name); !ok || have.UID != made.UID {
					t.Fatalf("the view does not show %s", name)
				}
			}
			if err := transport.Fresh(t.Context()); err != nil {
				t.Error(err)
			}
			until(t, "the subscriber knows all", func() bool { return f.is(t, view) })
			late, end := context.WithDeadline(t.Context(), time.Unix(0, 0))
			defer end()
			if err := transport.Fresh(late); err == nil {
				t.Error("fresh though there was no time to ask")
			}
		})
	}
}
