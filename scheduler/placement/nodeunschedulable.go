package placement

import corev1 "k8s.io/api/core/v1"

// nodeUnschedulable keeps pods from cordoned nodes, unless they tolerate the taint that stands for it.
var nodeUnschedulable = plugin{
	reads: NodeSchedulable,
	refusals: []Verdict{
		{Reasons: []string{"node(s) were unschedulable"}, Unresolvable: true, HelpedBy: NodeSchedulable},
	},
	keyPart: func(_ *Cluster, b []byte, pod *corev1.Pod, _ *demand) []byte {
		if tolerates(pod.Spec.Tolerations, &unschedulableTaint) {
			return append(b, 't')
		}
		return b
	},
	prepare: func(s *setup) prepared {
		if s.keyPart.more() {
			return prepared{}
		}
		refusal := s.refusal
		return prepared{filter: func(n *node) uint16 {
			if n.object.Spec.Unschedulable {
				return refusal
			}
			return fits
		}}
	},
}

var unschedulableTaint = corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}
