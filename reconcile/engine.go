package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/workqueue"
	prometheus "k8s.io/component-base/metrics/prometheus/workqueue"

	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/crew"
)

const (
	defaultWorkers = 5
	// A key that fails is tried again after retryMin, doubling up to retryMax.
	retryMin = 5 * time.Millisecond
	retryMax = 1000 * time.Second
	// unreadableMax is the longest delay after a failure whose cause is a stored value that cannot be read: no change need tell that
	// it was mended or removed. unreadableEvery is how often a controller says that there are such keys.
	unreadableMax   = 30 * time.Second
	unreadableEvery = time.Minute
)

// MetricsSubsystem begins the names of the queues' metrics (workqueue_depth, …). Naming it links the package of
// component-base that reports them.
const MetricsSubsystem = prometheus.WorkQueueSubsystem

// engine runs one controller for one term.
//
// Changes put keys into the queue from the views' deliveries; workers take them out. The queue holds a key once, and
// gives a key that changed while it was handled out again afterwards. unseen remembers what a key's last run wrote, deleted, or
// may have written; the next run of that key waits until the views show what has come of it.
type engine struct {
	controller *Controller
	queue      workqueue.TypedRateLimitingInterface[Key]
	limiter    workqueue.TypedRateLimiter[Key]
	pace       *pacer
	unseen     *unseen

	mu   sync.Mutex
	told time.Time // guarded by mu; when it was last said that values cannot be read
}

// Run runs the controller until ctx ends, and returns when its last worker has stopped. An error says that a part of it has
// failed, and the controller has stopped: a Reconcile that fails, or panics, is only repeated.
func (c *Controller) Run(ctx context.Context) error {
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[Key](retryMin, retryMax)
	e := &engine{
		limiter: limiter, controller: c, unseen: newUnseen(c.transport), pace: newPacer(c.Pace),
		queue: workqueue.NewTypedRateLimitingQueueWithConfig(limiter, workqueue.TypedRateLimitingQueueConfig[Key]{Name: c.QueueName()}),
	}
	if !e.synced(ctx) {
		e.queue.ShutDown()
		return nil
	}
	parts, ctx := crew.New(ctx)
	if c.Start != nil {
		c.Start(ctx, func(k Key, after time.Duration) { e.queue.AddAfter(k, after) })
	}
	if c.Beside != nil {
		parts.Go(func() error {
			c.Beside(ctx, func(k Key, after time.Duration) { e.queue.AddAfter(k, after) })
			return nil
		})
	}
	if e.follow(ctx, parts) {
		e.work(ctx, parts)
	}
	<-ctx.Done()
	e.queue.ShutDown()
	return parts.Wait()
}

// synced waits until every view is complete. False means that ctx ended before.
func (e *engine) synced(ctx context.Context) bool {
	for _, r := range e.controller.Reads {
		select {
		case <-r.view.Synced():
		case <-ctx.Done():
			return false
		}
	}
	for _, v := range e.controller.AllReads {
		if !v.synced(ctx) {
			return false
		}
	}
	return true
}

