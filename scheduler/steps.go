package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/scheduler/placement"
)

// The way of a decision to its binding:
//
//	assume   the pod counts on its node
//	reserve  plugins take what the pod needs there, in memory
//	permit   plugins may have it wait, for other pods of its group for instance
//	pre-bind plugins do what must be done before, like attaching a volume
//	bind     the decision is written
//
// The loop makes the transitions and calls reserve and unreserve; permit, pre-bind and bind run beside it and put reports into the inbox.
// Whatever fails, is cancelled or loses its pod takes the same way back, undo: reservations are given back in reverse order, and
// the pod no longer counts on its node. A pod that no plugin concerns goes from assume to bind at once and pays for none of it.
//
// What waits in a plugin does not count among the bindings under way: pods that wait for volumes or for each other never keep others
// from being bound.

// permitMax is how long plugins may have a pod wait.
const permitMax = 15 * time.Minute

// plugins act on decisions. They stand in upstream's order and under its names. None has anything to do yet: volumes, resource
// claims and pod groups are what it is for.
var plugins = []plugin{}

// plugin takes part in the steps of the pods that it concerns. A field that has no use for it is nil.
type plugin struct {
	name string
	// concerns tells whether the plugin has anything to do for a pod; for others nothing of it is called, but group.
	concerns func(pod *corev1.Pod) bool
	// group names the pods that are to find nodes all together or not at all; empty for a pod of its own.
	group func(pod *corev1.Pod) string
	// reserve takes what the pod needs on the node. It runs on the loop, and must not wait.
	reserve func(pod *corev1.Pod, node string) error
	// unreserve gives it back. It runs on the loop, once after each reserve, failed ones too, unless the pod was bound.
	unreserve func(pod *corev1.Pod, node string)
	// permit returns when the pod may be bound. Its context ends after permitMax.
	permit func(ctx context.Context, pod *corev1.Pod, node string) error
	// preBind does what must be done before the binding.
	preBind func(ctx context.Context, pod *corev1.Pod, node string) error
}

func (p *plugin) takesPart(pod *corev1.Pod) bool { return p.concerns != nil && p.concerns(pod) }

// step is where a decision is on its way.
type step uint8

const (
	stepAssumed step = iota
	// stepPermit and stepPreBind: plugins are at work beside the loop.
	stepPermit
	// stepPermitted: the pod waits for the rest of its group.
	stepPermitted
	stepPreBind
	// stepReady: it waits for its turn to be bound.
	stepReady
	stepBind
)

func (s step) String() string {
	return [...]string{"Assume", "Permit", "Permit", "PreBind", "Bind", "Bind"}[s]
}

// beside tells whether something runs beside the loop for the pod, whose report is still to come.
func (s step) beside() bool { return s == stepPermit || s == stepPreBind || s == stepBind }

// binding is a decision on its way.
type binding struct {
	node  string
	start time.Time
	step  step
	// undone is why the decision was taken back while something ran beside the loop; the pod is queued again when that ends.
	undone error
	// plugins that concern the pod; the first reserved of them have reserved.
	plugins  []*plugin
	reserved int
	// cancel ends what plugins do beside the loop; nil without plugins.
	cancel context.CancelFunc
	// group of the pod until all of it may be bound; nil for a pod of its own.
	group *group
}

// group is pods that were assumed together. As long as one of them may not be bound, none is.
type group struct {
	members []*queuedPod
	// waiting are those that still lack a permit.
	waiting int
}

var errGroup = errors.New("another pod of the group was taken back")

// assume takes a decision over: the pod counts on the node, and what it needs there is reserved.
func (r *run) assume(queued *queuedPod, node string, start time.Time) error {
	r.cluster.Assume(queued.pending, node)
	r.queue.untrack(queued)
	queued.where = assumed
	r.assumed[queued.uid] = queued
	queued.bind = binding{node: node, start: start}
	for i := range r.plugins {
		if r.plugins[i].takesPart(queued.pod()) {
			queued.bind.plugins = append(queued.bind.plugins, &r.plugins[i])
		}
	}
	for _, p := range queued.bind.plugins {
		queued.bind.reserved++
		if p.reserve == nil {
			continue
		}
		if err := p.reserve(queued.pod(), node); err != nil {
			return fmt.Errorf("running Reserve plugin %q: %w", p.name, err)
		}
	}
	return nil
}

