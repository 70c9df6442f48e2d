package scheduler

import (
	"container/heap"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/scheduler/placement"
)

// Upstream's times.
const (
	backoffFirst = time.Second
	backoffMax   = 10 * time.Second
	// parkedMax is when a parked pod is tried again though nothing changed that could help it: a safety net.
	parkedMax  = 5 * time.Minute
	flushEvery = 30 * time.Second
)

// whereabouts of a pod.
type whereabouts uint8

const (
	// nowhere: not in the queue (any more).
	nowhere whereabouts = iota
	// gated: the pod has scheduling gates.
	gated
	// active: to be tried as soon as its turn comes.
	active
	// waiting out its backoff.
	waiting
	// parked: no node can take the pod, until something changes.
	parked
	// assumed: it has a node and is being bound.
	assumed
)

// queuedPod is a pod on its way to a node.
type queuedPod struct {
	pending  *placement.PendingPod
	uid      types.UID
	priority int32
	// since is when the pod was first seen, at when it was queued or tried last.
	since, at time.Time
	seq       uint64
	// attempts that failed.
	attempts int
	// hold: it stays for its backoff even if there is nothing else to do.
	hold  bool
	where whereabouts
	index int
	// helpedBy are the events after which it may find a node, while it is parked alone; class is what it is parked in otherwise.
	helpedBy placement.Events
	class    *parkedClass
	// group of pods that it finds a node with or not at all; empty for nearly all.
	group string

	bind  binding
	patch patching
}

func (queued *queuedPod) pod() *corev1.Pod { return queued.pending.Pod() }

// ready is when the pod's backoff ends.
func (queued *queuedPod) ready() time.Time {
	if queued.attempts == 0 {
		return queued.at
	}
	d := backoffFirst
	for n := 1; n < queued.attempts && d < backoffMax; n++ {
		d *= 2
	}
	return queued.at.Add(min(d, backoffMax))
}

// podHeap is a heap of pods.
type podHeap struct {
	list []*queuedPod
	less func(a, b *queuedPod) bool
}

func (h *podHeap) Len() int           { return len(h.list) }
func (h *podHeap) Less(i, j int) bool { return h.less(h.list[i], h.list[j]) }
func (h *podHeap) Swap(i, j int) {
	h.list[i], h.list[j] = h.list[j], h.list[i]
	h.list[i].index, h.list[j].index = i, j
}
func (h *podHeap) Push(x any) {
	queued := x.(*queuedPod)
	queued.index = len(h.list)
	h.list = append(h.list, queued)
}
func (h *podHeap) Pop() any {
	last := len(h.list) - 1
	queued := h.list[last]
	h.list[last] = nil
	h.list = h.list[:last]
	return queued
}

// first is the pod at the top, nil if there is none.
func (h *podHeap) first() *queuedPod {
	if len(h.list) == 0 {
		return nil
	}
	return h.list[0]
}

// byPriority is upstream's PrioritySort: the higher priority, then the longer wait.
func byPriority(a, b *queuedPod) bool {
	if a.priority != b.priority {
		return a.priority > b.priority
	}
	if !a.at.Equal(b.at) {
		return a.at.Before(b.at)
	}
	return a.seq < b.seq
}

func byReady(a, b *queuedPod) bool {
	if ra, rb := a.ready(), b.ready(); !ra.Equal(rb) {
		return ra.Before(rb)
	}
	return byPriority(a, b)
}

// parkedClass is the parked pods of one class: as long as no node takes one of them, none takes any.
type parkedClass struct {
	key  string
	pods podHeap
	// helpedBy are the events after which a node may take one of them.
	helpedBy placement.Events
}

// queue orders the pods that have no node. The loop owns it.
type queue struct {
	byUID  map[types.UID]*queuedPod
	active podHeap
	// waiting ones by the end of their backoff; held are those that wait for all of it.
	waiting, held podHeap
	// classes of parked pods, by key.
	classes map[string]*parkedClass
	// alone are the parked pods whose chances depend on other pods.
	alone map[*queuedPod]struct{}
	gated int
	seq   uint64
	// groupOf names the group of a pod, nil if no plugin knows any; groups has the pods of each.
	groupOf func(*corev1.Pod) string
	groups  map[string]map[*queuedPod]struct{}
}

func newQueue(groupOf func(*corev1.Pod) string) *queue {
	return &queue{groupOf: groupOf, groups: map[string]map[*queuedPod]struct{}{}, byUID: map[types.UID]*queuedPod{},
		active: podHeap{less: byPriority}, waiting: podHeap{less: byReady}, held: podHeap{less: byReady},
		classes: map[string]*parkedClass{}, alone: map[*queuedPod]struct{}{}}
}

// add queues a pod that is new or became another.
func (q *queue) add(p *placement.PendingPod, now time.Time) *queuedPod {
	pod := p.Pod()
	q.seq++
	queued := &queuedPod{pending: p, uid: pod.UID, since: now, at: now, seq: q.seq}
	q.enter(queued)
	return queued
}

// track counts a pod among those that have no node, and of the group that it names now; untrack takes it out when it finds one or is gone.
func (q *queue) track(queued *queuedPod) {
	if q.groupOf != nil {
		q.untrack(queued)
		queued.group = q.groupOf(queued.pod())
	}
	q.byUID[queued.uid] = queued
	if queued.group != "" {
		if q.groups[queued.group] == nil {
			q.groups[queued.group] = map[*queuedPod]struct{}{}
		}
		q.groups[queued.group][queued] = struct{}{}
	}
}

