package scheduler

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/wheelhouse-k8s/wheelhouse/client/clienttest"
)

// probe is a plugin that a test plays, and what it and the scheduler's sizes were.
type probe struct {
	*stage
	mu sync.Mutex
	// act is what a step does, "Reserve", "Permit", "PreBind" or "Bind".
	act func(ctx context.Context, step, pod string) error
	// reserved counts what pods have reserved and not given back; log has all calls.
	reserved map[string]int
	log      []string
	sizes    [6]int // active, backoff, unschedulable, nodes, pods, assumed
}

func newProbe(act func(ctx context.Context, step, pod string) error) *probe {
	p := &probe{stage: &stage{Server: &clienttest.Server{}}, act: act, reserved: map[string]int{}}
	run := func(step string) func(context.Context, *corev1.Pod, string) error {
		return func(ctx context.Context, pod *corev1.Pod, _ string) error {
			p.note(step, pod.Name, 0)
			return p.act(ctx, step, pod.Name)
		}
	}
	concerns := func(pod *corev1.Pod) bool { return !strings.HasPrefix(pod.Name, "plain") }
	p.plugins = []plugin{
		{name: "First", concerns: concerns, reserve: func(pod *corev1.Pod, _ string) error { p.note("", pod.Name, 1); return nil },
			unreserve: func(pod *corev1.Pod, _ string) { p.note("", pod.Name, -1) }},
		{name: "Probe", concerns: concerns, permit: run("Permit"), preBind: run("PreBind"),
			group: func(pod *corev1.Pod) string {
				if group, _, ok := strings.Cut(pod.Name, "-"); ok && group != "plain" {
					return group
				}
				return ""
			},
			reserve: func(pod *corev1.Pod, _ string) error {
				p.note("Reserve", pod.Name, 1)
				return p.act(context.Background(), "Reserve", pod.Name)
			},
			unreserve: func(pod *corev1.Pod, _ string) { p.note("Unreserve", pod.Name, -1) }},
	}
	p.bind = func(pod, _ string) error {
		p.note("Bind", pod, 0)
		return p.act(context.Background(), "Bind", pod)
	}
	p.metrics.Pending = func(active, backoff, unschedulable, _ int) {
		copy(p.sizes[:], []int{active, backoff, unschedulable})
	}
	p.metrics.Cache = func(nodes, pods, assumed int) { copy(p.sizes[3:], []int{nodes, pods, assumed}) }
	return p
}

func (p *probe) note(call, pod string, reserved int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reserved[pod] += reserved; p.reserved[pod] == 0 {
		delete(p.reserved, pod)
	}
	if call != "" {
		p.log = append(p.log, call+" "+pod)
	}
}

// expect compares what is reserved, and the sizes: active, backoff, unschedulable, nodes, pods, assumed.
func (p *probe) expect(t *testing.T, when string, reserved map[string]int, sizes [6]int) {
	t.Helper()
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !maps.Equal(p.reserved, reserved) {
		t.Errorf("%s: reserved %v, want %v; calls: %v", when, p.reserved, reserved, p.log)
	}
	if p.sizes != sizes {
		t.Errorf("%s: sizes %v, want %v; calls: %v", when, p.sizes, sizes, p.log)
	}
}

// waiting is the number of pods that have reserved.
func (p *probe) waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.reserved)
}

func (p *probe) count(call string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.log {
		if c == call {
			n++
		}
	}
	return n
}

var steps = []string{"Reserve", "Permit", "PreBind", "Bind"}

// A pod that fails at any step leaves nothing behind, lets another have its room, and is tried again.
func TestStepsFail(t *testing.T) {
	for _, step := range steps {
		t.Run(step, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var failing atomic.Bool
				failing.Store(true)
				p := newProbe(func(_ context.Context, at, pod string) error {
					if at == step && pod == "a" && failing.Load() {
						return errors.New("not now")
					}
					return nil
				})
				p.Put(nodes, makeNode("n", "1"))
				p.Put(pods, makePod("a", "1", ""))
				schedule(t, p.stage)
				time.Sleep(1500 * time.Millisecond)
				synctest.Wait()
				if tried := p.count(step + " a"); tried < 2 {
					t.Errorf("tried %d times", tried)
				}
				p.expect(t, "after failures", nil, [6]int{0, 1, 0, 1, 0, 0})
				p.Put(pods, makePod("plain", "1", ""))
				p.expect(t, "after another pod", nil, [6]int{0, 1, 0, 1, 1, 1})
				p.Put(pods, makePod("plain", "1", "n"))
				time.Sleep(time.Minute)
				p.expect(t, "without room", nil, [6]int{0, 0, 1, 1, 1, 0})
				failing.Store(false)
				p.Remove(pods, "ns", "plain")
				time.Sleep(time.Minute)
				p.expect(t, "at last", map[string]int{"a": 2}, [6]int{0, 0, 0, 1, 1, 1})
			})
		})
	}
}

