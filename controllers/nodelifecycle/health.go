package nodelifecycle

import (
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/controllers/internal/nodestate"
)

const (
	reasonNeverUpdated = "NodeStatusNeverUpdated"
	reasonUnknown      = "NodeStatusUnknown"
)

// health is what this process has seen of one node's signs of life. Times are this process's own clock's: clocks of nodes
// are not trusted.
type health struct {
	// seen is when the last sign of life was seen.
	seen time.Time
	// heartbeat and renewed are the values last seen of the Ready condition and of the Lease; a sign of life is
	// that one of them changed.
	heartbeat, renewed time.Time
	hasReady           bool
}

// observe updates a node's health by what is there now; the zero health is of a node seen for the first time.
func observe(h health, node *corev1.Node, lease *coordinationv1.Lease, now time.Time) health {
	ready := nodestate.Condition(node, corev1.NodeReady)
	first := h.seen.IsZero()
	switch {
	case first && ready == nil:
		h.seen = node.CreationTimestamp.Time
		if h.seen.IsZero() {
			h.seen = now
		}
	case first, h.hasReady != (ready != nil), ready != nil && !h.heartbeat.Equal(ready.LastHeartbeatTime.Time):
		h.seen = now
	}
	h.hasReady = ready != nil
	if ready != nil {
		h.heartbeat = ready.LastHeartbeatTime.Time
	}
	if lease != nil && lease.Spec.RenewTime != nil && h.renewed.Before(lease.Spec.RenewTime.Time) {
		h.renewed, h.seen = lease.Spec.RenewTime.Time, now
	}
	return h
}

// silent tells that no sign of life has come for longer than the grace period (the startup's, before a node's first status).
func (h health) silent(now time.Time, grace, startup time.Duration) bool {
	if !h.hasReady {
		grace = startup
	}
	return now.After(h.seen.Add(grace))
}

// silenced is the node with all conditions that its kubelet should have posted Unknown; nil if they are.
func silenced(node *corev1.Node, now time.Time) *corev1.Node {
	changed := node.DeepCopy()
	any := false
	for _, t := range []corev1.NodeConditionType{corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure} {
		c := nodestate.Condition(changed, t)
		switch {
		case c == nil:
			changed.Status.Conditions = append(changed.Status.Conditions, corev1.NodeCondition{
				Type: t, Status: corev1.ConditionUnknown, Reason: reasonNeverUpdated, Message: "Kubelet never posted node status.",
				LastHeartbeatTime: node.CreationTimestamp, LastTransitionTime: metav1.NewTime(now),
			})
		case c.Status != corev1.ConditionUnknown:
			c.Status, c.Reason, c.Message = corev1.ConditionUnknown, reasonUnknown, "Kubelet stopped posting node status."
			c.LastTransitionTime = metav1.NewTime(now)
		default:
			continue
		}
		any = true
	}
	if !any {
		return nil
	}
	return changed
}

// unreadyPod is the pod with its Ready condition False; nil if it is, or if it has none.
func unreadyPod(p *corev1.Pod, now time.Time) *corev1.Pod {
	for i := range p.Status.Conditions {
		if c := &p.Status.Conditions[i]; c.Type != corev1.PodReady || c.Status == corev1.ConditionFalse {
			continue
		}
		changed := p.DeepCopy()
		changed.Status.Conditions[i].Status = corev1.ConditionFalse
		changed.Status.Conditions[i].LastTransitionTime = metav1.NewTime(now)
		return changed
	}
	return nil
}
