package scheduler

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/crew"
	"github.com/wheelhouse-k8s/wheelhouse/scheduler/placement"
)

const (
	// batchMax bounds the decisions between two looks at what came in.
	batchMax = 256
	// spareMax bounds the room for reports that is kept for the next ones.
	spareMax = 4096
)

// run is one term of the scheduler. All fields but inbox belong to the loop.
type run struct {
	options   Options
	transport client.Transport
	client    client.Client[*corev1.Pod]
	views     []client.View
	recorder  *client.Recorder
	metrics   Metrics
	now       func() time.Time

	inbox   inbox
	cluster *placement.Cluster
	queue   *queue
	// assumed pods by uid, until the cluster shows them bound.
	assumed map[types.UID]*queuedPod
	news    news

	// plugins take part in steps; stepping pods are in permit or pre-bind. ready ones wait for their turn to be bound.
	plugins  []plugin
	stepping int
	ready    []*queuedPod

	binding, patching int
	patches           []*queuedPod
	crew              *crew.Crew // the loop, and the writers and subscriptions beside it
	pending           [7]int
}

// news is what changed since parked pods were last looked at.
type news struct {
	events placement.Events
	// improved nodes may take pods that they refused before.
	improved map[string]struct{}
	// firstNode: there was no node before.
	firstNode bool
}

// improve notes that a node may take pods that it refused before.
func (n *news) improve(node string, events placement.Events) {
	n.improved[node] = struct{}{}
	n.events |= events
}

// inbox hands what others report to the loop, without ever making them wait.
type inbox struct {
	mu      sync.Mutex // guards reports
	reports []report
	// signal has room for one: a report that finds it full is taken with those that filled it.
	signal chan struct{}
}

// report tells the loop of one thing: a change of an object, or the outcome of a step or a write.
type report struct {
	delta  client.Delta
	queued *queuedPod
	// of and patched say what the outcome is of: a step of the pod, or a patch of its status.
	of      step
	patched bool
	err     error
}

func (b *inbox) put(reports ...report) {
	b.mu.Lock()
	b.reports = append(b.reports, reports...)
	b.mu.Unlock()
	select {
	case b.signal <- struct{}{}:
	default:
	}
}

func (b *inbox) take(spare []report) []report {
	b.mu.Lock()
	defer b.mu.Unlock()
	taken := b.reports
	b.reports = nil
	if cap(spare) <= spareMax {
		b.reports = spare[:0]
	}
	return taken
}

func newRun(s *Scheduler) *run {
	pods := client.For[*corev1.Pod](s.transport)
	return &run{
		plugins: s.plugins, queue: newQueue(groupBy(s.plugins)),
		options: s.options, transport: s.transport, client: pods, recorder: client.NewRecorder(s.transport, s.options.Name),
		views: []client.View{
			client.For[*corev1.Node](s.transport).Live().View,
			client.For[*corev1.Namespace](s.transport).Live().View,
			pods.Live().View,
		},
		metrics: s.options.Metrics, now: s.options.Now,
		inbox: inbox{signal: make(chan struct{}, 1)}, cluster: placement.NewCluster(),
		assumed: map[types.UID]*queuedPod{}, news: news{improved: map[string]struct{}{}},
	}
}

