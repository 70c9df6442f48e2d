package reconcile

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/client/clienttest"
)

// TestBatchPanics: a call that panics is an error of the batch, and not the end of the process.
func TestBatchPanics(t *testing.T) {
	done, err := Batch(t.Context(), 10, func(_ context.Context, i int) error {
		if i == 3 {
			panic("a bad object")
		}
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "a bad object") || done < 3 {
		t.Errorf("%d done, %v", done, err)
	}
}

// lagging is a server whose views cannot tell at first whether they show what was written.
type lagging struct {
	*clienttest.Server
	refusals, asked atomic.Int32
}

func (l *lagging) WaitFor(context.Context, int64) error {
	l.asked.Add(1)
	if l.refusals.Add(-1) >= 0 {
		return errors.New("no connection")
	}
	return nil
}

// TestWritesAreAwaitedUntilTheyShow: a key does not run again before the views show what it wrote, however often it could not be found
// out whether they do; a write that panicked may have been made, too.
func TestWritesAreAwaitedUntilTheyShow(t *testing.T) {
	for _, panics := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			maps := api.Of[*corev1.ConfigMap]()
			s := &lagging{Server: &clienttest.Server{}}
			s.refusals.Store(3)
			s.Answer = func(context.Context, client.Request) (runtime.Object, error) {
				if panics {
					panic("out of order")
				}
				return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "7"}}, nil
			}
			s.Catch = func(ctx context.Context) error { return s.WaitFor(ctx, 0) }
			s.Put(maps, configMap("a"))
			var runs atomic.Int32
			c, err := NewBuilder("test-controller", s).Make(func(b *Builder) *Controller {
				c := Watch[*corev1.ConfigMap](b, Own, Writes(kind.Create))
				return &Controller{Reconcile: func(ctx context.Context, _ Key) (Result, error) {
					if runs.Add(1) == 1 {
						_, _ = c.Create(ctx, &corev1.ConfigMap{})
					}
					return Result{}, nil
				}}
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() { ended <- c.Run(ctx) }()
			synctest.Wait()
			s.Put(maps, configMap("a"))
			for n := range int32(3) {
				synctest.Wait()
				if runs.Load() != 1 || s.asked.Load() != n+1 {
					t.Errorf("panics %v: %d runs after %d questions", panics, runs.Load(), s.asked.Load())
				}
				time.Sleep(freshRetry)
			}
			synctest.Wait()
			if runs.Load() != 2 {
				t.Errorf("panics %v: %d runs in the end", panics, runs.Load())
			}
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}
