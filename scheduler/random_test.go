package scheduler

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/client/clienttest"
)

// world is a cluster in which random things happen to a scheduler that is worked step by step, and what must be true all the while.
type world struct {
	*hand
	*testing.T
	seed   uint64
	random *rand.Rand
	server *clienttest.Server
	// pods of the server; late is what the scheduler has not been told of them, and told what it has.
	pods map[string]*corev1.Pod
	late []client.Delta
	told map[types.UID]*corev1.Pod
	cpus map[string]int // of the nodes
	made int

	mu sync.Mutex // guards what plugins and writes change beside the scheduler
	// calm ends all failures.
	calm bool
	// lots counts what was asked of them, so that each has the same answer whatever runs first.
	lots map[string]int
	// held are the calls of plugins that do not return until they are let go.
	held map[string]chan error
	// reserved counts reservations by uid, and bound the bindings that were made.
	reserved, bound map[types.UID]int
	// writing are the bindings in flight; steps, binds and patched count what has begun.
	writing map[types.UID]bool
	// rivals has the pods that another bound.
	rivals               map[types.UID]bool
	steps, binds, writes int
	// ended counts what the scheduler has been told of its end.
	endedSteps, endedBinds, endedWrites int
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		T: t, seed: seed, random: rand.New(rand.NewPCG(seed, 1)), server: &clienttest.Server{}, pods: map[string]*corev1.Pod{},
		told: map[types.UID]*corev1.Pod{}, cpus: map[string]int{}, lots: map[string]int{}, held: map[string]chan error{},
		reserved: map[types.UID]int{}, bound: map[types.UID]int{}, writing: map[types.UID]bool{}, rivals: map[types.UID]bool{},
	}
	s := &stage{Server: w.server, plugins: w.plugins(), stepsMax: 2 + int(seed%9)}
	w.hand = byHand(t, s)
	w.run.options.BindingsMax = 1 + int(seed%4)
	w.server.Answer = w.answer
	return w
}

// lot is a number below n that depends on what is asked and how often that was.
func (w *world) lot(what string, n int) int {
	w.lots[what]++
	h := fnv.New64a()
	fmt.Fprint(h, w.seed, what, w.lots[what])
	return int(h.Sum64() % uint64(n))
}

func (w *world) plugins() []plugin {
	concerns := func(pod *corev1.Pod) bool { return !strings.HasPrefix(pod.Name, "plain") }
	reserve := func(may string) func(*corev1.Pod, string) error {
		return func(pod *corev1.Pod, _ string) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.reserved[pod.UID]++
			if !w.calm && w.lot(may+pod.Name, 10) == 0 {
				return errors.New("no reservation")
			}
			return nil
		}
	}
	unreserve := func(pod *corev1.Pod, _ string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.reserved[pod.UID]--
	}
	return []plugin{
		{name: "First", concerns: concerns, reserve: reserve("first "), unreserve: unreserve},
		{name: "Second", concerns: concerns, reserve: reserve("second "), unreserve: unreserve, permit: w.act("permit "), preBind: w.act("prebind "),
			group: func(pod *corev1.Pod) string { return pod.Labels["group"] }},
	}
}

