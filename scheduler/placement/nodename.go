package placement

import corev1 "k8s.io/api/core/v1"

// nodeName lets a pod that asks for a node by spec.nodeName go to that one alone.
var nodeName = plugin{
	refusals: []Verdict{
		{Reasons: []string{"node(s) didn't match the requested node name"}, Unresolvable: true},
	},
	keyPart: func(_ *Cluster, b []byte, pod *corev1.Pod, _ *demand) []byte { return append(b, pod.Spec.NodeName...) },
	prepare: func(s *setup) prepared {
		name, refusal := string(s.keyPart), s.refusal
		if name == "" {
			return prepared{}
		}
		return prepared{filter: func(n *node) uint16 {
			if n.name != name {
				return refusal
			}
			return fits
		}}
	},
}
