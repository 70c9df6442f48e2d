package simulate

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Annotations of pods.
const (
	annotationStart        = "simulate.wheelhouse.dev/start"
	annotationStartSeconds = "simulate.wheelhouse.dev/start-seconds"
	annotationReady        = "simulate.wheelhouse.dev/ready"
	annotationReadySeconds = "simulate.wheelhouse.dev/ready-seconds"
	annotationRunSeconds   = "simulate.wheelhouse.dev/run-seconds"
	annotationExitCode     = "simulate.wheelhouse.dev/exit-code"
	annotationStopSeconds  = "simulate.wheelhouse.dev/stop-seconds"
)

// Containers that end are started again after crashFirst, twice that, and so on up to crashMax, as kubelets do.
const (
	crashFirst = 10 * time.Second
	crashMax   = 5 * time.Minute
	// killedCode is the exit code of containers that are told to end.
	killedCode = 143
)

// site is where a pod is simulated, and how pods are that say nothing themselves.
type site struct {
	hostIP, podIP string
	// arrived is when the node first saw the pod.
	arrived             time.Time
	startDelay, runTime time.Duration
}

// act is the next thing to do for a pod: write its status, remove it, or look again after wait; or nothing.
type act struct {
	status *corev1.PodStatus
	remove bool
	wait   time.Duration
}

// plan decides what a node does with a pod in the state it is in. It depends on nothing else, so that a simulation that
// starts anew goes on where the last one stopped.
func plan(pod *corev1.Pod, at site, now time.Time) act {
	if pod.DeletionTimestamp != nil {
		return planEnd(pod, now)
	}
	if ended(pod) {
		return act{}
	}
	if seconds := pod.Spec.ActiveDeadlineSeconds; seconds != nil && pod.Status.StartTime != nil {
		if deadline := pod.Status.StartTime.Add(time.Duration(*seconds) * time.Second); !now.Before(deadline) {
			s := terminated(pod, killedCode, now)
			s.Phase, s.Reason, s.Message = corev1.PodFailed, "DeadlineExceeded", "Pod was active on the node longer than the specified deadline"
			return act{status: s}
		}
		return sooner(planLife(pod, at, now), pod.Status.StartTime.Add(time.Duration(*seconds)*time.Second).Sub(now))
	}
	return planLife(pod, at, now)
}

func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// sooner looks again after d at the latest.
func sooner(a act, d time.Duration) act {
	if a.status == nil && !a.remove && (a.wait == 0 || d < a.wait) {
		a.wait = d
	}
	return a
}

// planEnd ends a pod that was deleted.
func planEnd(pod *corev1.Pod, now time.Time) act {
	grace := int64(0)
	if pod.DeletionGracePeriodSeconds != nil {
		grace = *pod.DeletionGracePeriodSeconds
	}
	if ended(pod) || !running(pod) {
		if grace == 0 && len(pod.Finalizers) > 0 {
			return act{} // the finalizers' turn
		}
		return act{remove: true}
	}
	asked := pod.DeletionTimestamp.Add(-time.Duration(grace) * time.Second)
	stop := asked.Add(min(seconds(pod, annotationStopSeconds, 0), time.Duration(grace)*time.Second))
	if now.Before(stop) {
		return act{wait: stop.Sub(now)}
	}
	if len(pod.Finalizers) > 0 {
		// Who holds the pod wants to see how it ended.
		return act{status: terminated(pod, killedCode, now)}
	}
	return act{remove: true}
}