func (q *queue) untrack(queued *queuedPod) {
	delete(q.byUID, queued.uid)
	if queued.group != "" {
		delete(q.groups[queued.group], queued)
		if len(q.groups[queued.group]) == 0 {
			delete(q.groups, queued.group)
		}
	}
}

// together takes all pods of a pod's group out of where they are, but those that are gated, in the order of their priority.
func (q *queue) together(queued *queuedPod) []*queuedPod {
	members := []*queuedPod{queued}
	for other := range q.groups[queued.group] {
		if other != queued && other.where != gated {
			q.leave(other)
			members = append(members, other)
		}
	}
	slices.SortFunc(members, func(a, b *queuedPod) int {
		if byPriority(a, b) {
			return -1
		}
		return 1
	})
	return members
}

// enter puts a pod where it belongs at first.
func (q *queue) enter(queued *queuedPod) {
	q.track(queued)
	queued.priority = 0
	if p := queued.pod().Spec.Priority; p != nil {
		queued.priority = *p
	}
	if len(queued.pod().Spec.SchedulingGates) > 0 {
		queued.where = gated
		q.gated++
		return
	}
	queued.where = active
	heap.Push(&q.active, queued)
}

// leave takes a pod out of where it is.
func (q *queue) leave(queued *queuedPod) {
	switch queued.where {
	case gated:
		q.gated--
	case active:
		heap.Remove(&q.active, queued.index)
	case waiting:
		heap.Remove(q.backoff(queued), queued.index)
	case parked:
		if queued.class == nil {
			delete(q.alone, queued)
			break
		}
		heap.Remove(&queued.class.pods, queued.index)
		if queued.class.pods.Len() == 0 {
			delete(q.classes, queued.class.key)
		}
		queued.class = nil
	}
	queued.where = nowhere
}

// let tells whether a pod may have been let go from its class, and is still to be tried.
func (q *queue) let(queued *queuedPod) bool { return queued.where == active || queued.where == waiting }

// drop forgets a pod.
func (q *queue) drop(queued *queuedPod) {
	q.leave(queued)
	q.untrack(queued)
}

// pop takes the pod to try next, nil if there is none. A pod in backoff is tried early when nothing else is to do.
func (q *queue) pop(now time.Time) *queuedPod {
	for _, h := range [2]*podHeap{&q.waiting, &q.held} {
		for queued := h.first(); queued != nil && !queued.ready().After(now); queued = h.first() {
			q.leave(queued)
			queued.where = active
			heap.Push(&q.active, queued)
		}
	}
	queued := q.active.first()
	if queued == nil {
		queued = q.waiting.first()
	}
	if queued != nil {
		q.leave(queued)
	}
	return queued
}

// backoff is the heap that the pod waits in.
func (q *queue) backoff(queued *queuedPod) *podHeap {
	if queued.hold {
		return &q.held
	}
	return &q.waiting
}

func (q *queue) wait(queued *queuedPod) {
	queued.where = waiting
	heap.Push(q.backoff(queued), queued)
}

// park puts away a pod that no node can take, until one of the events.
func (q *queue) park(queued *queuedPod, helpedBy placement.Events, now time.Time) {
	queued.at = now
	queued.attempts++
	queued.where = parked
	if queued.pending.DependsOnOthers() || queued.group != "" {
		queued.hold = true
		queued.helpedBy = helpedBy
		q.alone[queued] = struct{}{}
		return
	}
	queued.hold = false
	key := queued.pending.Key()
	c := q.classes[key]
	if c == nil {
		c = &parkedClass{key: key, pods: podHeap{less: byPriority}}
		q.classes[key] = c
	}
	c.helpedBy |= helpedBy
	queued.class = c
	heap.Push(&c.pods, queued)
}

// retry queues a pod again after an error, for after its backoff.
func (q *queue) retry(queued *queuedPod, now time.Time) {
	queued.at = now
	queued.attempts++
	queued.hold = true
	q.wait(queued)
}

// release lets a parked pod be tried again, after its backoff if that has not passed.
func (q *queue) release(queued *queuedPod, now time.Time) {
	q.leave(queued)
	if queued.ready().After(now) {
		q.wait(queued)
		return
	}
	queued.where = active
	heap.Push(&q.active, queued)
}

// releaseAll lets every parked pod be tried again.
func (q *queue) releaseAll(now time.Time, which func(*queuedPod) bool) (released int) {
	var found []*queuedPod
	for _, c := range q.classes {
		for _, queued := range c.pods.list {
			if which(queued) {
				found = append(found, queued)
			}
		}
	}
	for queued := range q.alone {
		if which(queued) {
			found = append(found, queued)
		}
	}
	for _, queued := range found {
		q.release(queued, now)
	}
	return len(found)
}

// parked is the number of parked pods.
func (q *queue) parked() int {
	return len(q.byUID) - q.gated - q.active.Len() - q.waitingLen()
}

func (q *queue) waitingLen() int { return q.waiting.Len() + q.held.Len() }

// nextReady is when the first backoff ends; false if none is waiting.
func (q *queue) nextReady() (time.Time, bool) {
	var next time.Time
	for _, h := range [2]*podHeap{&q.waiting, &q.held} {
		if queued := h.first(); queued != nil && (next.IsZero() || queued.ready().Before(next)) {
			next = queued.ready()
		}
	}
	return next, !next.IsZero()
}
