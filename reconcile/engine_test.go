package reconcile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/client/clienttest"
)

// started makes a controller and runs it; stop ends it and waits for its end.
func started(t *testing.T, s *clienttest.Server, declare func(*Builder) *Controller) (stop func()) {
	t.Helper()
	c, err := NewBuilder("test-controller", s).Make(declare)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func configMap(name string) kind.Object {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}}
}

// No worker starts before the Keys of every kind have been called for all that is there, however late a view delivers, and
// even if there is nothing to deliver.
func TestWorkersWaitForFirstDeliveries(t *testing.T) {
	maps, pods := api.Of[*corev1.ConfigMap](), api.Of[*corev1.Pod]()
	for name, late := range map[string][]kind.Object{
		"with objects": {&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}}, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "q"}}}, "without": nil,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &clienttest.Server{}
				s.Put(maps, configMap("a"))
				s.Put(pods, late...)
				s.Hold(pods)
				var mu sync.Mutex
				var runs []string
				indexed := 0
				stop := started(t, s, func(b *Builder) *Controller {
					Watch[*corev1.ConfigMap](b, Own)
					Watch[*corev1.Secret](b, nil)
					Watch[*corev1.Pod](b, func(client.Delta, func(Key)) {
						mu.Lock()
						defer mu.Unlock()
						indexed++
					})
					return &Controller{Reconcile: func(_ context.Context, key Key) (Result, error) {
						mu.Lock()
						defer mu.Unlock()
						if indexed != len(late) {
							t.Errorf("%s runs when %d of %d objects have been delivered", key, indexed, len(late))
						}
						runs = append(runs, key.String())
						return Result{}, nil
					}}
				})
				synctest.Wait()
				if len(runs) != 0 {
					t.Errorf("%v ran before the last view delivered", runs)
				}
				s.Release(pods)
				synctest.Wait()
				mu.Lock()
				if !slices.Equal(runs, []string{"ns/a"}) {
					t.Errorf("ran: %v", runs)
				}
				mu.Unlock()
				stop()
			})
		})
	}
}

// A controller that is stopped while a view has not delivered yet stops at once.
func TestStoppedBeforeTheFirstDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		maps := api.Of[*corev1.ConfigMap]()
		s := &clienttest.Server{}
		s.Hold(maps)
		stop := started(t, s, func(b *Builder) *Controller {
			Watch[*corev1.ConfigMap](b, Own)
			return &Controller{}
		})
		synctest.Wait()
		stop()
	})
}

// A key whose last run made a write of unknown outcome does not run again before the views have caught up with the store, however
// often that fails and whatever changes meanwhile. Other keys run.
func TestWritesOfUnknownOutcome(t *testing.T) {
	for name, lost := range map[string]error{
		"timeout": context.DeadlineExceeded, "504": apierrors.NewTimeoutError("unknown", 1), "503": apierrors.NewServiceUnavailable("closing"),
		"no answer": &url.Error{Op: "Post", Err: io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { unknownOutcome(t, lost) }) })
	}
}

func unknownOutcome(t *testing.T, lost error) {
	maps := api.Of[*corev1.ConfigMap]()
	answers := make(chan error)
	s := &clienttest.Server{Answer: func(context.Context, client.Request) (runtime.Object, error) { return nil, lost }}
	s.Catch = func(ctx context.Context) error {
		select {
		case err := <-answers:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.Put(maps, configMap("a"))
	var mu sync.Mutex
	runs := map[string]int{}
	stop := started(t, s, func(b *Builder) *Controller {
		c := Watch[*corev1.ConfigMap](b, Own, Writes(kind.Create))
		return &Controller{Reconcile: func(ctx context.Context, key Key) (Result, error) {
			mu.Lock()
			defer mu.Unlock()
			if runs[key.Name]++; runs[key.Name] == 1 && key.Name == "a" {
				// It is told of the write even if the controller makes nothing of the error.
				_, _ = c.Create(ctx, &corev1.ConfigMap{})
			}
			return Result{}, nil
		}}
	})
	answer := func(err error) {
		t.Helper()
		select {
		case answers <- err:
		case <-time.After(time.Hour):
			t.Error("nobody asks what has become of the write")
		}
	}
	ran := func(want ...int) {
		t.Helper()
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if got := []int{runs["a"], runs["b"]}; !slices.Equal(got, want) {
			t.Errorf("runs of a and b: %v, want %v", got, want)
		}
	}
	ran(1, 0)
	s.Put(maps, configMap("a"), configMap("b"))
	ran(1, 1)
	time.Sleep(freshMax + freshRetry) // a question without an answer
	answer(errors.New("no leader"))
	ran(1, 1)
	time.Sleep(freshRetry)
	answer(nil)
	ran(2, 1)
	s.Put(maps, configMap("a"))
	ran(3, 1) // it is known now
	stop()
}

func TestOutcomeUnknown(t *testing.T) {
	group := schema.GroupResource{Resource: "pods"}
	for _, known := range []error{nil, apierrors.NewConflict(group, "a", io.EOF), apierrors.NewNotFound(group, "a"), apierrors.NewTooManyRequests("", 1), apierrors.NewBadRequest("")} {
		if client.OutcomeUnknown(known) {
			t.Errorf("unknown after %v", known)
		}
	}
	for _, unknown := range []error{io.EOF, context.Canceled, apierrors.NewInternalError(io.EOF), apierrors.NewServerTimeout(group, "create", 1), fmt.Errorf("creating: %w", apierrors.NewTimeoutError("", 1))} {
		if !client.OutcomeUnknown(unknown) {
			t.Errorf("known after %v", unknown)
		}
	}
}