// planLife takes a pod from its arrival to its end.
func planLife(pod *corev1.Pod, at site, now time.Time) act {
	if pod.Annotations[annotationStart] == "false" {
		if len(pod.Status.ContainerStatuses) > 0 {
			return act{}
		}
		return act{status: notStarted(pod, at, now)}
	}
	if crashed, again := crashBackoff(pod); crashed {
		if now.Before(again) {
			return act{wait: again.Sub(now)}
		}
		return act{status: started(pod, at, now)}
	}
	if !running(pod) {
		if begin := at.arrived.Add(seconds(pod, annotationStartSeconds, at.startDelay)); now.Before(begin) {
			return act{wait: begin.Sub(now)}
		}
		return act{status: started(pod, at, now)}
	}
	since := pod.Status.ContainerStatuses[0].State.Running.StartedAt.Time
	end, ends := runEnd(pod, since, at.runTime)
	if ends && !now.Before(end) {
		return act{status: finished(pod, now)}
	}
	var a act
	if ends {
		a.wait = end.Sub(now)
	}
	if pod.Annotations[annotationReady] != "false" && !pod.Status.ContainerStatuses[0].Ready {
		if ready := since.Add(seconds(pod, annotationReadySeconds, 0)); now.Before(ready) {
			return sooner(a, ready.Sub(now))
		}
		s := pod.Status.DeepCopy()
		becomeReady(pod, s, true, now)
		return act{status: s}
	}
	if pod.Status.ContainerStatuses[0].Ready && isTrue(&pod.Status, corev1.PodReady) != (closedGate(pod, &pod.Status) == "") {
		// A readiness gate has opened or closed since, or somebody spoke for this node while it was away.
		s := pod.Status.DeepCopy()
		becomeReady(pod, s, true, now)
		return act{status: s}
	}
	return a
}

// closedGate is a readiness gate of the pod that is not true, "" if all are.
func closedGate(pod *corev1.Pod, s *corev1.PodStatus) corev1.PodConditionType {
	for _, gate := range pod.Spec.ReadinessGates {
		if !isTrue(s, gate.ConditionType) {
			return gate.ConditionType
		}
	}
	return ""
}

// running tells whether the pod's containers were started and have not ended.
func running(pod *corev1.Pod) bool {
	return len(pod.Status.ContainerStatuses) > 0 && pod.Status.ContainerStatuses[0].State.Running != nil
}

// crashBackoff tells whether the containers ended and are to start again, and when.
func crashBackoff(pod *corev1.Pod) (crashed bool, again time.Time) {
	if len(pod.Status.ContainerStatuses) == 0 {
		return false, time.Time{}
	}
	c := &pod.Status.ContainerStatuses[0]
	if c.State.Waiting == nil || c.LastTerminationState.Terminated == nil {
		return false, time.Time{}
	}
	backoff := crashFirst
	for n := int32(0); n < c.RestartCount && backoff < crashMax; n++ {
		backoff *= 2
	}
	return true, c.LastTerminationState.Terminated.FinishedAt.Add(min(backoff, crashMax))
}

// runEnd is when containers that were started then end by themselves, if they do: as the annotations say, and else only those of
// a Job. Who makes a bare pod that is not restarted may want to see it run first.
func runEnd(pod *corev1.Pod, since time.Time, runTime time.Duration) (time.Time, bool) {
	_, ends := pod.Annotations[annotationRunSeconds]
	if pod.Spec.RestartPolicy != corev1.RestartPolicyAlways {
		_, code := pod.Annotations[annotationExitCode]
		ends = ends || code || ofJob(pod)
	}
	if !ends {
		return time.Time{}, false
	}
	return since.Add(seconds(pod, annotationRunSeconds, runTime)), true
}

func ofJob(pod *corev1.Pod) bool {
	owner := metav1.GetControllerOfNoCopy(pod)
	return owner != nil && owner.Kind == "Job" && strings.HasPrefix(owner.APIVersion, "batch/")
}

func seconds(pod *corev1.Pod, annotation string, otherwise time.Duration) time.Duration {
	if n, err := strconv.ParseFloat(pod.Annotations[annotation], 64); err == nil && n >= 0 && n < 1e9 {
		return time.Duration(n * float64(time.Second))
	}
	return otherwise
}

// begun is a status with what holds from the pod's arrival on.
func begun(pod *corev1.Pod, at site, now time.Time) *corev1.PodStatus {
	s := pod.Status.DeepCopy()
	s.Phase = corev1.PodPending
	s.ObservedGeneration = pod.Generation
	s.HostIP, s.HostIPs = at.hostIP, []corev1.HostIP{{IP: at.hostIP}}
	if s.StartTime == nil {
		t := metav1.NewTime(now)
		s.StartTime = &t
	}
	return s
}