// proceed sets an assumed pod on its way.
func (r *run) proceed(ctx context.Context, queued *queuedPod) {
	r.news.events |= placement.PodArrived
	if len(queued.bind.plugins) == 0 && queued.bind.group == nil {
		r.becomeReady(ctx, queued)
		return
	}
	r.becomePermit(ctx, queued)
}

func (r *run) becomePermit(ctx context.Context, queued *queuedPod) {
	ctx, queued.bind.cancel = context.WithCancel(ctx)
	queued.bind.step = stepPermit
	r.beside(ctx, queued, permitMax, func(p *plugin) stepFunc { return p.permit })
}

func (r *run) becomePreBind(ctx context.Context, queued *queuedPod) {
	queued.bind.group = nil
	queued.bind.cancel()
	if len(queued.bind.plugins) == 0 {
		r.becomeReady(ctx, queued)
		return
	}
	ctx, queued.bind.cancel = context.WithCancel(ctx)
	queued.bind.step = stepPreBind
	r.beside(ctx, queued, 0, func(p *plugin) stepFunc { return p.preBind })
}

// becomeReady binds the pod as soon as few enough bindings are under way.
func (r *run) becomeReady(ctx context.Context, queued *queuedPod) {
	if r.binding >= r.options.BindingsMax {
		queued.bind.step = stepReady
		r.ready = append(r.ready, queued)
		return
	}
	queued.bind.step = stepBind
	r.bindWhenQuiet(ctx, queued)
}

type stepFunc = func(ctx context.Context, pod *corev1.Pod, node string) error

// beside runs one step of the pod's plugins, each after the other, beside the loop.
func (r *run) beside(ctx context.Context, queued *queuedPod, limit time.Duration, of func(*plugin) stepFunc) {
	r.stepping++
	pod, node, step, concerned := queued.pod(), queued.bind.node, queued.bind.step, queued.bind.plugins
	r.crew.Go(func() error {
		if limit > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, limit)
			defer cancel()
		}
		for _, p := range concerned {
			if f := of(p); f != nil {
				if err := f(ctx, pod, node); err != nil {
					r.inbox.put(report{queued: queued, of: step, err: fmt.Errorf("running %s plugin %q: %w", step, p.name, err)})
					return nil
				}
			}
		}
		r.inbox.put(report{queued: queued, of: step})
		return nil
	})
}

// stepped takes the outcome of permit or pre-bind.
func (r *run) stepped(ctx context.Context, queued *queuedPod, err error) {
	r.stepping--
	b := &queued.bind
	if ctx.Err() != nil || r.assumed[queued.uid] != queued {
		return // the cluster has shown what became of the pod
	}
	ended := b.step
	b.step = stepPermitted
	switch {
	case b.undone != nil:
		r.again(queued, b.undone)
	case err != nil:
		r.takeBack(queued, err)
	case ended == stepPreBind:
		r.becomeReady(ctx, queued)
	case b.group == nil:
		r.becomePreBind(ctx, queued)
	default:
		if b.group.waiting--; b.group.waiting == 0 {
			for _, member := range b.group.members {
				r.becomePreBind(ctx, member)
			}
		}
	}
}

// startReady binds pods whose turn has come.
func (r *run) startReady(ctx context.Context) {
	for len(r.ready) > 0 && r.binding < r.options.BindingsMax {
		queued := r.ready[0]
		r.ready[0] = nil
		r.ready = r.ready[1:]
		if r.assumed[queued.uid] == queued && queued.bind.step == stepReady {
			r.becomeReady(ctx, queued)
		}
	}
}

