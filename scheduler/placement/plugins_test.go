package placement

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// upstreamOrder of the default plugins that filter or score.
var upstreamOrder = []string{"NodeUnschedulable", "NodeName", "TaintToleration", "NodeAffinity", "NodePorts", "NodeResourcesFit",
	"VolumeRestrictions", "NodeVolumeLimits", "VolumeBinding", "VolumeZone", "PodTopologySpread", "InterPodAffinity",
	"DynamicResources", "NodeResourcesBalancedAllocation", "ImageLocality"}

func TestPlugins(t *testing.T) {
	last, scaled := -1, 0
	for _, p := range plugins {
		position := slices.Index(upstreamOrder, p.name)
		if position <= last {
			t.Errorf("%s is unknown or out of upstream's order", p.name)
		}
		last = position
		if (p.keyPart == nil) != (p.prepare == nil) {
			t.Errorf("%s: a part and its checks go together", p.name)
		}
		for _, v := range p.refusals {
			if len(v.Reasons) == 0 {
				t.Errorf("%s refuses without a reason", p.name)
			}
		}
	}
	w := newWorld(t, 1)
	for range 300 {
		scaled = max(scaled, len(w.c.prepare(w.c.Pending(w.pod()).key).scaled))
	}
	if scaled == 0 || scaled > scaledMax {
		t.Errorf("%d scaled scores in a class, levels hold %d", scaled, scaledMax)
	}
}

// What plugins write of a pod is what they read.
func TestParts(t *testing.T) {
	w := newWorld(t, 2)
	for range 500 {
		pod := w.pod()
		pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute})
		d := w.c.demands.of(pod)
		if got := readResources(keyPart(d.resourcesKey())); got.milliCPU != d.milliCPU || got.memory != d.memory || got.ephemeral != d.ephemeral ||
			got.scoredMilliCPU != d.scoredMilliCPU || got.scoredMemory != d.scoredMemory || !slices.Equal(got.scalars, d.scalars) {
			t.Errorf("resources: %+v, want %+v", got, d)
		}
		if got := readPorts(keyPart(d.portsKey())); !slices.Equal(got, d.ports) {
			t.Errorf("ports: %v, want %v", got, d.ports)
		}
		if got := readTolerations(keyPart(appendTolerations(nil, pod.Spec.Tolerations))); !reflect.DeepEqual(got, pod.Spec.Tolerations) {
			t.Errorf("tolerations: %v, want %v", got, pod.Spec.Tolerations)
		}
		got := readNodeAffinity(keyPart(appendNodeAffinity(nil, pod))).Spec
		var want *corev1.NodeAffinity
		if pod.Spec.Affinity != nil {
			want = pod.Spec.Affinity.NodeAffinity
		}
		if !maps.Equal(got.NodeSelector, pod.Spec.NodeSelector) || (got.Affinity != nil) != (want != nil) || want != nil && !reflect.DeepEqual(got.Affinity.NodeAffinity, want) {
			t.Errorf("node affinity: %v, want %v", got, pod.Spec)
		}
	}
}

// Two pods have one key exactly if their parts are equal, one by one.
func TestKeys(t *testing.T) {
	w := newWorld(t, 3)
	parts := map[string]string{}
	for range 6000 {
		pod := w.pod()
		d := w.c.demands.of(pod)
		var each []string
		for i := range plugins {
			if plugins[i].keyPart != nil {
				each = append(each, string(plugins[i].keyPart(w.c, nil, pod, d)))
			}
		}
		key, list := w.c.Pending(pod).Key(), fmt.Sprintf("%q", each)
		if known, ok := parts[key]; ok && known != list {
			t.Errorf("one key for %s and %s", known, list)
		}
		parts[key] = list
		rest, at := keyPart(key), 0
		for i := range plugins {
			if plugins[i].keyPart == nil {
				continue
			}
			if got := rest.cut(byte(i)); string(got) != each[at] {
				t.Errorf("%s is given %q, it wrote %q", plugins[i].name, got, each[at])
			}
			at++
		}
	}
	if len(parts) < 1000 {
		t.Errorf("only %d keys", len(parts))
	}
}