// notStarted is the status of a pod whose containers are not created.
func notStarted(pod *corev1.Pod, at site, now time.Time) *corev1.PodStatus {
	s := begun(pod, at, now)
	set(pod, s, corev1.PodReadyToStartContainers, corev1.ConditionFalse, "", "", now)
	becomeInitialized(pod, s, len(pod.Spec.InitContainers) == 0, now)
	reason := "ContainerCreating"
	if len(pod.Spec.InitContainers) > 0 {
		reason = "PodInitializing"
	}
	waiting := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}
	s.InitContainerStatuses = statuses(pod, pod.Spec.InitContainers, waiting)
	s.ContainerStatuses = statuses(pod, pod.Spec.Containers, waiting)
	becomeReady(pod, s, false, now)
	return s
}

// started is the status of a pod whose containers run: the first time, or again.
func started(pod *corev1.Pod, at site, now time.Time) *corev1.PodStatus {
	s := begun(pod, at, now)
	s.Phase = corev1.PodRunning
	s.PodIP, s.PodIPs = at.podIP, []corev1.PodIP{{IP: at.podIP}}
	set(pod, s, corev1.PodReadyToStartContainers, corev1.ConditionTrue, "", "", now)
	becomeInitialized(pod, s, true, now)
	t := metav1.NewTime(now)
	run := corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: t}}
	done := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Completed", StartedAt: t, FinishedAt: t}}
	again := len(pod.Status.ContainerStatuses) > 0 && pod.Status.ContainerStatuses[0].LastTerminationState.Terminated != nil
	if !again {
		s.InitContainerStatuses = statuses(pod, pod.Spec.InitContainers, done)
		s.ContainerStatuses = statuses(pod, pod.Spec.Containers, run)
		for i := range pod.Spec.InitContainers {
			if p := pod.Spec.InitContainers[i].RestartPolicy; p != nil && *p == corev1.ContainerRestartPolicyAlways {
				s.InitContainerStatuses[i].State = run
			}
		}
	} else {
		for i := range s.ContainerStatuses {
			s.ContainerStatuses[i].State = run
			s.ContainerStatuses[i].RestartCount++
		}
	}
	yes := true
	for i := range s.InitContainerStatuses {
		s.InitContainerStatuses[i].Ready = true
		s.InitContainerStatuses[i].Started = &yes
	}
	for i := range s.ContainerStatuses {
		s.ContainerStatuses[i].Started = &yes
	}
	becomeReady(pod, s, pod.Annotations[annotationReady] != "false" && seconds(pod, annotationReadySeconds, 0) == 0, now)
	return s
}

// finished is the status of a pod whose containers ended by themselves: the pod's end, or a crash.
func finished(pod *corev1.Pod, now time.Time) *corev1.PodStatus {
	code, err := strconv.ParseInt(pod.Annotations[annotationExitCode], 10, 32)
	if err != nil {
		code = 0
	}
	policy := pod.Spec.RestartPolicy
	if policy == corev1.RestartPolicyNever || policy == corev1.RestartPolicyOnFailure && code == 0 {
		return terminated(pod, int32(code), now)
	}
	s := terminated(pod, int32(code), now)
	s.Phase = corev1.PodRunning
	for i := range s.ContainerStatuses {
		c := &s.ContainerStatuses[i]
		c.LastTerminationState = c.State
		c.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off restarting failed container"}}
	}
	becomeReady(pod, s, false, now)
	return s
}

