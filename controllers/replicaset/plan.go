package replicaset

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/wheelhouse-k8s/wheelhouse/controllers/internal/podstate"
)

// burst bounds the pods that one run creates or deletes; a run that reaches it is followed by another at once.
const burst = 2500

// plan is what is to be done for a ReplicaSet.
type plan struct {
	// Create is how many pods are missing, Delete the pods that are too many. One of them is zero.
	Create int
	Delete []*corev1.Pod
	// More is set when burst cut Create or Delete.
	More bool
}

// planReplicas compares the active pods with what the ReplicaSet asks for. related are all active pods of
// ReplicaSets with the same owner: on nodes that run many of them, pods are deleted first.
func planReplicas(rs *appsv1.ReplicaSet, active []*corev1.Pod, related func() []*corev1.Pod, now time.Time) plan {
	var p plan
	if rs.DeletionTimestamp != nil {
		return p
	}
	surplus := len(active) - int(ptr.Deref(rs.Spec.Replicas, 1))
	if surplus < 0 {
		p.Create = min(-surplus, burst)
		p.More = -surplus > burst
	}
	if surplus > 0 {
		p.Delete = leastWanted(active, related(), now)[:min(surplus, burst)]
		p.More = surplus > burst
	}
	return p
}

// leastWanted orders pods so that those to delete first come first: what has made the least progress and would be missed
// the least.
func leastWanted(pods, related []*corev1.Pod, now time.Time) []*corev1.Pod {
	onNode := map[string]int{}
	for _, p := range related {
		if podstate.Active(p) {
			onNode[p.Spec.NodeName]++
		}
	}
	ordered := slices.Clone(pods)
	slices.SortFunc(ordered, func(a, b *corev1.Pod) int {
		return cmp.Or(
			cmp.Compare(order(a.Spec.NodeName != ""), order(b.Spec.NodeName != "")),
			cmp.Compare(phaseOrder(a), phaseOrder(b)),
			cmp.Compare(order(podstate.Ready(a) != nil), order(podstate.Ready(b) != nil)),
			cmp.Compare(deletionCost(a), deletionCost(b)),
			-cmp.Compare(onNode[a.Spec.NodeName], onNode[b.Spec.NodeName]),
			compareReadyTime(a, b, now),
			compareRestarts(a, b),
			compareAge(a, b, a.CreationTimestamp, b.CreationTimestamp, now),
			cmp.Compare(a.UID, b.UID),
		)
	})
	return ordered
}

func order(b bool) int {
	if b {
		return 1
	}
	return 0
}

func phaseOrder(p *corev1.Pod) int {
	switch p.Status.Phase {
	case corev1.PodRunning:
		return 2
	case corev1.PodUnknown:
		return 1
	}
	return 0
}

// deletionCost is what a pod says that its deletion costs; 0 if it says nothing, or not in the way that numbers are written: a plus
// sign or leading zeros are none.
func deletionCost(p *corev1.Pod) int64 {
	text := p.Annotations[corev1.PodDeletionCost]
	cost, err := strconv.ParseInt(text, 10, 32)
	if err != nil || text[0] == '+' || text[0] == '0' && text != "0" {
		return 0
	}
	return cost
}

// compareReadyTime puts pods first that became ready later.
func compareReadyTime(a, b *corev1.Pod, now time.Time) int {
	readyA, readyB := podstate.Ready(a), podstate.Ready(b)
	if readyA == nil || readyB == nil {
		return 0
	}
	return compareAge(a, b, readyA.LastTransitionTime, readyB.LastTransitionTime, now)
}

// compareAge compares by the order of magnitude of ages: among pods of about the same age chance decides, in the form of their
// uids, and nothing that would come after. Only of pods with equal times it says nothing.
func compareAge(a, b *corev1.Pod, timeA, timeB metav1.Time, now time.Time) int {
	switch {
	case timeA.Equal(&timeB):
		return 0
	case timeA.IsZero() || timeB.IsZero():
		return cmp.Compare(order(!timeA.IsZero()), order(!timeB.IsZero()))
	}
	return cmp.Or(cmp.Compare(magnitude(now.Sub(timeA.Time)), magnitude(now.Sub(timeB.Time))), cmp.Compare(a.UID, b.UID))
}

func magnitude(d time.Duration) int {
	if d <= 0 {
		return -1
	}
	return int(math.Log2(float64(d)))
}

// compareRestarts puts pods first whose containers restarted more often, sidecars last.
func compareRestarts(a, b *corev1.Pod) int {
	regularA, sidecarA := restarts(a)
	regularB, sidecarB := restarts(b)
	return cmp.Or(-cmp.Compare(regularA, regularB), -cmp.Compare(sidecarA, sidecarB))
}

func restarts(p *corev1.Pod) (regular, sidecar int32) {
	for _, c := range p.Status.ContainerStatuses {
		regular = max(regular, c.RestartCount)
	}
	sidecars := map[string]bool{}
	for _, c := range p.Spec.InitContainers {
		sidecars[c.Name] = c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
	}
	for _, c := range p.Status.InitContainerStatuses {
		if sidecars[c.Name] {
			sidecar = max(sidecar, c.RestartCount)
		}
	}
	return regular, sidecar
}

// planStatus is the ReplicaSet's status for its pods. failed is the error of this run's creations or deletions, and
// creating tells which of them it was. next is when a pod becomes available by the passing of time alone; 0 is never.
func planStatus(rs *appsv1.ReplicaSet, active, terminating []*corev1.Pod, failed error, creating bool, now time.Time) (s appsv1.ReplicaSetStatus, next time.Duration) {
	s = *rs.Status.DeepCopy()
	s.ObservedGeneration = rs.Generation
	s.Replicas = int32(len(active))
	s.TerminatingReplicas = ptr.To(int32(len(terminating)))
	s.FullyLabeledReplicas, s.ReadyReplicas, s.AvailableReplicas = 0, 0, 0
	minReady := time.Duration(rs.Spec.MinReadySeconds) * time.Second
	for _, p := range active {
		if hasLabels(p, rs.Spec.Template.Labels) {
			s.FullyLabeledReplicas++
		}
		ready := podstate.Ready(p)
		if ready == nil {
			continue
		}
		s.ReadyReplicas++
		left := minReady - now.Sub(ready.LastTransitionTime.Time)
		if minReady == 0 || left <= 0 && !ready.LastTransitionTime.IsZero() {
			s.AvailableReplicas++
		} else if next == 0 || left < next {
			next = left
		}
	}
	s.Conditions = failureCondition(s.Conditions, failed, creating, now)
	return s, next
}

func hasLabels(p *corev1.Pod, labels map[string]string) bool {
	for k, v := range labels {
		if have, ok := p.Labels[k]; !ok || have != v {
			return false
		}
	}
	return true
}

// failureCondition sets ReplicaFailure when creating or deleting failed, and takes it off when nothing fails any more.
func failureCondition(conditions []appsv1.ReplicaSetCondition, failed error, creating bool, now time.Time) []appsv1.ReplicaSetCondition {
	at := slices.IndexFunc(conditions, func(c appsv1.ReplicaSetCondition) bool { return c.Type == appsv1.ReplicaSetReplicaFailure })
	switch {
	case failed == nil && at >= 0:
		conditions = slices.Delete(conditions, at, at+1)
		if len(conditions) == 0 {
			return nil
		}
	case failed != nil && at < 0:
		reason := "FailedDelete"
		if creating {
			reason = "FailedCreate"
		}
		conditions = append(conditions, appsv1.ReplicaSetCondition{
			Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now),
			Reason: reason, Message: failed.Error(),
		})
	}
	return conditions
}
