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

func (it *queuedPod) pod() *corev1.Pod { return it.pending.Pod() }

// ready is when the pod's backoff ends.
func (it *queuedPod) ready() time.Time {
	if it.attempts == 0 {
		return it.at
	}
	d := backoffFirst
	for n := 1; n < it.attempts && d < backoffMax; n++ {
		d *= 2
	}
	return it.at.Add(min(d, backoffMax))
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
	it := x.(*queuedPod)
	it.index = len(h.list)
	h.list = append(h.list, it)
}
func (h *podHeap) Pop() any {
	last := len(h.list) - 1
	it := h.list[last]
	h.list[last] = nil
	h.list = h.list[:last]
	return it
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
	it := &queuedPod{pending: p, uid: pod.UID, since: now, at: now, seq: q.seq}
	q.enter(it)
	return it
}

// track counts a pod among those that have no node, and of the group that it names now; untrack takes it out when it finds one or is gone.
func (q *queue) track(it *queuedPod) {
	if q.groupOf != nil {
		q.untrack(it)
		it.group = q.groupOf(it.pod())
	}
	q.byUID[it.uid] = it
	if it.group != "" {
		if q.groups[it.group] == nil {
			q.groups[it.group] = map[*queuedPod]struct{}{}
		}
		q.groups[it.group][it] = struct{}{}
	}
}

func (q *queue) untrack(it *queuedPod) {
	delete(q.byUID, it.uid)
	if it.group != "" {
		delete(q.groups[it.group], it)
		if len(q.groups[it.group]) == 0 {
			delete(q.groups, it.group)
		}
	}
}

// together takes all pods of a pod's group out of where they are, but those that are gated, in the order of their priority.
func (q *queue) together(it *queuedPod) []*queuedPod {
	members := []*queuedPod{it}
	for other := range q.groups[it.group] {
		if other != it && other.where != gated {
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
func (q *queue) enter(it *queuedPod) {
	q.track(it)
	it.priority = 0
	if p := it.pod().Spec.Priority; p != nil {
		it.priority = *p
	}
	if len(it.pod().Spec.SchedulingGates) > 0 {
		it.where = gated
		q.gated++
		return
	}
	it.where = active
	heap.Push(&q.active, it)
}

// leave takes a pod out of where it is.
func (q *queue) leave(it *queuedPod) {
	switch it.where {
	case gated:
		q.gated--
	case active:
		heap.Remove(&q.active, it.index)
	case waiting:
		heap.Remove(q.backoff(it), it.index)
	case parked:
		if it.class == nil {
			delete(q.alone, it)
			break
		}
		heap.Remove(&it.class.pods, it.index)
		if it.class.pods.Len() == 0 {
			delete(q.classes, it.class.key)
		}
		it.class = nil
	}
	it.where = nowhere
}

// let tells whether a pod may have been let go from its class, and is still to be tried.
func (q *queue) let(it *queuedPod) bool { return it.where == active || it.where == waiting }

// drop forgets a pod.
func (q *queue) drop(it *queuedPod) {
	q.leave(it)
	q.untrack(it)
}

// pop takes the pod to try next, nil if there is none. A pod in backoff is tried early when nothing else is to do.
func (q *queue) pop(now time.Time) *queuedPod {
	for _, h := range [2]*podHeap{&q.waiting, &q.held} {
		for it := h.first(); it != nil && !it.ready().After(now); it = h.first() {
			q.leave(it)
			it.where = active
			heap.Push(&q.active, it)
		}
	}
	it := q.active.first()
	if it == nil {
		it = q.waiting.first()
	}
	if it != nil {
		q.leave(it)
	}
	return it
}

// backoff is the heap that the pod waits in.
func (q *queue) backoff(it *queuedPod) *podHeap {
	if it.hold {
		return &q.held
	}
	return &q.waiting
}

func (q *queue) wait(it *queuedPod) {
	it.where = waiting
	heap.Push(q.backoff(it), it)
}

// park puts away a pod that no node can take, until one of the events.
func (q *queue) park(it *queuedPod, helpedBy placement.Events, now time.Time) {
	it.at = now
	it.attempts++
	it.where = parked
	if it.pending.DependsOnOthers() || it.group != "" {
		it.hold = true
		it.helpedBy = helpedBy
		q.alone[it] = struct{}{}
		return
	}
	it.hold = false
	key := it.pending.Key()
	c := q.classes[key]
	if c == nil {
		c = &parkedClass{key: key, pods: podHeap{less: byPriority}}
		q.classes[key] = c
	}
	c.helpedBy |= helpedBy
	it.class = c
	heap.Push(&c.pods, it)
}

// retry queues a pod again after an error, for after its backoff.
func (q *queue) retry(it *queuedPod, now time.Time) {
	it.at = now
	it.attempts++
	it.hold = true
	q.wait(it)
}

// release lets a parked pod be tried again, after its backoff if that has not passed.
func (q *queue) release(it *queuedPod, now time.Time) {
	q.leave(it)
	if it.ready().After(now) {
		q.wait(it)
		return
	}
	it.where = active
	heap.Push(&q.active, it)
}

// releaseAll lets every parked pod be tried again.
func (q *queue) releaseAll(now time.Time, which func(*queuedPod) bool) (released int) {
	var found []*queuedPod
	for _, c := range q.classes {
		for _, it := range c.pods.list {
			if which(it) {
				found = append(found, it)
			}
		}
	}
	for it := range q.alone {
		if which(it) {
			found = append(found, it)
		}
	}
	for _, it := range found {
		q.release(it, now)
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
		if it := h.first(); it != nil && (next.IsZero() || it.ready().Before(next)) {
			next = it.ready()
		}
	}
	return next, !next.IsZero()
}