// follow begins to follow all kinds that call for something, and returns when each one's Keys have seen all that was there:
// a controller that looks into what its Keys build must not take what has not come yet for missing. False means that ctx
// ended before.
func (e *engine) follow(ctx context.Context, parts *crew.Crew) bool {
	var begun []<-chan struct{}
	begin := func(f func(seen func())) {
		first := make(chan struct{})
		begun = append(begun, first)
		parts.Go(func() error {
			f(sync.OnceFunc(func() { close(first) }))
			return nil
		})
	}
	for _, r := range e.controller.Reads {
		if r.Keys != nil {
			begin(func(seen func()) { e.subscribe(ctx, r, seen) })
		}
	}
	for _, v := range e.controller.AllReads {
		begin(func(seen func()) { v.follow(ctx, parts, e.enqueue, seen) })
	}
	for _, first := range begun {
		select {
		case <-first:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// work starts the workers.
func (e *engine) work(ctx context.Context, parts *crew.Crew) {
	workers := e.controller.Workers
	if workers == 0 {
		workers = defaultWorkers
	}
	for range workers {
		parts.Go(func() error {
			for e.next(ctx) {
			}
			return nil
		})
	}
}

// subscribe follows one kind until ctx ends. delivered is called after each delivery.
func (e *engine) subscribe(ctx context.Context, r Read, delivered func()) {
	enqueue := e.enqueue // once, not for each change
	r.view.Subscribe(ctx, func(deltas []client.Delta) {
		for _, d := range deltas {
			r.Keys(d, enqueue)
		}
		delivered()
	})
}

// enqueue puts a key that something has changed about into the queue, at the pace that its budget allows.
func (e *engine) enqueue(k Key) {
	if wait := e.pace.wait(k); wait > 0 {
		e.queue.AddAfter(k, wait)
		return
	}
	e.queue.Add(k)
}

// next handles one key; false ends the worker.
func (e *engine) next(ctx context.Context) bool {
	key, ended := e.queue.Get()
	if ended {
		return false
	}
	defer e.queue.Done(key)
	if ctx.Err() != nil {
		return false
	}
	if err := e.unseen.await(ctx, key); ctx.Err() != nil {
		return false
	} else if errors.Is(err, errStillShown) {
		e.queue.AddAfter(key, shownRetry)
		return true
	} else if err != nil {
		slog.Debug("waiting to see what has become of a write", "controller", e.controller.Name, "key", key.String(), "error", err)
		e.queue.AddAfter(key, freshRetry)
		return true
	}
	e.pace.ran(key)
	writes := &writes{}
	result, err := e.reconcile(context.WithValue(ctx, writesKey{}, writes), key)
	if e.unseen.remember(key, writes) {
		e.unseen.sweep(ctx)
	}
	switch {
	case ctx.Err() != nil:
		return false
	case err != nil:
		e.complain(key, err)
		e.retry(key, err)
		return true
	case result.Again:
		e.queue.Add(key)
	case result.After > 0:
		e.queue.AddAfter(key, result.After)
	}
	e.queue.Forget(key)
	return true
}

// reconcile turns a panic into an error: one bad object must not end the process.
func (e *engine) reconcile(ctx context.Context, key Key) (result Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return e.controller.Reconcile(ctx, key)
}

// retry puts a key that failed back after a delay that doubles.
func (e *engine) retry(key Key, err error) {
	delay := e.limiter.When(key)
	if client.IsUnreadable(err) {
		delay = min(delay, unreadableMax)
	}
	e.queue.AddAfter(key, delay)
}

func (e *engine) complain(key Key, err error) {
	if client.IsUnreadable(err) {
		e.complainUnreadable(key, err)
		return
	}
	level := slog.LevelError
	if Transient(err) {
		level = slog.LevelDebug
	}
	slog.Log(context.Background(), level, "reconcile failed, will retry", "controller", e.controller.Name, "key", key.String(), "error", err)
}

// complainUnreadable tells of one key for all: one value may be in the way of thousands.
func (e *engine) complainUnreadable(key Key, err error) {
	now := time.Now()
	e.mu.Lock()
	due := e.told.IsZero() || now.Sub(e.told) >= unreadableEvery
	if due {
		e.told = now
	}
	e.mu.Unlock()
	if due {
		slog.Warn("a stored value that cannot be read is in the way, will retry this key, and others like it",
			"controller", e.controller.Name, "key", key.String(), "error", err)
	}
}

// Transient tells of errors that are part of an ordinary day: a lost race, an object or namespace that just went away, a kind that
// has just come or gone.
func Transient(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsNotFound(err) || NamespaceTerminating(err) || errors.Is(err, errFilling) || errors.Is(err, errShifted)
}

// NamespaceTerminating tells that a creation was refused because its namespace is being deleted.
func NamespaceTerminating(err error) bool {
	return apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}
