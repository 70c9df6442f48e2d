package placement

import (
	"encoding/binary"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
)

// Want is a pod that looks for a node.
type Want struct {
	pod    *corev1.Pod
	demand *demand
	shape  *shape
	// constraints are nil for a pod without rules about other pods.
	constraints *constraints
	// refused is why no node can take the pod whatever it looks like, empty for nearly all.
	refused string
	// kept: at the last attempt, pods on nodes kept this one away by their anti-affinity.
	kept bool
}

// Pod is the pod itself.
func (w *Want) Pod() *corev1.Pod { return w.pod }

// Key is equal for pods that every node treats alike, so that what refuses one refuses the other.
func (w *Want) Key() string { return w.shape.key }

// Alone tells that the pod's chances depend on more than its Key: on other pods, by its rules or theirs.
func (w *Want) Alone() bool { return w.constraints.hard() || w.kept || w.refused != "" }

// shape is what filters and scores read of a pod, in the form they need. Pods of equal key share one.
type shape struct {
	key         string
	demand      *demand
	nodeName    string
	tolerations []corev1.Toleration
	// selector is the node selector and the required node affinity together.
	selector  nodeaffinity.RequiredNodeAffinity
	selects   bool
	preferred *nodeaffinity.PreferredSchedulingTerms
	// pinned: the required affinity names its nodes (as that of a DaemonSet's pods does), and only those are looked at.
	pinned bool
	names  []string
	// owner whose other pods the pod keeps its distance from; empty for none.
	owner types.UID
	// images that some node has, and the number of all images.
	images     []string
	imageCount int
	// fits is the verdict on resources by the set of what is short.
	fits map[uint64]uint16
}

// Want reads a pod that looks for a node.
func (c *Cluster) Want(pod *corev1.Pod) *Want {
	d := c.demands.of(pod)
	images, count := c.images.known(pod)
	c.keyBuf = appendKey(c.keyBuf[:0], pod, d, images, count)
	w := &Want{pod: pod, demand: d, constraints: c.topology.constraints(pod), refused: unmetClaims(pod)}
	if k, ok := c.classes.byKey[string(c.keyBuf)]; ok {
		w.shape = k.shape
	} else {
		w.shape = newShape(string(c.keyBuf), pod, d, images)
		w.shape.imageCount = count
	}
	return w
}

func appendKey(b []byte, pod *corev1.Pod, d *demand, images []string, count int) []byte {
	b = appendText(b, d.key)
	b = appendText(b, pod.Spec.NodeName)
	if selector := pod.Spec.NodeSelector; len(selector) > 0 {
		for _, key := range slices.Sorted(maps.Keys(selector)) {
			b = appendText(appendText(append(b, 's'), key), selector[key])
		}
	}
	for i := range pod.Spec.Tolerations {
		t := &pod.Spec.Tolerations[i]
		if t.Operator == corev1.TolerationOpExists && t.Effect == corev1.TaintEffectNoExecute && unlikelyTaints[t.Key] {
			b = append(b, 'u', t.Key[len(t.Key)-1])
			continue
		}
		b = appendText(appendText(append(b, 't'), t.Key), t.Value)
		b = appendText(appendText(b, string(t.Operator)), string(t.Effect))
	}
	if a := pod.Spec.Affinity; a != nil && a.NodeAffinity != nil {
		if bytes, err := a.NodeAffinity.Marshal(); err == nil {
			b = appendText(append(b, 'a'), string(bytes))
		}
	}
	if count > 0 {
		b = binary.AppendUvarint(append(b, 'n'), uint64(count)) // the same images among more others count for less
	}
	for _, name := range images {
		b = appendText(append(b, 'i'), name)
	}
	if owner := spreader(pod); owner != "" {
		b = appendText(append(b, 'o'), string(owner))
	}
	return b
}

