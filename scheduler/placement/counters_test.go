package placement

import (
	"fmt"
	"maps"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Whatever happens to nodes and pods, each tally holds what counting anew gives.
func TestCounters(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, seed)
		w.relabels = true
		for range 300 {
			w.step()
			if w.rand.IntN(4) == 0 {
				w.relabel()
			}
			w.checkTallies()
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
		if len(w.c.counters.byKey) < 3 || len(w.c.topologies) < 2 {
			t.Fatalf("%d counters, %d topologies", len(w.c.counters.byKey), len(w.c.topologies))
		}
	}
}

// relabel gives a pod other labels, or a namespace.
func (w *world) relabel() {
	if w.rand.IntN(10) == 0 {
		w.c.SetNamespace("default", map[string]string{"team": fmt.Sprint(w.rand.IntN(3))})
	}
	for uid, pod := range w.at {
		changed := pod.DeepCopy()
		changed.Labels = map[string]string{"app": fmt.Sprintf("a%d", w.rand.IntN(3))}
		w.at[uid] = changed
		w.c.SetPod(changed)
		break
	}
}

func (w *world) checkTallies() {
	entries := 0
	for _, k := range w.c.counters.byKey {
		w.c.counters.recount(k)
		entries += k.entries()
		w.checkTally(k.key, &k.tally, func(p *Pod) int32 {
			if k.matches(w.c.namespaces, p.Object) {
				return 1
			}
			return 0
		})
	}
	if got := w.c.counters.entries; got != entries || w.c.counters.recent.Len() != len(w.c.counters.byKey) {
		w.t.Errorf("%d entries are counted, there are %d; %d counters are in order of use, there are %d", got, entries, w.c.counters.recent.Len(), len(w.c.counters.byKey))
	}
	for _, in := range []*heldAffinities{&w.c.repelling, &w.c.attracting} {
		for _, held := range in.byKey {
			w.checkTally(held.key, &held.tally, func(p *Pod) (n int32) {
				if p.held == nil {
					return 0
				}
				for _, h := range *p.held {
					if h == held {
						n++
					}
				}
				return n
			})
		}
	}
	for key, t := range w.c.topologies {
		if len(t.tallies) == 0 {
			w.t.Errorf("nobody counts by %s", key)
		}
	}
	for namespace, pods := range w.c.podsIn {
		for i, p := range pods.pods {
			if p.Object.Namespace != namespace || int(p.at) != i || w.c.pods[p.Object.UID] != p {
				w.t.Errorf("%s is not where it should be", p.Object.Name)
			}
		}
	}
}

func (w *world) checkTally(what string, y *tally, worth func(*Pod) int32) {
	perNode := map[int32]int32{}
	for _, p := range w.c.pods {
		if n := worth(p); n > 0 {
			perNode[p.node.slot] += n
		}
	}
	if !maps.Equal(perNode, y.perNode) {
		w.t.Errorf("%q: pods by node are %v, the tally has %v", what, perNode, y.perNode)
	}
	for _, d := range y.domains {
		want := map[string]int32{}
		for slot, pods := range perNode {
			if n := w.c.nodes[slot]; n.object != nil {
				if value, ok := n.object.Labels[d.topology.key]; ok {
					want[value] += pods
				}
			}
		}
		got := map[string]int32{}
		for domain, pods := range d.pods {
			got[d.topology.values[domain]] = pods
		}
		if !maps.Equal(got, want) {
			w.t.Errorf("%q: pods by %s are %v, the tally has %v", what, d.topology.key, want, got)
		}
	}
}

// Counters are bounded by what they take and not by their number; one that went is made anew.
func TestCountersBound(t *testing.T) {
	c := benchmarkCluster(10)
	place := func(app, i int) {
		pod := benchmarkPod(app*1000 + i)
		pod.Labels = map[string]string{"app": fmt.Sprint(app)}
		pod.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: corev1.LabelHostname,
			WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: &metav1.LabelSelector{MatchLabels: pod.Labels}}}
		p := c.Pending(pod)
		c.Assume(p, c.Decide(p).Node)
	}
	for app := range 1000 {
		place(app, 0)
	}
	if got := len(c.counters.byKey); got != 1000 {
		t.Errorf("%d counters for 1000 selectors", got)
	}
	c.counters.max = 50 * counterSize
	for i := range 20 {
		for app := range 3 {
			place(app, i+1)
		}
	}
	if got := len(c.counters.byKey); got > 50 || got < 3 {
		t.Errorf("%d counters where there is room for fewer than 50", got)
	}
	for app := range 3 {
		perNode := map[string]int{}
		for _, p := range c.podsIn["default"].pods {
			if p.Object.Labels["app"] == fmt.Sprint(app) {
				perNode[p.Node()]++
			}
		}
		for name, pods := range perNode {
			if pods < 2 || pods > 3 {
				t.Errorf("%d of 21 pods are on %s, of 10 nodes", pods, name)
			}
		}
	}
	if got := len(c.topologies); got != 1 {
		t.Errorf("%d topologies", got)
	}
}
