package reconcile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/client/clienttest"
)

// TestUnreadableIsAskedAboutAgain: nobody tells when a value that cannot be read is mended or removed, so keys that it is in the way of are
// tried again soon, however long it has lasted; and the log is not filled with them.
func TestUnreadableIsAskedAboutAgain(t *testing.T) {
	var log bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	defer slog.SetDefault(before)
	synctest.Test(t, func(t *testing.T) {
		const keys = 100
		maps := api.Of[*corev1.ConfigMap]()
		s := &clienttest.Server{}
		for n := range keys {
			s.Put(maps, configMap(fmt.Sprint(n)))
		}
		unreadable := apierrors.NewInternalError(errors.New("odd"))
		unreadable.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeUnexpectedServerResponse, Field: "/registry/things/a"}}
		var mu sync.Mutex
		mended := false
		done := map[string]bool{}
		stop := started(t, s, func(b *Builder) *Controller {
			Watch[*corev1.ConfigMap](b, Own)
			return &Controller{Reconcile: func(_ context.Context, key Key) (Result, error) {
				mu.Lock()
				defer mu.Unlock()
				if !mended {
					return Result{}, errors.Join(errors.New("first"), fmt.Errorf("looking: %w", unreadable))
				}
				done[key.Name] = true
				return Result{}, nil
			}}
		})
		time.Sleep(2 * time.Hour)
		mu.Lock()
		mended = true
		mu.Unlock()
		time.Sleep(unreadableMax)
		synctest.Wait()
		mu.Lock()
		if len(done) != keys {
			t.Errorf("%d of %d keys were tried again", len(done), keys)
		}
		mu.Unlock()
		stop()
	})
	if lines := strings.Count(log.String(), "\n"); lines < 100 || lines > 125 {
		t.Errorf("%d lines in two hours:\n%.2000s", lines, log.String())
	}
}
