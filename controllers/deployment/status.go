package deployment

import (
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

const (
	reasonPaused    = "DeploymentPaused"
	reasonResumed   = "DeploymentResumed"
	reasonAvailable = "NewReplicaSetAvailable"
	reasonTimedOut  = "ProgressDeadlineExceeded"
)

func hasDeadline(d *appsv1.Deployment) bool {
	return d.Spec.ProgressDeadlineSeconds != nil && *d.Spec.ProgressDeadlineSeconds != noLimit
}

func condition(s *appsv1.DeploymentStatus, t appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range s.Conditions {
		if s.Conditions[i].Type == t {
			return &s.Conditions[i]
		}
	}
	return nil
}

func dropCondition(s *appsv1.DeploymentStatus, t appsv1.DeploymentConditionType) {
	s.Conditions = slices.DeleteFunc(slices.Clone(s.Conditions), func(c appsv1.DeploymentCondition) bool { return c.Type == t })
}

// setCondition puts a condition last, unless one with the same status and reason stands already.
func (p *planner) setCondition(s *appsv1.DeploymentStatus, t appsv1.DeploymentConditionType, status corev1.ConditionStatus, reason, message string) {
	now := metav1.NewTime(p.now)
	setCondition(s, appsv1.DeploymentCondition{
		Type: t, Status: status, Reason: reason, Message: message, LastUpdateTime: now, LastTransitionTime: now,
	})
}

func setCondition(s *appsv1.DeploymentStatus, c appsv1.DeploymentCondition) {
	if have := condition(s, c.Type); have != nil {
		if have.Status == c.Status && have.Reason == c.Reason {
			return
		}
		if have.Status == c.Status {
			c.LastTransitionTime = have.LastTransitionTime
		}
	}
	dropCondition(s, c.Type)
	s.Conditions = append(s.Conditions, c)
}

// notePause tells in the Progressing condition that a Deployment was paused or resumed, so that time spent paused does
// not count against its deadline.
func (p *planner) notePause() {
	if !hasDeadline(p.d) {
		return
	}
	have := condition(&p.d.Status, appsv1.DeploymentProgressing)
	if have != nil && have.Reason == reasonTimedOut {
		return
	}
	noted := have != nil && have.Reason == reasonPaused
	switch {
	case p.d.Spec.Paused && !noted:
		p.setCondition(&p.d.Status, appsv1.DeploymentProgressing, corev1.ConditionUnknown, reasonPaused, "Deployment is paused")
	case !p.d.Spec.Paused && noted:
		p.setCondition(&p.d.Status, appsv1.DeploymentProgressing, corev1.ConditionUnknown, reasonResumed, "Deployment is resumed")
	}
}

// countStatus is the status that the ReplicaSets add up to.
func (p *planner) countStatus() appsv1.DeploymentStatus {
	all := p.all()
	s := appsv1.DeploymentStatus{
		ObservedGeneration: p.d.Generation, Replicas: running(all), AvailableReplicas: available(all),
		TerminatingReplicas: terminating(all), CollisionCount: p.d.Status.CollisionCount,
		Conditions: slices.Clone(p.d.Status.Conditions),
	}
	if p.newest != nil {
		s.UpdatedReplicas = p.newest.Status.Replicas
	}
	for _, rs := range all {
		s.ReadyReplicas += rs.Status.ReadyReplicas
	}
	// Surplus pods that are available can make this negative.
	s.UnavailableReplicas = max(0, total(all)-s.AvailableReplicas)
	if s.AvailableReplicas >= replicas(p.d)-maxUnavailable(p.d) {
		p.setCondition(&s, appsv1.DeploymentAvailable, corev1.ConditionTrue, "MinimumReplicasAvailable", "Deployment has minimum availability.")
	} else {
		p.setCondition(&s, appsv1.DeploymentAvailable, corev1.ConditionFalse, "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
	}
	return s
}

// terminating is unknown (nil) when one of the ReplicaSets has been counted and does not tell.
func terminating(sets []*appsv1.ReplicaSet) *int32 {
	n := int32(0)
	for _, rs := range sets {
		if rs.Status.TerminatingReplicas == nil && rs.Status.ObservedGeneration > 0 {
			return nil
		}
		n += ptr.Deref(rs.Status.TerminatingReplicas, 0)
	}
	return &n
}

// finishStatus sets the status when no rollout is being driven: while paused, scaled or deleted.
func (p *planner) finishStatus() { p.d.Status = p.countStatus() }

// finishRollout sets the status during a rollout, with the conditions that tell how it goes.
func (p *planner) finishRollout() {
	s := p.countStatus()
	have := condition(&p.d.Status, appsv1.DeploymentProgressing)
	if !hasDeadline(p.d) {
		dropCondition(&s, appsv1.DeploymentProgressing)
	}
	complete := s.Replicas == s.UpdatedReplicas && have != nil && have.Reason == reasonAvailable
	if hasDeadline(p.d) && !complete {
		p.judgeProgress(&s, have)
	}
	if failure := replicaFailure(p.newest, p.all()); failure != nil {
		setCondition(&s, *failure)
	} else {
		dropCondition(&s, appsv1.DeploymentReplicaFailure)
	}
	unchanged := equality.Semantic.DeepEqual(p.d.Status, s)
	if unchanged || len(p.plan.actions) == 0 {
		p.lookAgain(p.deadlineLeft(&s))
	}
	p.d.Status = s
}

func (p *planner) judgeProgress(s *appsv1.DeploymentStatus, have *appsv1.DeploymentCondition) {
	what := fmt.Sprintf("Deployment %q", p.d.Name)
	if p.newest != nil {
		what = fmt.Sprintf("ReplicaSet %q", p.newest.Name)
	}
	switch {
	case complete(p.d, s):
		p.setCondition(s, appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonAvailable, what+" has successfully progressed.")
	case progressed(&p.deployment.Status, s):
		// Each step of progress starts the deadline anew: the condition is replaced, not kept.
		now := metav1.NewTime(p.now)
		c := appsv1.DeploymentCondition{
			Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: "ReplicaSetUpdated", Message: what + " is progressing.",
			LastUpdateTime: now, LastTransitionTime: now,
		}
		if have != nil && have.Status == corev1.ConditionTrue {
			c.LastTransitionTime = have.LastTransitionTime
		}
		dropCondition(s, appsv1.DeploymentProgressing)
		s.Conditions = append(s.Conditions, c)
	case timedOut(p.d, s, p.now):
		p.setCondition(s, appsv1.DeploymentProgressing, corev1.ConditionFalse, reasonTimedOut, what+" has timed out progressing.")
	}
}

// complete tells that all pods are of the newest template and available, and no others exist.
func complete(d *appsv1.Deployment, s *appsv1.DeploymentStatus) bool {
	want := replicas(d)
	return s.UpdatedReplicas == want && s.Replicas == want && s.AvailableReplicas == want && s.ObservedGeneration >= d.Generation
}

func progressed(before, after *appsv1.DeploymentStatus) bool {
	return after.UpdatedReplicas > before.UpdatedReplicas ||
		after.Replicas-after.UpdatedReplicas < before.Replicas-before.UpdatedReplicas ||
		after.ReadyReplicas > before.ReadyReplicas || after.AvailableReplicas > before.AvailableReplicas
}

func timedOut(d *appsv1.Deployment, s *appsv1.DeploymentStatus, now time.Time) bool {
	c := condition(s, appsv1.DeploymentProgressing)
	if c == nil || c.Reason == reasonAvailable {
		return false
	}
	return c.Reason == reasonTimedOut || c.LastUpdateTime.Add(deadline(d)).Before(now)
}

func deadline(d *appsv1.Deployment) time.Duration {
	return time.Duration(ptr.Deref(d.Spec.ProgressDeadlineSeconds, 0)) * time.Second
}

// deadlineLeft is when to look again whether the deadline has passed.
func (p *planner) deadlineLeft(s *appsv1.DeploymentStatus) time.Duration {
	c := condition(s, appsv1.DeploymentProgressing)
	if !hasDeadline(p.d) || c == nil || complete(p.d, s) || c.Reason == reasonTimedOut || c.Reason == reasonAvailable {
		return 0
	}
	return max(0, c.LastUpdateTime.Add(deadline(p.d)).Sub(p.now)) + time.Second
}

// replicaFailure is what keeps the ReplicaSets from having their pods, the newest one's first.
func replicaFailure(newest *appsv1.ReplicaSet, all []*appsv1.ReplicaSet) *appsv1.DeploymentCondition {
	if newest != nil {
		all = append([]*appsv1.ReplicaSet{newest}, all...)
	}
	for _, rs := range all {
		for _, c := range rs.Status.Conditions {
			if c.Type == appsv1.ReplicaSetReplicaFailure {
				return &appsv1.DeploymentCondition{
					Type: appsv1.DeploymentReplicaFailure, Status: c.Status, Reason: c.Reason, Message: c.Message,
					LastUpdateTime: c.LastTransitionTime, LastTransitionTime: c.LastTransitionTime,
				}
			}
		}
	}
	return nil
}
