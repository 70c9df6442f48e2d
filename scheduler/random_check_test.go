package scheduler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TestRandom lets random things happen to pods on all steps of their way: plugins fail, wait, and hear of the end or not; bindings fail or
// are of unknown outcome; pods are deleted, bound by others, and change their groups; nodes come and go; all that is told late. After each
// step everything that the scheduler counts equals a recount, and what is left over gets its node when nothing fails any more.
func TestRandom(t *testing.T) {
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, seed)
				defer w.letAll()
				w.changeNode("n0", 4)
				w.changeNode("n1", 3)
				for range 150 {
					w.happen()
					if w.random.IntN(8) == 0 {
						time.Sleep([]time.Duration{time.Second, 10 * time.Second, permitMax}[w.random.IntN(3)])
					}
					w.turn()
					if t.Failed() {
						return
					}
				}
				w.recover()
			})
		})
	}
}

// recover ends all failures, and waits until every pod that is not being deleted has a node.
func (w *world) recover() {
	w.letAll()
	w.changeNode("n9", 1000)
	for range 60 {
		time.Sleep(time.Second)
		w.tellLate(len(w.late))
		w.turn()
		if w.Failed() {
			return
		}
	}
	for _, pod := range w.told {
		if unbound(pod) && pod.Status.Phase == "" {
			w.Errorf("%s has no node in the end", pod.UID)
		}
	}
	if len(w.assumed) != 0 || w.stepping != 0 || w.binding != 0 || w.patching != 0 || len(w.ready) != 0 {
		w.Errorf("left over: %d assumed, %d in steps, %d bindings, %d patches, %d ready", len(w.assumed), w.stepping, w.binding, w.patching, len(w.ready))
	}
}

// check compares all that the scheduler counts with a count from scratch.
func (w *world) check(when string) {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	wrong := func(format string, args ...any) {
		w.Helper()
		w.Errorf("%s: "+format, append([]any{when}, args...)...)
	}
	w.checkCounts(wrong)
	w.checkQueue(wrong)
	w.checkCluster(wrong)
	if w.news.events == 0 {
		w.checkParked(wrong)
	}
	for uid, queued := range w.assumed {
		if g := queued.bind.group; g != nil {
			waits := 0
			for _, member := range g.members {
				if w.assumed[member.uid] != member || member.bind.group != g || member.bind.undone != nil {
					wrong("%s belongs to a group that is not whole: %s", uid, member.uid)
				}
				if member.bind.step == stepPermit {
					waits++
				} else if member.bind.step != stepPermitted {
					wrong("%s is in step %s before its group has its permits", member.uid, member.bind.step)
				}
			}
			if waits != g.waiting {
				wrong("the group of %s waits for %d, and counts %d", uid, waits, g.waiting)
			}
		}
	}
}

func (w *world) checkCounts(wrong func(string, ...any)) {
	if n := w.steps - w.endedSteps; n != w.stepping {
		wrong("%d steps run, and %d are counted", n, w.stepping)
	}
	if n := w.writes - w.endedWrites; n != w.patching {
		wrong("%d patches are in flight, and %d are counted", n, w.patching)
	}
	after := 0
	for _, queued := range w.assumed {
		if queued.patch.bindAfter {
			after++
		}
	}
	if n := w.binds - w.endedBinds + after; n > w.binding || w.patching == 0 && n != w.binding {
		wrong("%d bindings are in flight, and %d are counted", n, w.binding)
	}
	for uid, n := range w.reserved {
		want := 0
		if queued := w.assumed[uid]; queued != nil {
			want = queued.bind.reserved
		}
		if n != want && !(n == 2 && (w.bound[uid] == 1 || w.rivals[uid])) {
			wrong("%s has %d reservations, and %d are counted", uid, n, want)
		}
	}
	for uid, n := range w.bound {
		if n > 1 {
			wrong("%s was bound %d times", uid, n)
		}
	}
}