// A plugin answers the same for a node in which nothing changed of what it says it reads, pods apart.
func TestReads(t *testing.T) {
	w := newWorld(t, 4)
	changes := map[Events]int{}
	for range 2000 {
		name := "n1"
		w.setNode(name)
		before := *w.c.byName[name]
		old := w.nodes[name]
		now := old.DeepCopy()
		w.setNode("other") // whatever it is like, take over some of it
		for _, take := range []func(from *corev1.Node){
			func(o *corev1.Node) { now.Labels = maps.Clone(o.Labels) },
			func(o *corev1.Node) { now.Spec.Taints = o.Spec.Taints },
			func(o *corev1.Node) { now.Spec.Unschedulable = !now.Spec.Unschedulable },
			func(o *corev1.Node) { now.Status.Allocatable = o.Status.Allocatable },
		} {
			if w.rand.IntN(2) == 0 {
				take(w.nodes["other"])
			}
		}
		events := nodeEvents(old, now)
		changes[events]++
		w.c.SetNode(now)
		after, key := w.c.byName[name], w.c.Pending(w.pod()).Key()
		rest := keyPart(key)
		for i, p := range plugins {
			own := rest.cut(byte(i))
			if p.prepare == nil || p.reads&events != 0 {
				continue
			}
			made := p.prepare(&setup{cluster: w.c, keyPart: own, refusal: w.c.refusals[i]})
			if made.filter != nil && made.filter(&before) != made.filter(after) || made.score != nil && made.score(&before) != made.score(after) ||
				p.name != "PodTopologySpread" && made.scaled.level != nil && made.scaled.level(&before) != made.scaled.level(after) {
				t.Errorf("%s answers otherwise after changes %b", p.name, events)
			}
		}
	}
	if len(changes) < 10 {
		t.Errorf("only %d kinds of changes", len(changes))
	}
}

// A pod that was refused finds no node before one of the events that its explanation names.
func TestHelpedBy(t *testing.T) {
	type refusal struct {
		pod    *corev1.Pod
		events Events
	}
	helped, useless := 0, 0
	for seed := range uint64(30) {
		w := newWorld(t, seed)
		for range 8 {
			w.setNode(fmt.Sprintf("n%d", w.rand.IntN(15)))
		}
		var refused []refusal
		for range 150 {
			events := w.change()
			for i := range refused {
				r := &refused[i]
				if d := w.c.Decide(w.c.Pending(r.pod)); d.Node != "" {
					if helped++; r.events&events == 0 {
						t.Errorf("seed %d: %s found a node after events %b, only %b should help", seed, r.pod.Name, events, r.events)
					}
					r.events = 0
				} else {
					if r.events&events == 0 {
						useless++
					}
					r.events = d.Why.HelpedBy()
				}
			}
			refused = slices.DeleteFunc(refused, func(r refusal) bool { return r.events == 0 })
			for range 3 {
				pod := w.pod()
				p := w.c.Pending(pod)
				if d := w.c.Decide(p); d.Node == "" {
					refused = append(refused, refusal{pod, d.Why.HelpedBy()})
				} else if w.rand.IntN(2) == 0 {
					w.c.Assume(p, d.Node)
					pod.Spec.NodeName = d.Node
					w.at[pod.UID] = pod
					for i := range refused { // a pod arrived since they were refused
						refused[i].events = w.again(refused[i].pod, refused[i].events)
					}
					refused = slices.DeleteFunc(refused, func(r refusal) bool { return r.events == 0 })
				}
			}
		}
	}
	if helped < 50 || useless < 50 {
		t.Errorf("%d pods were helped, %d decisions spared", helped, useless)
	}
}

// again refuses the pod anew after a pod arrived; zero if that helped, as it may.
func (w *world) again(pod *corev1.Pod, helpedBy Events) Events {
	d := w.c.Decide(w.c.Pending(pod))
	if d.Node == "" {
		return d.Why.HelpedBy()
	}
	if helpedBy&PodArrived == 0 {
		w.t.Errorf("%s found a node after a pod arrived", pod.Name)
	}
	return 0
}

// change changes nodes or pods, and tells what happened.
func (w *world) change() Events {
	name := fmt.Sprintf("n%d", w.rand.IntN(15))
	switch w.rand.IntN(6) {
	case 0:
		delete(w.nodes, name)
		w.c.RemoveNode(name)
		return NodeRemoved
	case 1, 2:
		w.setNode(name)
		return w.events
	case 3: // one thing alone
		n, ok := w.nodes[name]
		if !ok {
			return 0
		}
		n = n.DeepCopy()
		switch w.rand.IntN(3) {
		case 0:
			n.Spec.Unschedulable = !n.Spec.Unschedulable
		case 1:
			n.Spec.Taints = nil
		default:
			n.Labels["disk"] = "ssd"
		}
		w.nodes[name] = n
		return w.c.SetNode(n)
	}
	for _, uid := range slices.Sorted(maps.Keys(w.at)) {
		if w.rand.IntN(4) == 0 {
			delete(w.at, uid)
			w.c.RemovePod(uid)
			return PodDeparted
		}
	}
	return 0
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, rand: rand.New(rand.NewPCG(seed, 7)), c: NewCluster(), nodes: map[string]*corev1.Node{}, at: map[types.UID]*corev1.Pod{}}
	w.c.SetNamespace(metav1.NamespaceDefault, nil)
	return w
}
