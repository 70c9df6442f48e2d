// Package scheduler gives pods their nodes. It is a client like any other: it watches pods and nodes, decides (package
// placement), and binds. One loop owns all state; bindings and status patches are written concurrently beside it.
// See DESIGN.md.
package scheduler

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/crew"
)

// DefaultName is the scheduler of pods that name no other.
const DefaultName = corev1.DefaultSchedulerName

// Options of a Scheduler. The zero value is upstream's default profile.
type Options struct {
	// Name that pods ask for in spec.schedulerName; empty means DefaultName.
	Name string
	// BindingsMax and PatchesMax bound the writes in flight; 0 means 128 and 32.
	BindingsMax, PatchesMax int
	// StepsMax bounds the pods that plugins are at work for between decision and binding; 0 means 1024.
	StepsMax int
	// Metrics to report; the zero value reports nothing.
	Metrics Metrics
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Results of an attempt to schedule a pod.
const (
	ResultScheduled     = "scheduled"
	ResultUnschedulable = "unschedulable"
	ResultError         = "error"
)

// Metrics are told what happens; each may be nil. They are called from the scheduler's loop and must be quick.
type Metrics struct {
	// Attempt ended: scheduler_schedule_attempts_total, scheduler_scheduling_attempt_duration_seconds.
	Attempt func(result string, took time.Duration)
	// Algorithm took so long to decide: scheduler_scheduling_algorithm_duration_seconds.
	Algorithm func(took time.Duration)
	// Scheduled a pod after attempts: scheduler_pod_scheduling_attempts, scheduler_pod_scheduling_sli_duration_seconds.
	Scheduled func(attempts int, waited time.Duration)
	// Incoming pods: scheduler_queue_incoming_pods_total.
	Incoming func(event, queue string, pods int)
	// Pending pods by queue: scheduler_pending_pods.
	Pending func(active, backoff, unschedulable, gated int)
	// Cache sizes: scheduler_cache_size.
	Cache func(nodes, pods, assumed int)
}

// Scheduler binds pods to nodes while it runs.
type Scheduler struct {
	transport client.Transport
	options   Options
	plugins   []plugin
}

// New is a scheduler that reads and writes through the transport.
func New(t client.Transport, o Options) *Scheduler {
	if o.Name == "" {
		o.Name = DefaultName
	}
	if o.BindingsMax <= 0 {
		o.BindingsMax = 128
	}
	if o.PatchesMax <= 0 {
		o.PatchesMax = 32
	}
	if o.StepsMax <= 0 {
		o.StepsMax = 1024
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Scheduler{transport: t, options: o, plugins: plugins}
}

// Run schedules until ctx ends, which is the end of a leader's term. It starts from what the cluster holds and keeps
// nothing afterwards, so it may be called again. If a part of it fails, all of it ends with the error.
func (s *Scheduler) Run(ctx context.Context) error {
	r := newRun(s)
	r.crew, ctx = crew.New(ctx)
	r.crew.Go(func() error { r.recorder.Run(ctx); return nil })
	r.crew.Go(func() error {
		defer r.crew.Dismiss()
		if r.subscribe(ctx) == nil { // else ctx ended before anything began
			r.loop(ctx)
		}
		return nil
	})
	err := r.crew.Wait()
	r.close()
	return err
}
