// Package nodestate tells in which state a node is, by its conditions.
package nodestate

import corev1 "k8s.io/api/core/v1"

// Condition is the node's condition of a type, nil if it has none.
func Condition(n *corev1.Node, t corev1.NodeConditionType) *corev1.NodeCondition {
	for i := range n.Status.Conditions {
		if c := &n.Status.Conditions[i]; c.Type == t {
			return c
		}
	}
	return nil
}

// Ready is the node's Ready status; Unknown if it has none.
func Ready(n *corev1.Node) corev1.ConditionStatus {
	if c := Condition(n, corev1.NodeReady); c != nil {
		return c.Status
	}
	return corev1.ConditionUnknown
}
