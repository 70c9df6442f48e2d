package nodelifecycle

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/controllers/internal/nodestate"
)

// conditionTaints says which taint keeps new pods off a node while a condition has a status.
var conditionTaints = []struct {
	condition corev1.NodeConditionType
	status    corev1.ConditionStatus
	key       string
}{
	{corev1.NodeReady, corev1.ConditionFalse, corev1.TaintNodeNotReady},
	{corev1.NodeReady, corev1.ConditionUnknown, corev1.TaintNodeUnreachable},
	{corev1.NodeMemoryPressure, corev1.ConditionTrue, corev1.TaintNodeMemoryPressure},
	{corev1.NodeDiskPressure, corev1.ConditionTrue, corev1.TaintNodeDiskPressure},
	{corev1.NodeNetworkUnavailable, corev1.ConditionTrue, corev1.TaintNodeNetworkUnavailable},
	{corev1.NodePIDPressure, corev1.ConditionTrue, corev1.TaintNodePIDPressure},
}

func isConditionTaint(t corev1.Taint) bool {
	if t.Effect != corev1.TaintEffectNoSchedule {
		return false
	}
	return t.Key == corev1.TaintNodeUnschedulable || slices.ContainsFunc(conditionTaints, func(c struct {
		condition corev1.NodeConditionType
		status    corev1.ConditionStatus
		key       string
	}) bool {
		return c.key == t.Key
	})
}

// schedulingTaints are the node's taints with the NoSchedule taints that its conditions and spec.unschedulable call for,
// and without those that they do not.
func schedulingTaints(node *corev1.Node, now time.Time) []corev1.Taint {
	var want []string
	for _, c := range conditionTaints {
		if have := nodestate.Condition(node, c.condition); have != nil && have.Status == c.status {
			want = append(want, c.key)
		}
	}
	if node.Spec.Unschedulable {
		want = append(want, corev1.TaintNodeUnschedulable)
	}
	var taints []corev1.Taint
	for _, t := range node.Spec.Taints {
		if isConditionTaint(t) {
			at := slices.Index(want, t.Key)
			if at < 0 {
				continue
			}
			want = slices.Delete(want, at, at+1)
		}
		taints = append(taints, t)
	}
	stamp := metav1.NewTime(now)
	for _, key := range want {
		taints = append(taints, corev1.Taint{Key: key, Effect: corev1.TaintEffectNoSchedule, TimeAdded: &stamp})
	}
	return taints
}

// eviction is what is to be done about the NoExecute taints of a node, which drive its pods away.
type eviction int

const (
	leave eviction = iota
	// clear takes both taints off: the node is ready.
	clearTaints
	// swap replaces one taint by the other: the node is tainted already, only the reason changed.
	swapTaints
	// add taints the node, when the rate of its zone allows.
	addTaint
)

var evictionKeys = []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable}

func isEvictionTaint(t corev1.Taint) bool {
	return t.Effect == corev1.TaintEffectNoExecute && slices.Contains(evictionKeys, t.Key)
}

// judgeEviction decides by the node's Ready condition; key is the taint that it calls for.
func judgeEviction(node *corev1.Node) (do eviction, key string) {
	ready := nodestate.Condition(node, corev1.NodeReady)
	if ready == nil {
		// A node that has not reported yet has no pods to drive away; it is judged when it falls silent.
		return leave, ""
	}
	tainted := slices.ContainsFunc(node.Spec.Taints, isEvictionTaint)
	switch ready.Status {
	case corev1.ConditionTrue:
		if tainted {
			return clearTaints, ""
		}
		return leave, ""
	case corev1.ConditionFalse:
		key = corev1.TaintNodeNotReady
	default:
		key = corev1.TaintNodeUnreachable
	}
	others := 0
	has := false
	for _, t := range node.Spec.Taints {
		if isEvictionTaint(t) {
			has = has || t.Key == key
			if t.Key != key {
				others++
			}
		}
	}
	switch {
	case has && others == 0:
		return leave, key
	case tainted:
		return swapTaints, key
	}
	return addTaint, key
}

// withEviction are taints with exactly one NoExecute taint of this controller, or none for key "".
func withEviction(taints []corev1.Taint, key string, now time.Time) []corev1.Taint {
	var kept []corev1.Taint
	for _, t := range taints {
		if !isEvictionTaint(t) {
			kept = append(kept, t)
		}
	}
	if key != "" {
		stamp := metav1.NewTime(now)
		kept = append(kept, corev1.Taint{Key: key, Effect: corev1.TaintEffectNoExecute, TimeAdded: &stamp})
	}
	return kept
}

// mirroredLabels are labels of which an older name is kept with the same value.
var mirroredLabels = map[string]string{
	corev1.LabelOSStable:   "beta.kubernetes.io/os",
	corev1.LabelArchStable: "beta.kubernetes.io/arch",
}

// mirrorLabels sets the older names in labels; true if that changed anything.
func mirrorLabels(labels map[string]string) bool {
	changed := false
	for name, older := range mirroredLabels {
		if v, ok := labels[name]; ok && labels[older] != v {
			labels[older] = v
			changed = true
		}
	}
	return changed
}