func (w *world) checkQueue(wrong func(string, ...any)) {
	q := w.queue
	listed := map[*queuedPod]whereabouts{}
	for h, where := range map[*podHeap]whereabouts{&q.active: active, &q.waiting: waiting, &q.held: waiting} {
		for n, queued := range h.list {
			if listed[queued] = where; queued.index != n || where == waiting && q.backoff(queued) != h {
				wrong("%s does not know its place in the queue", queued.uid)
			}
		}
	}
	for key, c := range q.classes {
		if c.key != key || len(c.pods.list) == 0 {
			wrong("a class is not in its place, or empty")
		}
		for n, queued := range c.pods.list {
			if listed[queued] = parked; queued.index != n || queued.class != c || queued.pending.Key() != key {
				wrong("%s does not know its class", queued.uid)
			}
		}
	}
	for queued := range q.alone {
		if listed[queued] = parked; queued.class != nil {
			wrong("%s is parked twice", queued.uid)
		}
	}
	inGroups := 0
	for name, members := range q.groups {
		for queued := range members {
			if inGroups++; q.byUID[queued.uid] != queued || queued.group != name {
				wrong("%s is not of the group %s", queued.uid, name)
			}
		}
		if len(members) == 0 {
			wrong("the group %s is empty", name)
		}
	}
	for uid, queued := range q.byUID {
		if queued.uid != uid || listed[queued] != queued.where || w.assumed[uid] != nil {
			wrong("%s is not where it says: %d, %d", uid, queued.where, listed[queued])
		}
		if pod := w.told[uid]; pod == nil || !unbound(pod) {
			wrong("%s is queued, and needs no node", uid)
		} else if group := pod.Labels["group"]; group != "" && queued.group != "ns/"+group {
			wrong("%s is in the group %s, and of %s", uid, queued.group, group)
		}
		if queued.group != "" {
			inGroups--
		}
	}
	if len(listed) != len(q.byUID) || inGroups != 0 {
		wrong("%d pods are listed of %d, and %d too many in groups", len(listed), len(q.byUID), inGroups)
	}
	for uid, pod := range w.told {
		if unbound(pod) && pod.Status.Phase == "" && q.byUID[uid] == nil && w.assumed[uid] == nil {
			wrong("%s is forgotten", uid)
		}
	}
}

// checkParked: a class of which a node could take a pod has one that is still to be tried, and need not wait for others to end their steps.
func (w *world) checkParked(wrong func(string, ...any)) {
	tried := map[string]bool{}
	for _, queued := range w.queue.byUID {
		tried[queued.pending.Key()] = tried[queued.pending.Key()] || w.queue.let(queued) && !w.full(queued)
	}
	for key, c := range w.queue.classes {
		if !slices.ContainsFunc(c.pods.list, func(queued *queuedPod) bool { return !w.full(queued) }) {
			continue
		}
		for name := range w.cpus {
			if _, fits := w.cluster.Judge(c.pods.first().pending, name); fits && !tried[key] {
				wrong("%s is parked, and %s has room for it", c.pods.first().uid, name)
			}
		}
	}
}

func (w *world) checkCluster(wrong func(string, ...any)) {
	on := map[types.UID]string{}
	used := map[string]int{}
	count := func(pod *corev1.Pod, node string) {
		on[pod.UID] = node
		used[node] += int(pod.Spec.Containers[0].Resources.Requests.Cpu().Value())
	}
	for _, pod := range w.told {
		if pod.Spec.NodeName != "" && pod.Status.Phase == "" {
			count(pod, pod.Spec.NodeName)
		}
	}
	for uid, queued := range w.assumed {
		if queued.where != assumed || w.told[uid] == nil || w.told[uid].Spec.NodeName != "" {
			wrong("%s is assumed, and should not be: %d", uid, queued.where)
		}
		if w.told[uid] != nil && w.told[uid].DeletionTimestamp != nil && queued.bind.step < stepBind && queued.bind.undone == nil {
			wrong("%s is being deleted, and in step %s", uid, queued.bind.step)
		}
		if queued.bind.undone == nil {
			count(queued.pod(), queued.bind.node)
		}
	}
	if w.cluster.Pods() != len(on) {
		wrong("%d pods are on nodes, and %d are counted", len(on), w.cluster.Pods())
	}
	for uid, node := range on {
		if p, ok := w.cluster.Pod(uid); !ok || p.Node() != node {
			wrong("%s is not on %s: %v", uid, node, ok)
		}
	}
	for name, cpus := range w.cpus {
		free := cpus - used[name]
		for _, ask := range []int{free, free + 1} {
			if ask < 1 {
				continue
			}
			if _, fits := w.cluster.Judge(w.cluster.Pending(makePod("ask", fmt.Sprint(ask), "")), name); fits != (ask <= free) {
				wrong("%s has room for %d, and it fits %d: %v", name, free, ask, fits)
			}
		}
	}
}

// TestPanics: a plugin that panics ends the term with an error that says so, and everything is given back.
func TestPanics(t *testing.T) {
	for _, step := range []string{"Reserve", "Permit", "PreBind"} {
		synctest.Test(t, func(t *testing.T) {
			p := newProbe(func(_ context.Context, at, pod string) error {
				if at == step && pod == "b" {
					panic("out of order")
				}
				return nil
			})
			p.bind = func(string, string) error { return errors.New("not now") }
			p.Put(nodes, makeNode("n", "8"))
			p.Put(pods, makePod("a", "1", ""), makePod("b", "1", ""), makePod("g-1", "1", ""), makePod("g-2", "1", ""))
			if err := newScheduler(p.stage).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "out of order") {
				t.Errorf("%s: the term ended with %v", step, err)
			}
			if p.waiting() != 0 {
				t.Errorf("%s: reserved after the term: %v", step, p.reserved)
			}
		})
	}
}