// unlikelyTaints are tolerated by nearly every pod (admission adds them), so they get a short form in keys.
var unlikelyTaints = map[string]bool{
	corev1.TaintNodeNotReady:    true,
	corev1.TaintNodeUnreachable: true,
}

func newShape(key string, pod *corev1.Pod, d *demand, images []string) *shape {
	s := &shape{key: key, demand: d, nodeName: pod.Spec.NodeName, tolerations: pod.Spec.Tolerations, images: images,
		owner: spreader(pod), fits: map[uint64]uint16{}}
	if len(pod.Spec.NodeSelector) > 0 || pod.Spec.Affinity != nil && pod.Spec.Affinity.NodeAffinity != nil {
		s.selector = nodeaffinity.GetRequiredNodeAffinity(pod)
		s.selects = true
	}
	if pod.Spec.Affinity == nil || pod.Spec.Affinity.NodeAffinity == nil {
		return s
	}
	affinity := pod.Spec.Affinity.NodeAffinity
	if terms := affinity.PreferredDuringSchedulingIgnoredDuringExecution; len(terms) > 0 {
		if preferred, err := nodeaffinity.NewPreferredSchedulingTerms(terms); err == nil {
			s.preferred = preferred
		}
	}
	s.names, s.pinned = namedNodes(affinity.RequiredDuringSchedulingIgnoredDuringExecution)
	return s
}

// namedNodes are the only nodes that an affinity can match, if each of its terms has a field metadata.name.
func namedNodes(required *corev1.NodeSelector) (names []string, pinned bool) {
	if required == nil || len(required.NodeSelectorTerms) == 0 {
		return nil, false
	}
	for _, term := range required.NodeSelectorTerms {
		var inTerm []string
		found := false
		for _, field := range term.MatchFields {
			if field.Key != "metadata.name" || field.Operator != corev1.NodeSelectorOpIn {
				continue
			}
			if found {
				inTerm = slices.DeleteFunc(inTerm, func(n string) bool { return !slices.Contains(field.Values, n) })
			} else {
				inTerm = slices.Clone(field.Values)
			}
			found = true
		}
		if !found {
			return nil, false
		}
		names = append(names, inTerm...)
	}
	slices.Sort(names)
	return slices.Compact(names), true
}

func (s *shape) tolerates(taint *corev1.Taint) bool {
	for i := range s.tolerations {
		if s.tolerations[i].ToleratesTaint(klog.Logger{}, taint, true) {
			return true
		}
	}
	return false
}

// unmetClaims names the first claim that the pod waits for. Neither volume claims nor resource claims are bound here,
// and a pod that needs one must not go to a node that cannot give it.
func unmetClaims(pod *corev1.Pod) string {
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		switch {
		case v.PersistentVolumeClaim != nil:
			return `persistentvolumeclaim "` + v.PersistentVolumeClaim.ClaimName + `" not found`
		case v.Ephemeral != nil:
			return `waiting for ephemeral volume controller to create the persistentvolumeclaim "` + pod.Name + "-" + v.Name + `"`
		}
	}
	for i := range pod.Spec.ResourceClaims {
		r := &pod.Spec.ResourceClaims[i]
		if r.ResourceClaimName != nil {
			return `resourceclaim "` + *r.ResourceClaimName + `" not found`
		}
		return "waiting for resource claim controller to create the resourceclaim of " + strings.TrimSpace(r.Name)
	}
	return ""
}

// KeepVerdict takes over what the last attempt found out about the same pod.
func (w *Want) KeepVerdict(last *Want) { w.kept = last.kept }

// HelpedBy tells whether a refused pod that is Alone may find a node after pods came to nodes, or after pods left
// nodes or nodes changed.
func (w *Want) HelpedBy(arrived, departed bool) bool {
	if w.refused != "" {
		return false
	}
	if w.constraints.hard() && len(w.constraints.spread)+len(w.constraints.affinity) > 0 {
		return arrived || departed
	}
	return departed
}
