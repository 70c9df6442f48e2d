package placement

import (
	"fmt"
	"slices"
	"testing"
)

// Whatever is tried on a copy of a node gives what the cluster gives once it is done, and changes nothing before.
func TestTrials(t *testing.T) {
	verdicts := map[string]int{}
	for seed := range uint64(20) {
		w := newWorld(t, seed)
		w.prioritize = true
		for range 5 {
			w.setNode(fmt.Sprintf("n%d", w.rand.IntN(15)))
		}
		for range 300 {
			w.step()
			n := w.c.nodes[w.rand.IntN(len(w.c.nodes))]
			trial := w.c.Try(n.name)
			if n.object == nil {
				if trial != nil {
					t.Fatal("a trial without a node")
				}
				continue
			}
			before := fmt.Sprintf("%+v", *n)
			w.tryOn(trial, verdicts)
			if after := fmt.Sprintf("%+v", *n); after != before {
				t.Fatalf("seed %d: a trial changed the node:\n%s\n%s", seed, before, after)
			}
			w.checkOrder(n)
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
	}
	if len(verdicts) < 7 {
		t.Errorf("only verdicts %v", verdicts)
	}
}

// tryOn takes pods off the node of the trial and puts others on, and does the same to a copy of the cluster.
func (w *world) tryOn(trial *Trial, verdicts map[string]int) {
	made := w.copied()
	for _, p := range slices.Clone(trial.Pods()) {
		if w.rand.IntN(2) == 0 {
			trial.Remove(p)
			made.RemovePod(p.Object.UID)
		}
	}
	for range w.rand.IntN(3) {
		pod := w.pod()
		trial.Assume(w.c.Pending(pod))
		made.Assume(made.Pending(pod), trial.node.name)
	}
	for range 4 {
		pod := w.pod()
		got, gotOK := trial.Judge(w.c.Pending(pod))
		want, wantOK := made.judgeAll(made.Pending(pod), trial.node.name)
		if verdicts[got.Plugin]++; gotOK != wantOK || fmt.Sprint(got) != fmt.Sprint(want) {
			w.t.Errorf("%s on %s: the trial says %v, the cluster then says %v", pod.Name, trial.node.name, got, want)
		}
	}
}

// copied is a cluster made anew from what the world's cluster holds.
func (w *world) copied() *Cluster {
	c := NewCluster()
	for _, n := range w.c.nodes {
		if n.object != nil {
			c.SetNode(n.object)
		}
	}
	for _, n := range w.c.nodes {
		for _, p := range n.pods {
			c.addPod(p.Object, p.demand, c.nodeNamed(n.name))
		}
	}
	return c
}

// judgeAll asks all plugins of one node, those that look at other pods, too.
func (c *Cluster) judgeAll(p *PendingPod, nodeName string) (Verdict, bool) {
	if v, ok := c.Judge(p, nodeName); !ok {
		return v, ok
	}
	for _, r := range c.amongOthers(p, nil) {
		if r.filter != nil {
			if verdict := r.filter(c.byName[nodeName]); verdict != fits {
				return c.verdicts.all[verdict], false
			}
		}
	}
	return c.verdicts.all[fits], true
}

func (w *world) checkOrder(n *node) {
	count := 0
	for _, p := range w.c.pods {
		if p.node == n {
			count++
		}
	}
	if count != len(n.pods) || !slices.IsSortedFunc(n.pods, func(a, b *Pod) int { return int(b.priority - a.priority) }) {
		w.t.Errorf("%s has %d pods, in this order: %v", n.name, count, n.pods)
	}
}

// BenchmarkTrial takes half of a node's 100 pods off, the lowest priority first, until another pod fits.
func BenchmarkTrial(b *testing.B) {
	c := benchmarkCluster(1)
	for i := range 100 {
		pod, priority := benchmarkPod(i), int32(i%10)
		pod.Spec.Priority = &priority
		pod.Spec.Containers[0].Resources.Requests = resourceList(320, 1<<30, 0)
		c.Assume(c.Pending(pod), "node-0")
	}
	large := benchmarkPod(1000)
	large.Spec.Containers[0].Resources.Requests = resourceList(16_000, 1<<30, 0)
	p := c.Pending(large)
	b.ReportAllocs()
	for b.Loop() {
		t := c.Try("node-0")
		for removed := 0; ; removed++ {
			if _, ok := t.Judge(p); ok {
				if removed != 50 {
					b.Fatal(removed)
				}
				break
			}
			pods := t.Pods()
			t.Remove(pods[len(pods)-1])
		}
	}
}