// bound takes the outcome of a binding.
func (r *run) bound(ctx context.Context, queued *queuedPod, err error) {
	r.binding--
	if err == nil {
		queued.bind.confirm()
		r.observe(ResultScheduled, queued.bind.start)
		if r.metrics.Scheduled != nil {
			r.metrics.Scheduled(queued.attempts+1, r.now().Sub(queued.since))
		}
		return
	}
	if ctx.Err() != nil || r.assumed[queued.uid] != queued {
		return // the cluster has shown what became of the pod
	}
	if client.OutcomeUnknown(err) && r.outcomeShown(queued) {
		return
	}
	r.undo(queued)
	r.queueAgain(queued)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return // deleted, or bound by another: the cluster will show it
	}
	slog.Warn("binding a pod failed", "namespace", queued.pod().Namespace, "pod", queued.pod().Name, "node", queued.bind.node, "error", err)
	r.say(queued, corev1.PodReasonSchedulerError, "binding rejected: "+err.Error())
}

// takeBack takes a decision back, and those on the other pods of its group, and has the pods tried again.
func (r *run) takeBack(queued *queuedPod, err error) {
	members := []*queuedPod{queued}
	if queued.bind.group != nil {
		members = queued.bind.group.members
	}
	for _, member := range members {
		if r.assumed[member.uid] != member {
			continue // it is gone, or was not assumed yet
		}
		why := err
		if member != queued && err != errGroup {
			why = fmt.Errorf("%w: %w", errGroup, err)
		}
		r.undo(member)
		if member.bind.step.beside() {
			member.bind.undone = why
			continue
		}
		r.again(member, why)
	}
}

// undo gives back what a decision took. The pod stays in assumed until nothing runs for it any more.
func (r *run) undo(queued *queuedPod) {
	queued.bind.unreserve(queued.pod())
	queued.bind.group = nil
	r.depart(queued.uid)
}

// unreserve ends what plugins do for the pod and gives their reservations back, the last first.
func (b *binding) unreserve(pod *corev1.Pod) {
	if b.cancel != nil {
		b.cancel()
	}
	for ; b.reserved > 0; b.reserved-- {
		if p := b.plugins[b.reserved-1]; p.unreserve != nil {
			p.unreserve(pod, b.node)
		}
	}
}

// confirm: the pod is bound, and its reservations are its own.
func (b *binding) confirm() {
	if b.cancel != nil {
		b.cancel()
	}
	b.reserved = 0
}

// again has a pod whose decision was undone tried again after its backoff, and says why.
func (r *run) again(queued *queuedPod, err error) {
	r.queueAgain(queued)
	slog.Warn("scheduling a pod failed", "namespace", queued.pod().Namespace, "pod", queued.pod().Name, "node", queued.bind.node, "error", err)
	r.say(queued, corev1.PodReasonSchedulerError, err.Error())
}

func (r *run) queueAgain(queued *queuedPod) {
	delete(r.assumed, queued.uid)
	r.observe(ResultError, queued.bind.start)
	if queued.pod().DeletionTimestamp != nil {
		return // no node is looked for any more
	}
	queued.pending = r.cluster.Pending(queued.pod())
	r.queue.track(queued)
	r.queue.retry(queued, r.now())
}

// abandon forgets a decision on a pod that is gone or has a node. Its group cannot be whole any more.
func (r *run) abandon(queued *queuedPod) {
	delete(r.assumed, queued.uid)
	queued.bind.unreserve(queued.pod())
	if g := queued.bind.group; g != nil {
		queued.bind.group = nil
		for _, member := range g.members {
			if member != queued && r.assumed[member.uid] == member {
				r.takeBack(member, errGroup)
				return
			}
		}
	}
}

// close gives back what is reserved for pods that were on their way when the term ended. Nothing runs any more.
func (r *run) close() {
	for _, in := range r.inbox.take(nil) {
		if in.queued != nil && in.of == stepBind && in.err == nil {
			in.queued.bind.confirm()
		}
	}
	for _, queued := range r.assumed {
		queued.bind.unreserve(queued.pod())
	}
}
