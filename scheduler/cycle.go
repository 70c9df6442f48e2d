package scheduler

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/wheelhouse-k8s/wheelhouse/scheduler/placement"
)

// attempt decides on one pod, and on the rest of its group if it has one.
func (r *run) attempt(ctx context.Context, queued *queuedPod) {
	start := r.now()
	if queued.group != "" {
		r.attemptGroup(ctx, queued, start)
		return
	}
	if r.full(queued) {
		r.queue.retry(queued, start)
		r.next(queued.pending.Key())
		return
	}
	decision := r.decide(queued, start)
	if decision.Node == "" {
		r.refuse(queued, decision.Why, decision.Why.HelpedBy())
		if queued.class == nil { // refused for what is its own: the class was not judged
			r.next(queued.pending.Key())
		}
		r.observe(ResultUnschedulable, start)
		return
	}
	if err := r.assume(queued, decision.Node, start); err != nil {
		r.takeBack(queued, err)
		return
	}
	r.proceed(ctx, queued)
	if c := r.queue.classes[queued.pending.Key()]; c != nil {
		r.queue.release(c.pods.first(), start)
	}
}

func (r *run) decide(queued *queuedPod, start time.Time) placement.Decision {
	decision := r.cluster.Decide(queued.pending)
	if decision.Node != "" && r.metrics.Algorithm != nil {
		r.metrics.Algorithm(r.now().Sub(start))
	}
	return decision
}

// full tells whether so many pods are in their steps that this one, which would have some, has to wait.
func (r *run) full(queued *queuedPod) bool {
	return r.stepping >= r.options.StepsMax && slices.ContainsFunc(r.plugins, func(p plugin) bool { return p.takesPart(queued.pod()) })
}

// attemptGroup finds nodes for all pods of a group that are in the queue, or for none.
func (r *run) attemptGroup(ctx context.Context, queued *queuedPod, start time.Time) {
	members := r.queue.together(queued)
	if r.stepping+len(members) > max(r.options.StepsMax, len(members)) {
		for _, member := range members {
			r.queue.retry(member, start)
		}
		return
	}
	g := &group{members: members, waiting: len(members)}
	for i, member := range members {
		decision := r.decide(member, start)
		if decision.Node == "" {
			r.refuseGroup(members, i, decision.Why, start)
			return
		}
		err := r.assume(member, decision.Node, start)
		member.bind.group = g
		if err != nil {
			for _, rest := range members[i+1:] {
				r.queue.retry(rest, start)
			}
			r.takeBack(member, err)
			return
		}
	}
	for _, member := range members {
		r.proceed(ctx, member)
	}
}

// refuseGroup parks a group of which one pod finds no node. Those that were assumed before it leave no trace, and are no news: else
// the group would help itself to the next attempt.
//
// The group waits for the events of all. What helps the refused pod alone is known; but those before it may have taken what it needs,
// and whatever has one of them choose another node helps, too: they were not refused, and what they chose by is any of the events.
// Those after it have not been asked, and need not be before it finds a node.
func (r *run) refuseGroup(members []*queuedPod, assumed int, why *placement.Explanation, start time.Time) {
	helpedBy := why.HelpedBy()
	if assumed > 0 && helpedBy != 0 {
		helpedBy = placement.AnyEvent
	}
	for i, member := range members {
		if i < assumed {
			member.bind.unreserve(member.pod())
			r.cluster.RemovePod(member.uid)
			delete(r.assumed, member.uid)
		}
		r.refuse(member, why, helpedBy)
		r.observe(ResultUnschedulable, start)
	}
}

// drop takes a pod out of the queue. One that was let go from its class, and will not be tried now, lets the next go in its place.
func (r *run) drop(queued *queuedPod) {
	let := r.queue.let(queued)
	r.queue.drop(queued)
	if let {
		r.next(queued.pending.Key())
	}
	r.shrunk(queued.group)
}

// shrunk lets what is left of a group go: there may be room for it where there was none for the whole.
func (r *run) shrunk(group string) {
	for queued := range r.queue.groups[group] {
		if queued.where == parked {
			r.queue.release(queued, r.now())
		}
	}
}

// next lets the first pod of a class go, if there is one: its former first has not found out whether a node fits.
func (r *run) next(key string) {
	if c := r.queue.classes[key]; c != nil {
		r.queue.release(c.pods.first(), r.now())
	}
}

// groupBy tells the group of a pod by the first plugin that names one; nil if no plugin knows groups.
func groupBy(plugins []plugin) func(*corev1.Pod) string {
	var knowing []func(*corev1.Pod) string
	for i := range plugins {
		if plugins[i].group != nil {
			knowing = append(knowing, plugins[i].group)
		}
	}
	if len(knowing) == 0 {
		return nil
	}
	return func(pod *corev1.Pod) string {
		for _, group := range knowing {
			if name := group(pod); name != "" {
				return pod.Namespace + "/" + name
			}
		}
		return ""
	}
}