// A pod that is deleted while a step is at work for it ends the step, and leaves nothing behind.
func TestStepsLosePods(t *testing.T) {
	for _, step := range steps[1:] {
		for _, end := range []string{"the pod goes", "another binds it", "the term ends"} {
			t.Run(step+" "+end, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					release := make(chan struct{})
					p := newProbe(func(ctx context.Context, at, pod string) error {
						if at != step || pod != "a" {
							return nil
						}
						select {
						case <-ctx.Done():
							return ctx.Err()
						case <-release:
							return nil
						}
					})
					p.Put(nodes, makeNode("n", "1"), makeNode("other", "1"))
					p.Put(pods, makePod("a", "1", ""))
					stop := schedule(t, p.stage)
					p.expect(t, "in the step", map[string]int{"a": 2}, [6]int{0, 0, 0, 2, 1, 1})
					switch end {
					case "the pod goes":
						p.Remove(pods, "ns", "a")
						p.expect(t, "gone", nil, [6]int{0, 0, 0, 2, 0, 0})
						close(release)
						p.expect(t, "after the step", nil, [6]int{0, 0, 0, 2, 0, 0})
					case "another binds it":
						p.Put(pods, makePod("a", "1", "other"))
						p.expect(t, "bound", nil, [6]int{0, 0, 0, 2, 1, 0})
						close(release)
						p.expect(t, "after the step", nil, [6]int{0, 0, 0, 2, 1, 0})
					default:
						left := 0
						if step == "Bind" { // what is being written may yet be made, and here it is
							close(release)
							synctest.Wait()
							left = 1
						}
						stop()
						p.mu.Lock()
						defer p.mu.Unlock()
						if len(p.reserved) != left {
							t.Errorf("reserved after the term: %v", p.reserved)
						}
					}
				})
			})
		}
	}
}

// Pods in their steps do not count as bindings under way: others are bound meanwhile. Each waits for as long as it may.
func TestStepsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProbe(func(ctx context.Context, at, _ string) error {
			if at == "Permit" {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		p.stepsMax = 10
		p.Put(nodes, makeNode("n", "100"))
		for i := range 15 {
			p.Put(pods, makePod(fmt.Sprintf("waits%d", i), "1m", ""))
		}
		schedule(t, p.stage)
		synctest.Wait()
		for i := range 50 {
			p.Put(pods, makePod(fmt.Sprintf("plain-%d", i), "1m", ""))
		}
		time.Sleep(time.Minute)
		if got := len(p.bindings()); got != 50 {
			t.Errorf("%d pods were bound beside those that wait", got)
		}
		waiting := map[string]int{}
		for i := range 10 {
			waiting[fmt.Sprintf("waits%d", i)] = 2
		}
		p.expect(t, "waiting", waiting, [6]int{0, 5, 0, 1, 60, 60})
		time.Sleep(permitMax)
		synctest.Wait()
		given := 0
		for i := range 15 {
			given += p.count(fmt.Sprintf("Unreserve waits%d", i))
		}
		if got := p.waiting(); given != 10 || got != 10 {
			t.Errorf("%d pods waited for as long as they may, %d wait", given, got)
		}
	})
}

// A group finds nodes for all of its pods or for none, and is taken back as one until all may be bound.
func TestGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refused atomic.Value // the pod that gets no permit
		refused.Store("")
		gate := make(chan struct{})
		p := newProbe(func(ctx context.Context, at, pod string) error {
			if at == "Permit" && pod == refused.Load() {
				return errors.New("not now")
			}
			if at == "Permit" && pod == "g-1" {
				select {
				case <-gate:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return nil
		})
		p.Put(nodes, makeNode("n", "2"))
		for i := range 3 {
			p.Put(pods, makePod(fmt.Sprintf("g-%d", i), "1", ""))
		}
		schedule(t, p.stage)
		time.Sleep(time.Minute)
		p.expect(t, "no room for all", nil, [6]int{0, 0, 3, 1, 0, 0})
		if got := p.count("Permit g-0"); got != 0 {
			t.Errorf("a pod came to its permit %d times without its group", got)
		}

		refused.Store("g-2")
		p.Put(nodes, makeNode("n2", "1"))
		time.Sleep(time.Minute)
		synctest.Wait()
		if p.count("Permit g-2") < 2 || p.count("Bind g-0") > 0 {
			t.Errorf("calls: %v", p.log)
		}
		p.expect(t, "one of them refused", nil, [6]int{0, 3, 0, 2, 0, 0})

		refused.Store("")
		time.Sleep(time.Minute)
		all := map[string]int{"g-0": 2, "g-1": 2, "g-2": 2}
		p.expect(t, "waiting for one", all, [6]int{0, 0, 0, 2, 3, 3})
		p.Remove(pods, "ns", "g-0")
		time.Sleep(time.Minute)
		delete(all, "g-0")
		p.expect(t, "one is gone", all, [6]int{0, 0, 0, 2, 2, 2})
		close(gate)
		time.Sleep(time.Minute)
		p.expect(t, "bound", all, [6]int{0, 0, 0, 2, 2, 2})
		if got := p.bindings(); !slices.Contains(got, "g-1 to n") && !slices.Contains(got, "g-1 to n2") || len(got) != 2 {
			t.Errorf("bindings: %v", got)
		}
	})
}
