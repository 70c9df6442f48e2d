package placement

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// world is a random cluster beside a plain record of it, from which a test judges what the cluster decides.
type world struct {
	t     *testing.T
	rand  *rand.Rand
	c     *Cluster
	nodes map[string]*corev1.Node
	// at is where each pod is.
	at   map[types.UID]*corev1.Pod
	next int
	// events of the last change of a node.
	events Events
	// prioritize gives pods priorities; relabels changes their labels on nodes, after which rules about them need not hold.
	prioritize, relabels bool
}

// TestRandomClusters changes clusters at random, and checks of each placement that it is allowed, and that its score is
// the best of all nodes evaluated anew.
func TestRandomClusters(t *testing.T) {
	for seed := range uint64(40) {
		w := &world{t: t, rand: rand.New(rand.NewPCG(seed, 7)), c: NewCluster(), nodes: map[string]*corev1.Node{}, at: map[types.UID]*corev1.Pod{}}
		for range 3 + w.rand.IntN(12) {
			w.setNode(fmt.Sprintf("n%d", w.rand.IntN(15)))
		}
		for range 400 {
			w.step()
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
	}
}

func (w *world) step() {
	switch n := w.rand.IntN(20); {
	case n < 2:
		w.setNode(fmt.Sprintf("n%d", w.rand.IntN(15)))
	case n == 2 && w.rand.IntN(4) == 0:
		name := fmt.Sprintf("n%d", w.rand.IntN(15))
		delete(w.nodes, name)
		w.c.RemoveNode(name)
	case n < 7:
		for uid := range w.at {
			delete(w.at, uid)
			w.c.RemovePod(uid)
			break
		}
	case n == 7:
		for uid, pod := range w.at {
			ending := pod.DeepCopy()
			ending.DeletionTimestamp = &metav1.Time{}
			ending.Generation++
			w.at[uid] = ending
			w.c.SetPod(ending)
			break
		}
	default:
		w.place(w.pod())
	}
}

func (w *world) setNode(name string) {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}}
	if w.rand.IntN(4) > 0 {
		n.Labels[corev1.LabelTopologyZone] = fmt.Sprintf("z%d", w.rand.IntN(3))
	}
	n.Labels["disk"] = []string{"ssd", "hdd"}[w.rand.IntN(2)]
	n.Status.Allocatable = resourceList(int64(1000+w.rand.IntN(8)*1000), int64(1+w.rand.IntN(16))<<30, int64(w.rand.IntN(3)))
	n.Status.Allocatable[corev1.ResourcePods] = *resource.NewQuantity(int64(3+w.rand.IntN(20)), resource.DecimalSI)
	if w.rand.IntN(5) == 0 {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: "dedicated", Value: "db", Effect: corev1.TaintEffectNoSchedule})
	}
	for range w.rand.IntN(3) {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: fmt.Sprintf("slow%d", w.rand.IntN(2)), Effect: corev1.TaintEffectPreferNoSchedule})
	}
	n.Spec.Unschedulable = w.rand.IntN(12) == 0
	if w.rand.IntN(3) == 0 {
		n.Status.Images = []corev1.ContainerImage{{Names: []string{"app:1"}, SizeBytes: int64(w.rand.IntN(1200)) << 20}}
	}
	w.nodes[name] = n
	w.events = w.c.SetNode(n)
}

func resourceList(milliCPU, memory, gpus int64) corev1.ResourceList {
	l := corev1.ResourceList{}
	if milliCPU > 0 {
		l[corev1.ResourceCPU] = *resource.NewMilliQuantity(milliCPU, resource.DecimalSI)
	}
	if memory > 0 {
		l[corev1.ResourceMemory] = *resource.NewQuantity(memory, resource.BinarySI)
	}
	if gpus > 0 {
		l["x/gpu"] = *resource.NewQuantity(gpus, resource.DecimalSI)
	}
	return l
}

func (w *world) pod() *corev1.Pod {
	w.next++
	name := fmt.Sprintf("p%d", w.next)
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID(name), Generation: 1,
		Labels: map[string]string{"app": fmt.Sprintf("a%d", w.rand.IntN(3))}}}
	if w.prioritize {
		priority := int32(w.rand.IntN(4))
		p.Spec.Priority = &priority
	}
	c := corev1.Container{Name: "c", Image: []string{"app:1", "web"}[w.rand.IntN(2)]}
	c.Resources.Requests = resourceList(int64(w.rand.IntN(4)*300), int64(w.rand.IntN(3))<<30, int64(w.rand.IntN(8)/7))
	if w.rand.IntN(6) == 0 {
		c.Ports = []corev1.ContainerPort{{HostPort: int32(80 + w.rand.IntN(2)), Protocol: corev1.ProtocolTCP}}
	}
	p.Spec.Containers = []corev1.Container{c}
	for range w.rand.IntN(3) { // the more images, the less each counts
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{
			Image: &corev1.ImageVolumeSource{Reference: []string{"app:1", "data"}[w.rand.IntN(2)]}}})
	}
	if w.rand.IntN(3) == 0 {
		p.Spec.Tolerations = []corev1.Toleration{{Key: "dedicated", Operator: corev1.TolerationOpExists}, {Key: "slow1", Operator: corev1.TolerationOpExists}}
	}
	if w.rand.IntN(3) == 0 {
		p.Spec.NodeSelector = map[string]string{"disk": "ssd"}
	}
	if w.rand.IntN(3) == 0 {
		p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{
			{Weight: 7, Preference: in(corev1.LabelTopologyZone, "z1")}, {Weight: 3, Preference: in("disk", "hdd")}}}}
	}
	if w.rand.IntN(2) == 0 {
		yes := true
		p.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", UID: types.UID(fmt.Sprintf("rs%d", w.rand.IntN(4))), Controller: &yes}}
	}
	if w.rand.IntN(8) == 0 {
		p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: corev1.LabelTopologyZone,
			WhenUnsatisfiable: []corev1.UnsatisfiableConstraintAction{corev1.DoNotSchedule, corev1.ScheduleAnyway}[w.rand.IntN(2)],
			LabelSelector:     &metav1.LabelSelector{MatchLabels: p.Labels}}}
	}
	if w.rand.IntN(8) == 0 {
		p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{
			{Weight: 10, PodAffinityTerm: corev1.PodAffinityTerm{TopologyKey: corev1.LabelTopologyZone, LabelSelector: &metav1.LabelSelector{MatchLabels: p.Labels}}}}}}
	}
	if w.rand.IntN(12) == 0 {
		p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{
			{TopologyKey: corev1.LabelTopologyZone, LabelSelector: &metav1.LabelSelector{MatchLabels: p.Labels}}}}}
	}
	if w.rand.IntN(8) == 0 {
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{
			{TopologyKey: corev1.LabelHostname, LabelSelector: &metav1.LabelSelector{MatchLabels: p.Labels}}}}}
	}
	return p
}

