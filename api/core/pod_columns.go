package core

import (
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
)

const none = "<none>"

// podColumns are what kubectl get pods shows.
var podColumns = kind.Columns([]kind.Column[corev1.Pod]{
	kind.Text("Ready", "The aggregate readiness state of this pod for accepting traffic.", func(p *corev1.Pod) string {
		s := summarizePod(p)
		return strconv.Itoa(s.ready) + "/" + strconv.Itoa(s.total)
	}),
	kind.Text("Status", "The aggregate status of the containers in this pod.", func(p *corev1.Pod) string { return summarizePod(p).reason }),
	{Name: "Restarts", Type: "string", Description: "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.",
		Cell: func(p *corev1.Pod, now time.Time) any { return summarizePod(p).restartsText(now) }},
},
	kind.Text("IP", kind.Doc(corev1.PodStatus{}, "podIP"), func(p *corev1.Pod) string { return orNone(podIP(p)) }).Wide(),
	kind.Text("Node", kind.Doc(corev1.PodSpec{}, "nodeName"), func(p *corev1.Pod) string { return orNone(p.Spec.NodeName) }).Wide(),
	kind.Text("Nominated Node", kind.Doc(corev1.PodStatus{}, "nominatedNodeName"), func(p *corev1.Pod) string { return orNone(p.Status.NominatedNodeName) }).Wide(),
	kind.Text("Readiness Gates", kind.Doc(corev1.PodSpec{}, "readinessGates"), func(p *corev1.Pod) string { return readinessGatesText(p) }).Wide(),
)

func orNone(s string) string {
	if s == "" {
		return none
	}
	return s
}

// nodeUnreachable is the reason that the node lifecycle controller gives pods of a node it lost.
const nodeUnreachable = "NodeLost"

// podSummary is what a row of kubectl get pods says about the containers.
type podSummary struct {
	ready, total int
	restarts     int
	lastRestart  metav1.Time
	reason       string
}

// summarizePod reads a pod as an operator would: the first thing that keeps it from working is its status.
func summarizePod(p *corev1.Pod) podSummary {
	s := podSummary{total: len(p.Spec.Containers), reason: string(p.Status.Phase)}
	if p.Status.Reason != "" {
		s.reason = p.Status.Reason
	}
	for i := range p.Status.Conditions {
		if c := &p.Status.Conditions[i]; c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonSchedulingGated {
			s.reason = corev1.PodReasonSchedulingGated
		}
	}
	sidecars := map[string]bool{}
	for i := range p.Spec.InitContainers {
		if c := &p.Spec.InitContainers[i]; podspec.Restartable(c) {
			sidecars[c.Name] = true
			s.total++
		}
	}
	initializing, beside := s.addInitContainers(p, sidecars)
	if !initializing || conditionTrue(p, corev1.PodInitialized) {
		// From here on only containers that run beside each other count.
		s.restarts, s.lastRestart = beside.restarts, beside.lastRestart
		s.addContainers(p)
	}
	switch {
	case p.DeletionTimestamp == nil:
	case p.Status.Reason == nodeUnreachable:
		s.reason = "Unknown"
	case p.Status.Phase != corev1.PodFailed && p.Status.Phase != corev1.PodSucceeded:
		s.reason = "Terminating"
	}
	return s
}

// addInitContainers walks the init containers in order and tells whether they are still at work, and the
// restarts of the sidecars alone.
func (s *podSummary) addInitContainers(p *corev1.Pod, sidecars map[string]bool) (initializing bool, beside podSummary) {
	for i := range p.Status.InitContainerStatuses {
		c := &p.Status.InitContainerStatuses[i]
		s.restarts += int(c.RestartCount)
		noteRestart(&s.lastRestart, c)
		if sidecars[c.Name] {
			beside.restarts += int(c.RestartCount)
			noteRestart(&beside.lastRestart, c)
		}
		switch {
		case c.State.Terminated != nil && c.State.Terminated.ExitCode == 0:
			continue
		case sidecars[c.Name] && c.Started != nil && *c.Started:
			if c.Ready {
				s.ready++
			}
			continue
		case c.State.Terminated != nil:
			s.reason = "Init:" + terminatedReason(c.State.Terminated)
		case c.State.Waiting != nil && c.State.Waiting.Reason != "" && c.State.Waiting.Reason != "PodInitializing":
			s.reason = "Init:" + c.State.Waiting.Reason
		default:
			s.reason = fmt.Sprintf("Init:%d/%d", i, len(p.Spec.InitContainers))
		}
		return true, beside
	}
	return false, beside
}

func (s *podSummary) addContainers(p *corev1.Pod) {
	running := false
	for i := len(p.Status.ContainerStatuses) - 1; i >= 0; i-- {
		c := &p.Status.ContainerStatuses[i]
		s.restarts += int(c.RestartCount)
		noteRestart(&s.lastRestart, c)
		switch {
		case c.State.Waiting != nil && c.State.Waiting.Reason != "":
			s.reason = c.State.Waiting.Reason
		case c.State.Terminated != nil:
			s.reason = terminatedReason(c.State.Terminated)
		case c.Ready && c.State.Running != nil:
			running = true
			s.ready++
		}
	}
	if s.reason == "Completed" && running {
		s.reason = "NotReady"
		if conditionTrue(p, corev1.PodReady) {
			s.reason = "Running"
		}
	}
}

func terminatedReason(t *corev1.ContainerStateTerminated) string {
	switch {
	case t.Reason != "":
		return t.Reason
	case t.Signal != 0:
		return fmt.Sprintf("Signal:%d", t.Signal)
	}
	return fmt.Sprintf("ExitCode:%d", t.ExitCode)
}

func noteRestart(last *metav1.Time, c *corev1.ContainerStatus) {
	if t := c.LastTerminationState.Terminated; t != nil && last.Before(&t.FinishedAt) {
		*last = t.FinishedAt
	}
}

func (s podSummary) restartsText(now time.Time) string {
	if s.restarts == 0 || s.lastRestart.IsZero() {
		return strconv.Itoa(s.restarts)
	}
	return fmt.Sprintf("%d (%s ago)", s.restarts, kind.Age(s.lastRestart, now))
}

func readinessGatesText(p *corev1.Pod) string {
	if len(p.Spec.ReadinessGates) == 0 {
		return none
	}
	open := 0
	for _, gate := range p.Spec.ReadinessGates {
		if conditionTrue(p, gate.ConditionType) {
			open++
		}
	}
	return fmt.Sprintf("%d/%d", open, len(p.Spec.ReadinessGates))
}

func conditionTrue(p *corev1.Pod, t corev1.PodConditionType) bool {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == t {
			return p.Status.Conditions[i].Status == corev1.ConditionTrue
		}
	}
	return false
}