// subscribe begins to follow the cluster, and returns when all that was there has come in: a decision on half of the
// pods would give room away twice.
func (r *run) subscribe(ctx context.Context) error {
	var begun []<-chan struct{}
	for _, view := range r.views {
		first := make(chan struct{})
		begun = append(begun, first)
		delivered := sync.OnceFunc(func() { close(first) })
		r.crew.Go(func() error {
			view.Subscribe(ctx, func(deltas []client.Delta) {
				reports := make([]report, len(deltas))
				for n, d := range deltas {
					reports[n].delta = d
				}
				r.inbox.put(reports...)
				delivered()
			})
			return nil
		})
	}
	for _, first := range begun {
		select {
		case <-first:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (r *run) loop(ctx context.Context) {
	var reports []report
	flush := r.now().Add(flushEvery)
	alarm := time.NewTimer(0)
	defer alarm.Stop()
	for ctx.Err() == nil {
		reports = r.inbox.take(reports)
		for i := range reports {
			r.receive(ctx, &reports[i])
			reports[i] = report{}
		}
		now := r.now()
		if !now.Before(flush) {
			r.flush(now)
			flush = now.Add(flushEvery)
		}
		r.release(now)
		more := r.schedule(ctx)
		r.sendPatches(ctx)
		r.report()
		if more {
			continue
		}
		next := flush
		if ready, ok := r.queue.nextReady(); ok && ready.Before(next) {
			next = ready
		}
		alarm.Reset(max(next.Sub(r.now()), time.Millisecond))
		select {
		case <-r.inbox.signal:
		case <-alarm.C:
		case <-ctx.Done():
		}
	}
}

// receive acts on one report.
func (r *run) receive(ctx context.Context, in *report) {
	switch {
	case in.patched:
		r.patched(ctx, in.queued, in.err)
		return
	case in.of == stepBind:
		r.bound(ctx, in.queued, in.err)
		return
	case in.queued != nil:
		r.stepped(ctx, in.queued, in.err)
		return
	}
	object := in.delta.New
	if object == nil {
		object = in.delta.Old
	}
	switch object.(type) {
	case *corev1.Node:
		r.nodeChanged(in.delta)
	case *corev1.Namespace:
		r.namespaceChanged(in.delta)
	case *corev1.Pod:
		old, _ := in.delta.Old.(*corev1.Pod)
		now, _ := in.delta.New.(*corev1.Pod)
		if old != nil && (now == nil || now.UID != old.UID) {
			r.podGone(old.UID)
		}
		if now != nil {
			r.podChanged(now)
		}
	}
}

func (r *run) nodeChanged(d client.Delta) {
	if d.New == nil {
		r.cluster.RemoveNode(d.Old.GetName())
		r.news.events |= placement.NodeRemoved
		return
	}
	none := r.cluster.Nodes() == 0
	if events := r.cluster.SetNode(d.New.(*corev1.Node)); events != 0 {
		r.news.improve(d.New.GetName(), events)
		r.news.firstNode = r.news.firstNode || none
	}
}

func (r *run) namespaceChanged(d client.Delta) {
	if d.New == nil {
		r.cluster.RemoveNamespace(d.Old.GetName())
	} else if r.cluster.SetNamespace(d.New.GetName(), d.New.GetLabels()) {
		r.news.events |= placement.NamespaceLabels
	}
}

// podGone forgets a pod that was deleted or has ended.
func (r *run) podGone(uid types.UID) {
	if queued := r.assumed[uid]; queued != nil {
		r.abandon(queued)
	}
	if queued, ok := r.queue.byUID[uid]; ok {
		r.drop(queued)
	}
	r.depart(uid)
}

// depart takes a pod off its node, if it is on one.
func (r *run) depart(uid types.UID) {
	if node := r.cluster.RemovePod(uid); node != "" {
		r.news.improve(node, placement.PodDeparted)
	}
}

func (r *run) podChanged(pod *corev1.Pod) {
	own := r.assumed[pod.UID]
	switch {
	case pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed:
		r.podGone(pod.UID)
	case pod.Spec.NodeName != "":
		r.podOnNode(pod)
	case own != nil && (pod.DeletionTimestamp == nil || own.bind.step == stepBind):
		own.pending = r.cluster.Pending(pod) // its binding is on its way; this is for if it fails
	case pod.Spec.SchedulerName != r.options.Name || pod.DeletionTimestamp != nil:
		r.podGone(pod.UID)
	default:
		r.podWaits(pod)
	}
}

func (r *run) podOnNode(pod *corev1.Pod) {
	if queued, ok := r.queue.byUID[pod.UID]; ok {
		r.drop(queued)
	}
	own := r.assumed[pod.UID]
	switch {
	case own == nil:
	case own.bind.node == pod.Spec.NodeName && own.bind.step == stepBind:
		own.bind.confirm()
		delete(r.assumed, pod.UID)
	default:
		r.abandon(own)
	}
	known, there := r.cluster.Pod(pod.UID)
	moved := there && known.Node() != pod.Spec.NodeName
	if moved {
		r.news.improve(known.Node(), placement.PodDeparted)
	}
	if r.cluster.SetPod(pod) {
		r.news.improve(pod.Spec.NodeName, placement.PodArrived|placement.PodDeparted)
	}
	if !there && own == nil {
		r.news.events |= placement.PodArrived
	}
}

// podWaits takes note of a pod without a node.
func (r *run) podWaits(pod *corev1.Pod) {
	now := r.now()
	pending := r.cluster.Pending(pod)
	queued, ok := r.queue.byUID[pod.UID]
	if !ok {
		r.incoming("UnscheduledPodAdd", r.queue.add(pending, now))
		return
	}
	before, group, let := queued.pending, queued.group, r.queue.let(queued)
	queued.pending = pending
	if asksTheSame(before, pending) && (r.queue.groupOf == nil || r.queue.groupOf(pod) == group) {
		pending.Remember(before)
		return
	}
	r.queue.leave(queued)
	queued.at = now
	r.queue.enter(queued)
	if let && pending.Key() != before.Key() {
		r.next(before.Key())
	}
	if queued.group != group {
		r.shrunk(group)
	}
	r.incoming("UnscheduledPodUpdate", queued)
}

// asksTheSame tells whether a pod that was refused would be refused again. The change of a condition is the usual case.
func asksTheSame(a, b *placement.PendingPod) bool {
	return a.Key() == b.Key() && a.Pod().Generation == b.Pod().Generation && sameLabels(a.Pod(), b.Pod()) &&
		len(a.Pod().Spec.SchedulingGates) == len(b.Pod().Spec.SchedulingGates)
}

// schedule decides until nothing is left to decide or enough bindings are in flight. It tells whether to go on at once.
func (r *run) schedule(ctx context.Context) (more bool) {
	r.startReady(ctx)
	for range batchMax {
		if r.binding >= r.options.BindingsMax {
			return false
		}
		queued := r.queue.pop(r.now())
		if queued == nil {
			return false
		}
		r.attempt(ctx, queued)
	}
	return true
}

// release looks for parked pods that the news may help. Of a class only the first is let go; each pod that finds a node
// lets the next one go.
func (r *run) release(now time.Time) {
	n := &r.news
	if n.events == 0 {
		return
	}
	released := 0
	if n.firstNode {
		released += r.queue.releaseAll(now, func(*queuedPod) bool { return true })
	}
	for _, c := range r.queue.classes {
		if c.helpedBy&n.events != 0 && r.anyFits(c) {
			r.queue.release(c.pods.first(), now)
			released++
		}
	}
	for queued := range r.queue.alone {
		if queued.helpedBy&n.events != 0 {
			r.queue.release(queued, now)
			released++
		}
	}
	if released > 0 && r.metrics.Incoming != nil {
		r.metrics.Incoming("AssignedPodDelete", "active", released)
	}
	clear(n.improved)
	n.events, n.firstNode = 0, false
}

// anyFits tells whether an improved node passes the filters of a parked class. One that does not may be refused by another
// plugin now than when the pods were parked, so what helps against that one helps, too.
func (r *run) anyFits(c *parkedClass) bool {
	for name := range r.news.improved {
		why, ok := r.cluster.Judge(c.pods.first().pending, name)
		if ok {
			return true
		}
		c.helpedBy |= why.HelpedBy
	}
	return false
}

// flush tries pods again that have been parked for long.
func (r *run) flush(now time.Time) {
	r.queue.releaseAll(now, func(queued *queuedPod) bool { return now.Sub(queued.at) >= parkedMax })
}

func (r *run) observe(result string, start time.Time) {
	if r.metrics.Attempt != nil {
		r.metrics.Attempt(result, r.now().Sub(start))
	}
}

func (r *run) incoming(event string, queued *queuedPod) {
	if r.metrics.Incoming == nil {
		return
	}
	name := "active"
	if queued.where == gated {
		name = "gated"
	}
	r.metrics.Incoming(event, name, 1)
}

// report tells the sizes if they changed.
func (r *run) report() {
	q := r.queue
	sizes := [7]int{q.active.Len(), q.waitingLen(), q.parked(), q.gated, r.cluster.Nodes(), r.cluster.Pods(), len(r.assumed)}
	if sizes == r.pending {
		return
	}
	r.pending = sizes
	if r.metrics.Pending != nil {
		r.metrics.Pending(sizes[0], sizes[1], sizes[2], sizes[3])
	}
	if r.metrics.Cache != nil {
		r.metrics.Cache(sizes[4], sizes[5], sizes[6])
	}
}