// act is a step of a plugin: it succeeds, fails, or is held, and then may hear of the end of its context or not.
func (w *world) act(step string) stepFunc {
	return func(ctx context.Context, pod *corev1.Pod, _ string) error {
		w.mu.Lock()
		w.steps++
		w.mustHold(step, pod.UID, pod.Name)
		if w.calm {
			w.mu.Unlock()
			return nil
		}
		way := w.lot(step+pod.Name, 12)
		let := make(chan error, 1)
		if way > 4 {
			w.held[fmt.Sprint(step, pod.UID, w.steps)] = let
		}
		w.mu.Unlock()
		switch {
		case way < 4:
			return nil
		case way == 4:
			return errors.New("not now")
		case way < 8: // it does not look at its context
			return <-let
		}
		select {
		case err := <-let:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// mustHold: no step begins for a pod whose reservations were given back. The caller holds the lock.
func (w *world) mustHold(step string, uid types.UID, name string) {
	if w.reserved[uid] != 2 && !strings.HasPrefix(name, "plain") {
		w.Errorf("%s%s with %d reservations", step, uid, w.reserved[uid])
	}
}

// answer is what the server does with a write.
func (w *world) answer(_ context.Context, r client.Request) (runtime.Object, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	binding, binds := r.Object.(*corev1.Binding)
	if !binds {
		if r.Kind == pods {
			w.writes++
		}
		return &corev1.Pod{}, nil
	}
	w.binds++
	if w.writing[binding.UID] {
		w.Errorf("%s is bound twice at the same time", binding.UID)
	}
	w.writing[binding.UID] = true
	w.mustHold("bind ", binding.UID, binding.Name)
	pod := w.pods[binding.Name]
	resource := schema.GroupResource{Resource: "pods"}
	switch {
	case pod == nil || pod.UID != binding.UID:
		return nil, apierrors.NewNotFound(resource, binding.Name)
	case pod.Spec.NodeName != "" || pod.DeletionTimestamp != nil:
		return nil, apierrors.NewConflict(resource, binding.Name, errors.New("it has a node, or is being deleted"))
	}
	way := 9
	if !w.calm {
		way = w.lot("bind "+binding.Name, 10)
	}
	switch way {
	case 0:
		return nil, errors.New("the server refuses")
	case 1:
		return nil, apierrors.NewTimeoutError("not made", 1)
	}
	now := pod.DeepCopy()
	now.Spec.NodeName = binding.Target.Name
	w.bound[binding.UID]++
	w.put(now)
	if way == 2 {
		return nil, apierrors.NewTimeoutError("made", 1)
	}
	return binding, nil
}

// put has the server keep a pod. The caller holds the lock, or nothing runs.
func (w *world) put(pod *corev1.Pod) {
	d := client.Delta{New: pod}
	if old := w.pods[pod.Name]; old != nil {
		d.Old = old
	}
	w.pods[pod.Name] = pod
	w.server.Put(pods, pod)
	w.late = append(w.late, d)
}

func (w *world) remove(pod *corev1.Pod) {
	delete(w.pods, pod.Name)
	w.server.Remove(pods, "ns", pod.Name)
	w.late = append(w.late, client.Delta{Old: pod})
}

// any pod of the server that is as asked; nil if there is none.
func (w *world) any(is func(*corev1.Pod) bool) *corev1.Pod {
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(w.pods)), func(name string) bool { return !is(w.pods[name]) })
	if len(names) == 0 {
		return nil
	}
	return w.pods[names[w.random.IntN(len(names))]].DeepCopy()
}

func unbound(p *corev1.Pod) bool { return p.Spec.NodeName == "" && p.DeletionTimestamp == nil }

// happen lets something happen. Nothing runs meanwhile.
func (w *world) happen() {
	switch w.random.IntN(16) {
	case 0, 1, 2, 15:
		w.make()
	case 3:
		if pod := w.any(func(*corev1.Pod) bool { return true }); pod != nil {
			w.remove(pod)
		}
	case 4:
		if pod := w.any(unbound); pod != nil {
			pod.DeletionTimestamp = &metav1.Time{Time: time.Now()}
			w.put(pod)
		}
	case 5:
		if pod := w.any(unbound); pod != nil {
			pod.Labels = maps.Clone(pod.Labels)
			pod.Labels["changed"] = fmt.Sprint(w.random.IntN(3))
			if pod.Labels["group"] != "" {
				pod.Labels["group"] = fmt.Sprint("g", w.random.IntN(2))
			}
			pod.Generation++
			w.put(pod)
		}
	case 6:
		if pod := w.any(unbound); pod != nil && w.random.IntN(2) == 0 {
			pod.Spec.NodeName = fmt.Sprint("n", w.random.IntN(3))
			w.rivals[pod.UID] = true
			w.put(pod)
		}
	case 7:
		if pod := w.any(func(p *corev1.Pod) bool { return p.Spec.NodeName != "" }); pod != nil {
			pod.Status.Phase = corev1.PodSucceeded
			w.put(pod)
		}
	case 8:
		w.changeNode(fmt.Sprint("n", w.random.IntN(3)), w.random.IntN(5))
	case 9, 10:
		w.let(func() error {
			if w.random.IntN(3) == 0 {
				return errors.New("not at last")
			}
			return nil
		})
	case 11, 12:
		w.tellLate(1 + w.random.IntN(4))
	}
}

func (w *world) make() {
	w.made++
	kinds := []string{"plain", "plain", "own", "member"}
	name := fmt.Sprint(kinds[w.random.IntN(len(kinds))], w.random.IntN(8))
	if w.pods[name] != nil {
		return
	}
	pod := makePod(name, fmt.Sprint(1+w.random.IntN(2)), "")
	pod.UID = types.UID(fmt.Sprint(name, "#", w.made))
	pod.Labels = map[string]string{}
	if strings.HasPrefix(name, "member") {
		pod.Labels["group"] = fmt.Sprint("g", w.random.IntN(2))
	}
	priority := int32(w.random.IntN(2))
	pod.Spec.Priority = &priority
	w.put(pod)
}

// changeNode makes or changes a node, or removes it with no CPU.
func (w *world) changeNode(name string, cpus int) {
	if cpus == 0 {
		if _, ok := w.cpus[name]; ok {
			delete(w.cpus, name)
			w.tell(client.Delta{Old: makeNode(name, "1")})
		}
		return
	}
	w.cpus[name] = cpus
	w.tell(client.Delta{New: makeNode(name, fmt.Sprint(cpus))})
}

// letAll ends all failures, and lets every plugin go on.
func (w *world) letAll() {
	w.mu.Lock()
	w.calm = true
	w.mu.Unlock()
	for len(w.held) > 0 {
		w.let(func() error { return nil })
	}
}

// let lets a plugin go on.
func (w *world) let(with func() error) {
	if keys := slices.Sorted(maps.Keys(w.held)); len(keys) > 0 {
		key := keys[w.random.IntN(len(keys))]
		w.held[key] <- with()
		delete(w.held, key)
	}
}

// tellLate tells the scheduler of what has happened to pods.
func (w *world) tellLate(n int) {
	for ; n > 0 && len(w.late) > 0; n-- {
		d := w.late[0]
		w.late = w.late[1:]
		if d.Old != nil {
			delete(w.told, d.Old.GetUID())
		}
		if d.New != nil {
			w.told[d.New.GetUID()] = d.New.(*corev1.Pod)
		}
		w.tell(d)
	}
}

// turn is one round of the scheduler's loop.
func (w *world) turn() {
	synctest.Wait()
	for _, in := range w.inbox.take(nil) {
		switch {
		case in.patched:
			w.endedWrites++
		case in.of == stepBind:
			w.endedBinds++
			w.mu.Lock()
			delete(w.writing, in.queued.uid)
			w.mu.Unlock()
		default:
			w.endedSteps++
		}
		w.receive(w.ctx, &in)
		w.check("after an outcome")
	}
	w.release(w.now())
	for w.schedule(w.ctx) {
	}
	w.sendPatches(w.ctx)
	w.check("after a round")
}