// terminated is the status of a pod whose containers ended with the code.
func terminated(pod *corev1.Pod, code int32, now time.Time) *corev1.PodStatus {
	s := pod.Status.DeepCopy()
	s.ObservedGeneration = pod.Generation
	reason, unready := "Completed", "PodCompleted"
	s.Phase = corev1.PodSucceeded
	if code != 0 {
		reason, unready, s.Phase = "Error", "PodFailed", corev1.PodFailed
	}
	no := false
	end := func(list []corev1.ContainerStatus) {
		for i := range list {
			c := &list[i]
			if c.State.Running == nil {
				continue
			}
			c.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason,
				StartedAt: c.State.Running.StartedAt, FinishedAt: metav1.NewTime(now), ContainerID: c.ContainerID}}
			c.Ready, c.Started = false, &no
		}
	}
	end(s.ContainerStatuses)
	end(s.InitContainerStatuses)
	set(pod, s, corev1.PodReadyToStartContainers, corev1.ConditionFalse, "", "", now)
	set(pod, s, corev1.PodReady, corev1.ConditionFalse, unready, "", now)
	set(pod, s, corev1.ContainersReady, corev1.ConditionFalse, unready, "", now)
	return s
}

func statuses(pod *corev1.Pod, containers []corev1.Container, state corev1.ContainerState) []corev1.ContainerStatus {
	if len(containers) == 0 {
		return nil
	}
	list := make([]corev1.ContainerStatus, len(containers))
	for i := range containers {
		c := &containers[i]
		image := sha256.Sum256([]byte(c.Image))
		list[i] = corev1.ContainerStatus{Name: c.Name, Image: c.Image, State: state}
		if state.Waiting != nil {
			continue
		}
		list[i].ImageID = "sha256:" + hex.EncodeToString(image[:])
		id := sha256.Sum256([]byte(string(pod.UID) + "/" + c.Name))
		list[i].ContainerID = "simulated://" + hex.EncodeToString(id[:])
		if state.Terminated != nil {
			copied := *state.Terminated
			copied.ContainerID = list[i].ContainerID
			list[i].State.Terminated = &copied
		}
	}
	return list
}

func becomeInitialized(pod *corev1.Pod, s *corev1.PodStatus, done bool, now time.Time) {
	if done {
		set(pod, s, corev1.PodInitialized, corev1.ConditionTrue, "", "", now)
		return
	}
	set(pod, s, corev1.PodInitialized, corev1.ConditionFalse, "ContainersNotInitialized", containersWith("incomplete", pod.Spec.InitContainers), now)
}

// becomeReady sets the containers' readiness and the conditions that follow from it.
func becomeReady(pod *corev1.Pod, s *corev1.PodStatus, ready bool, now time.Time) {
	for i := range s.ContainerStatuses {
		s.ContainerStatuses[i].Ready = ready
	}
	status, reason, message := corev1.ConditionTrue, "", ""
	if !ready {
		status, reason, message = corev1.ConditionFalse, "ContainersNotReady", containersWith("unready", pod.Spec.Containers)
	}
	set(pod, s, corev1.ContainersReady, status, reason, message, now)
	if gate := closedGate(pod, s); ready && gate != "" {
		status, reason = corev1.ConditionFalse, "ReadinessGatesNotReady"
		message = `the status of pod readiness gate "` + string(gate) + `" is not "True"`
	}
	set(pod, s, corev1.PodReady, status, reason, message, now)
}

func containersWith(what string, containers []corev1.Container) string {
	names := make([]string, len(containers))
	for i := range containers {
		names[i] = containers[i].Name
	}
	return "containers with " + what + " status: [" + strings.Join(names, " ") + "]"
}

func isTrue(s *corev1.PodStatus, kind corev1.PodConditionType) bool {
	for i := range s.Conditions {
		if s.Conditions[i].Type == kind {
			return s.Conditions[i].Status == corev1.ConditionTrue
		}
	}
	return false
}

// set sets a condition; its transition time changes only with its status.
func set(pod *corev1.Pod, s *corev1.PodStatus, kind corev1.PodConditionType, status corev1.ConditionStatus, reason, message string, now time.Time) {
	c := corev1.PodCondition{Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: pod.Generation,
		LastTransitionTime: metav1.NewTime(now)}
	for i := range s.Conditions {
		if s.Conditions[i].Type == kind {
			if s.Conditions[i].Status == status {
				c.LastTransitionTime = s.Conditions[i].LastTransitionTime
			}
			s.Conditions[i] = c
			return
		}
	}
	s.Conditions = append(s.Conditions, c)
}
