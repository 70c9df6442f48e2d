package placement

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// nodeAffinity lets pods go only to nodes that their node selector and required node affinity match, and rather to those that
// their preferred affinity terms match.
var nodeAffinity = plugin{
	reads: NodeLabels,
	refusals: []Verdict{
		{Reasons: []string{"node(s) didn't match Pod's node affinity/selector"}, Unresolvable: true, HelpedBy: NodeLabels},
		{Reasons: []string{"node(s) didn't satisfy plugin(s) [NodeAffinity]"}, Unresolvable: true},
	},
	keyPart: func(_ *Cluster, b []byte, pod *corev1.Pod, _ *demand) []byte { return appendNodeAffinity(b, pod) },
	prepare: func(s *setup) (made prepared) {
		if !s.keyPart.more() {
			return prepared{}
		}
		pod := readNodeAffinity(s.keyPart)
		required, refusal := nodeaffinity.GetRequiredNodeAffinity(pod), s.refusal
		made.filter = func(n *node) uint16 {
			if match, err := required.Match(n.object); err != nil || !match {
				return refusal
			}
			return fits
		}
		if pod.Spec.Affinity == nil {
			return made
		}
		affinity := pod.Spec.Affinity.NodeAffinity
		if preferredTerms := affinity.PreferredDuringSchedulingIgnoredDuringExecution; len(preferredTerms) > 0 {
			if preferred, err := nodeaffinity.NewPreferredSchedulingTerms(preferredTerms); err == nil {
				made.scaled = scaled{scale: scalePreferred, level: func(n *node) levelPart { return levelPart{int32(preferred.Score(n.object))} }}
			}
		}
		made.names, made.named = namedNodes(affinity.RequiredDuringSchedulingIgnoredDuringExecution)
		made.unnamed = s.refusal + 1
		return made
	},
}

func scalePreferred(of []occurrence, at int, weight int64) {
	if most := highest(of, at); most > 0 {
		for i := range of {
			of[i].score += weight * (scoreMax * int64(of[i].level[at][0]) / most)
		}
	}
}

func appendNodeAffinity(b []byte, pod *corev1.Pod) []byte {
	if selector := pod.Spec.NodeSelector; len(selector) > 0 {
		for _, key := range slices.Sorted(maps.Keys(selector)) {
			b = appendText(appendText(append(b, 's'), key), selector[key])
		}
	}
	if a := pod.Spec.Affinity; a != nil && a.NodeAffinity != nil {
		encoded, err := a.NodeAffinity.Marshal()
		if err != nil {
			panic(err) // strings and numbers always encode
		}
		b = append(append(b, 'a'), encoded...)
	}
	return b
}

// readNodeAffinity is a pod that says of nodes what the part says.
func readNodeAffinity(p keyPart) *corev1.Pod {
	pod := &corev1.Pod{}
	for p.more() {
		if p.byte() == 'a' {
			a := &corev1.NodeAffinity{}
			if err := a.Unmarshal([]byte(p)); err != nil {
				panic(err) // it was encoded by appendNodeAffinity
			}
			pod.Spec.Affinity = &corev1.Affinity{NodeAffinity: a}
			break
		}
		if pod.Spec.NodeSelector == nil {
			pod.Spec.NodeSelector = map[string]string{}
		}
		key := p.text()
		pod.Spec.NodeSelector[key] = p.text()
	}
	return pod
}

// namedNodes are the only nodes that an affinity can match, if each of its node selector terms has a field metadata.name (as in the
// pods of a DaemonSet).
func namedNodes(required *corev1.NodeSelector) (names []string, named bool) {
	if required == nil || len(required.NodeSelectorTerms) == 0 {
		return nil, false
	}
	for _, selectorTerm := range required.NodeSelectorTerms {
		var inTerm []string
		found := false
		for _, field := range selectorTerm.MatchFields {
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