func in(key, value string) corev1.NodeSelectorTerm {
	return corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: key, Operator: corev1.NodeSelectorOpIn, Values: []string{value}}}}
}

func (w *world) place(pod *corev1.Pod) {
	pending := w.c.Pending(pod)
	d := w.c.Decide(pending)
	best, feasible := w.bestOfAll(pending)
	if feasible == 0 {
		if d.Node != "" {
			w.t.Errorf("%s went to %s, which cannot take it", pod.Name, d.Node)
		} else if d.Why.String() == "" {
			w.t.Errorf("%s: nothing explains why no node takes it", pod.Name)
		}
		return
	}
	if d.Node == "" {
		w.t.Errorf("%s: %s; but %d nodes can take it", pod.Name, d.Why, feasible)
		return
	}
	if d.Score != best || d.Feasible != feasible {
		w.t.Errorf("%s went to %s with score %d of %d nodes; the best of %d nodes has %d", pod.Name, d.Node, d.Score, d.Feasible, feasible, best)
	}
	w.c.Assume(pending, d.Node)
	bound := pod.DeepCopy()
	bound.Spec.NodeName = d.Node
	w.at[pod.UID] = bound
	if w.rand.IntN(2) == 0 {
		w.c.SetPod(bound)
	}
	if !w.relabels {
		w.checkAllowed(bound)
	}
}

// bestOfAll evaluates every node for the pod, without any class.
func (w *world) bestOfAll(p *PendingPod) (best int64, feasible int) {
	k, rules := w.c.prepare(p.key), w.c.amongOthers(p, nil)
	found := candidates{}
	for _, n := range w.c.nodes {
		if k.judge(n) != fits || slices.ContainsFunc(rules, func(r rule) bool { return r.filter != nil && r.filter(n) != fits }) {
			continue
		}
		found.list = append(found.list, candidate{n: n, score: k.score(n), level: int32(len(found.levels))})
		found.levels = append(found.levels, occurrence{level: k.level(n)})
	}
	for _, r := range rules {
		if r.score != nil {
			r.score(found.list, r.weight)
		}
	}
	found.scale(k)
	for _, a := range found.list {
		best = max(best, int64(a.score)+found.levels[a.level].score+a.among)
	}
	return best, len(found.list)
}

// checkAllowed judges from the plain record alone.
func (w *world) checkAllowed(pod *corev1.Pod) {
	n := w.nodes[pod.Spec.NodeName]
	if n == nil || n.Spec.Unschedulable {
		w.t.Errorf("%s is on %s, which takes no pods", pod.Name, pod.Spec.NodeName)
		return
	}
	for _, taint := range n.Spec.Taints {
		if taint.Key == "dedicated" && len(pod.Spec.Tolerations) == 0 {
			w.t.Errorf("%s does not tolerate the taint of %s", pod.Name, n.Name)
		}
	}
	if pod.Spec.NodeSelector != nil && n.Labels["disk"] != "ssd" {
		w.t.Errorf("%s does not select %s", pod.Name, n.Name)
	}
	sum := corev1.ResourceList{}
	pods, ports := int64(0), map[int32]int{}
	for _, other := range w.at {
		if other.Spec.NodeName != n.Name {
			continue
		}
		pods++
		for name, q := range other.Spec.Containers[0].Resources.Requests {
			total := sum[name]
			total.Add(q)
			sum[name] = total
		}
		for _, p := range other.Spec.Containers[0].Ports {
			ports[p.HostPort]++
		}
		anti := other.Spec.Affinity != nil && other.Spec.Affinity.PodAntiAffinity != nil
		if anti && other.UID != pod.UID && other.Labels["app"] == pod.Labels["app"] {
			w.t.Errorf("%s is together with %s, which keeps it away", pod.Name, other.Name)
		}
	}
	for name := range pod.Spec.Containers[0].Resources.Requests {
		total, most := sum[name], n.Status.Allocatable[name]
		if total.Cmp(most) > 0 {
			w.t.Errorf("%s: %s of %s are requested, %s are there", n.Name, total.String(), name, most.String())
		}
	}
	if most := n.Status.Allocatable[corev1.ResourcePods]; pods > most.Value() {
		w.t.Errorf("%s: %d pods of %d", n.Name, pods, most.Value())
	}
	for _, p := range pod.Spec.Containers[0].Ports {
		if ports[p.HostPort] > 1 {
			w.t.Errorf("%s: port %d is taken twice", n.Name, p.HostPort)
		}
	}
}
