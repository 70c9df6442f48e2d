package placement

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
)

// taintToleration keeps pods from nodes with NoSchedule and NoExecute taints that they do not tolerate; of the others it prefers
// those with few PreferNoSchedule taints that they do not tolerate.
var taintToleration = plugin{
	reads: NodeTaints,
	refusals: []Verdict{
		{Reasons: []string{"node(s) had untolerated taint(s)"}, Unresolvable: true, HelpedBy: NodeTaints},
	},
	keyPart: func(_ *Cluster, b []byte, pod *corev1.Pod, _ *demand) []byte {
		return appendTolerations(b, pod.Spec.Tolerations)
	},
	prepare: func(s *setup) prepared {
		tolerations, refusal := readTolerations(s.keyPart), s.refusal
		return prepared{
			filter: func(n *node) uint16 {
				for i := range n.refusing {
					if !tolerates(tolerations, &n.refusing[i]) {
						return refusal
					}
				}
				return fits
			},
			scaled: scaled{
				level: func(n *node) (untolerated levelPart) {
					for i := range n.preferNoSchedule {
						if !tolerates(tolerations, &n.preferNoSchedule[i]) {
							untolerated[0]++
						}
					}
					return untolerated
				},
				scale: func(of []occurrence, at int, weight int64) {
					most := highest(of, at)
					for i := range of {
						score := int64(scoreMax)
						if most > 0 {
							score -= scoreMax * int64(of[i].level[at][0]) / most
						}
						of[i].score += weight * score
					}
				},
			},
		}
	},
}

// likelyTolerations have a short form in keys, since admission adds them to nearly every pod.
var likelyTolerations = []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable}

func likelyToleration(t *corev1.Toleration) int {
	if t.Operator == corev1.TolerationOpExists && t.Effect == corev1.TaintEffectNoExecute {
		for i, key := range likelyTolerations {
			if key == t.Key {
				return i
			}
		}
	}
	return -1
}

// appendTolerations leaves out for how long they are, which is not for the scheduler.
func appendTolerations(b []byte, tolerations []corev1.Toleration) []byte {
	for i := range tolerations {
		t := &tolerations[i]
		if n := likelyToleration(t); n >= 0 {
			b = append(b, byte(n))
			continue
		}
		b = append(b, byte(len(likelyTolerations)))
		b = appendText(appendText(b, t.Key), t.Value)
		b = appendText(appendText(b, string(t.Operator)), string(t.Effect))
	}
	return b
}

func readTolerations(p keyPart) (tolerations []corev1.Toleration) {
	for p.more() {
		if n := int(p.byte()); n < len(likelyTolerations) {
			tolerations = append(tolerations, corev1.Toleration{Key: likelyTolerations[n], Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute})
			continue
		}
		tolerations = append(tolerations, corev1.Toleration{Key: p.text(), Value: p.text(),
			Operator: corev1.TolerationOperator(p.text()), Effect: corev1.TaintEffect(p.text())})
	}
	return tolerations
}

func tolerates(tolerations []corev1.Toleration, taint *corev1.Taint) bool {
	for i := range tolerations {
		if tolerations[i].ToleratesTaint(klog.Logger{}, taint, true) {
			return true
		}
	}
	return false
}
