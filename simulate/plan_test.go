package simulate

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// life plays a pod from its arrival until nothing is left to do, and tells what happened at which second.
func life(t *testing.T, pod *corev1.Pod, until int) string {
	t.Helper()
	zero := time.Unix(1_000_000, 0)
	at := site{hostIP: "192.168.0.1", podIP: "10.244.0.5", arrived: zero, runTime: time.Second}
	var out []string
	for now := zero; now.Sub(zero) <= time.Duration(until)*time.Second; {
		if d := pod.Annotations["test/delete-at"]; d != "" && pod.DeletionTimestamp == nil {
			if n := seconds(pod, "test/delete-at", 0); now.Sub(zero) >= n {
				grace := int64(30)
				stamp := metav1.NewTime(now.Add(30 * time.Second))
				pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = &stamp, &grace
			}
		}
		a := plan(pod, at, now)
		second := int(now.Sub(zero).Seconds())
		switch {
		case a.remove:
			return strings.Join(append(out, fmt.Sprintf("%d removed", second)), ", ")
		case a.status != nil:
			pod.Status = *a.status
			out = append(out, fmt.Sprintf("%d %s", second, brief(pod)))
		default:
			now = now.Add(time.Second)
		}
	}
	return strings.Join(out, ", ")
}

func brief(pod *corev1.Pod) string {
	c := pod.Status.ContainerStatuses[0]
	text := string(pod.Status.Phase)
	switch {
	case c.State.Waiting != nil:
		text += " " + c.State.Waiting.Reason
	case c.State.Terminated != nil:
		text += fmt.Sprintf(" exit %d", c.State.Terminated.ExitCode)
	case isTrue(&pod.Status, corev1.PodReady):
		text += " ready"
	}
	if c.RestartCount > 0 {
		text += fmt.Sprintf(" restarts %d", c.RestartCount)
	}
	if pod.Status.Reason != "" {
		text += " " + pod.Status.Reason
	}
	return text
}

func TestLives(t *testing.T) {
	deadline := int64(3)
	for _, test := range []struct {
		name        string
		annotations map[string]string
		spec        corev1.PodSpec
		finalizers  []string
		want        string
	}{
		{"service", nil, corev1.PodSpec{}, nil, "0 Running ready"},
		{"slow start", map[string]string{annotationStartSeconds: "2", annotationReadySeconds: "3"}, corev1.PodSpec{}, nil, "2 Running, 5 Running ready"},
		{"never ready", map[string]string{annotationReady: "false"}, corev1.PodSpec{}, nil, "0 Running"},
		{"never starts", map[string]string{annotationStart: "false"}, corev1.PodSpec{}, nil, "0 Pending ContainerCreating"},
		{"job", nil, corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever}, nil, "0 Running ready, 1 Succeeded exit 0"},
		{"not restarted, but of no job", nil, corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever}, nil, "0 Running ready"},
		{"restarted on failure, but of no workload", nil, corev1.PodSpec{RestartPolicy: corev1.RestartPolicyOnFailure}, nil, "0 Running ready"},
		{"told to end", map[string]string{annotationRunSeconds: "2"}, corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever}, nil, "0 Running ready, 2 Succeeded exit 0"},
		{"told how to end", map[string]string{annotationExitCode: "4"}, corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever}, nil, "0 Running ready, 1 Failed exit 4"},
		{"always restarted", map[string]string{annotationExitCode: "4"}, corev1.PodSpec{}, nil, "0 Running ready"},
		{"long job", map[string]string{annotationRunSeconds: "7"}, corev1.PodSpec{RestartPolicy: corev1.RestartPolicyOnFailure}, nil, "0 Running ready, 7 Succeeded exit 0"},
		{"failed job", map[string]string{annotationExitCode: "3"}, corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever}, nil, "0 Running ready, 1 Failed exit 3"},
		{"crash loop", map[string]string{annotationRunSeconds: "1", annotationExitCode: "1"}, corev1.PodSpec{RestartPolicy: corev1.RestartPolicyOnFailure}, nil,
			"0 Running ready, 1 Running CrashLoopBackOff, 11 Running ready restarts 1, 12 Running CrashLoopBackOff restarts 1, 32 Running ready restarts 2, 33 Running CrashLoopBackOff restarts 2"},
		{"deadline", map[string]string{annotationRunSeconds: "20"}, corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, ActiveDeadlineSeconds: &deadline}, nil,
			"0 Running ready, 3 Failed exit 143 DeadlineExceeded"},
		{"deleted", map[string]string{"test/delete-at": "4"}, corev1.PodSpec{}, nil, "0 Running ready, 4 removed"},
		{"slow stop", map[string]string{"test/delete-at": "4", annotationStopSeconds: "5"}, corev1.PodSpec{}, nil, "0 Running ready, 9 removed"},
		{"stop within grace", map[string]string{"test/delete-at": "2", annotationStopSeconds: "500"}, corev1.PodSpec{}, nil, "0 Running ready, 32 removed"},
		{"deleted while held", map[string]string{"test/delete-at": "4"}, corev1.PodSpec{}, []string{"batch.kubernetes.io/job-tracking"}, "0 Running ready, 4 Failed exit 143, 4 removed"},
		{"deleted before start", map[string]string{"test/delete-at": "1", annotationStart: "false"}, corev1.PodSpec{}, nil, "0 Pending ContainerCreating, 1 removed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", UID: "1", Annotations: test.annotations, Finalizers: test.finalizers}, Spec: test.spec}
			if pod.Spec.RestartPolicy == "" {
				pod.Spec.RestartPolicy = corev1.RestartPolicyAlways
			}
			if strings.HasSuffix(test.name, "job") && !strings.HasSuffix(test.name, "no job") {
				yes := true
				pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "Job", Name: "j", UID: "j", Controller: &yes}}
			}
			pod.Spec.Containers = []corev1.Container{{Name: "c", Image: "app"}}
			if got := life(t, pod, 40); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// A readiness gate that somebody else opens later makes the pod ready, and one that is closed makes it not ready.
func TestReadinessGates(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "1"}}
	pod.Spec.RestartPolicy = corev1.RestartPolicyAlways
	pod.Spec.Containers = []corev1.Container{{Name: "c"}}
	pod.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "a"}, {ConditionType: "b"}}
	step := func(what string, ready bool) {
		t.Helper()
		now = now.Add(time.Minute)
		if next := plan(pod, site{arrived: now}, now); next.status != nil {
			pod.Status = *next.status
		}
		if next := plan(pod, site{arrived: now}, now); next.status != nil || next.remove || next.wait != 0 {
			t.Errorf("%s: still something to do: %+v", what, next)
		}
		if got := isTrue(&pod.Status, corev1.PodReady); got != ready || !isTrue(&pod.Status, corev1.ContainersReady) {
			t.Errorf("%s: ready is %v: %+v", what, got, pod.Status.Conditions)
		}
	}
	step("started", false)
	set(pod, &pod.Status, "a", corev1.ConditionTrue, "", "", now)
	step("one gate is open", false)
	set(pod, &pod.Status, "b", corev1.ConditionTrue, "", "", now)
	step("both gates are open", true)
	set(pod, &pod.Status, "a", corev1.ConditionFalse, "", "", now)
	step("one gate is closed again", false)
	set(pod, &pod.Status, "a", corev1.ConditionTrue, "", "", now)
	step("and open", true)
	set(pod, &pod.Status, corev1.PodReady, corev1.ConditionFalse, "", "", now)
	step("somebody spoke for the node", true)
}

func TestStartedStatus(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "1", Generation: 4}}
	pod.Spec.InitContainers = []corev1.Container{{Name: "init"}, {Name: "sidecar", RestartPolicy: &always}}
	pod.Spec.Containers = []corev1.Container{{Name: "a", Image: "x"}, {Name: "b", Image: "y"}}
	pod.Status.QOSClass = corev1.PodQOSBestEffort
	s := started(pod, site{hostIP: "h", podIP: "p"}, time.Unix(5, 0))
	if s.PodIP != "p" || s.PodIPs[0].IP != "p" || s.HostIP != "h" || s.HostIPs[0].IP != "h" || s.ObservedGeneration != 4 || s.QOSClass != corev1.PodQOSBestEffort {
		t.Errorf("status %+v", s)
	}
	for _, kind := range []corev1.PodConditionType{corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady} {
		if !isTrue(s, kind) {
			t.Errorf("condition %s is not True", kind)
		}
	}
	if s.InitContainerStatuses[0].State.Terminated == nil || s.InitContainerStatuses[1].State.Running == nil {
		t.Errorf("init containers %+v", s.InitContainerStatuses)
	}
	if a, b := s.ContainerStatuses[0].ContainerID, s.ContainerStatuses[1].ContainerID; a == b || a == "" {
		t.Errorf("container ids %q and %q", a, b)
	}
}

func TestAddresses(t *testing.T) {
	s, err := newAddressSpace(4000, 110)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for i := range 4000 {
		cidr := s.pods(i).cidr()
		if other, ok := seen[cidr]; ok {
			t.Fatalf("nodes %d and %d share %s", other, i, cidr)
		}
		seen[cidr] = i
	}
	if got := s.pods(0).cidr() + " " + s.pods(3071).cidr() + " " + s.pods(3072).cidr() + " " + s.nodeIP(255); got != "10.244.0.0/24 10.255.255.0/24 10.128.0.0/24 192.168.1.0" {
		t.Error(got)
	}
	b := s.pods(1)
	b.hold("10.244.1.2")
	first, second := b.take(), b.take()
	if first != "10.244.1.1" || second != "10.244.1.3" {
		t.Errorf("%s, %s", first, second)
	}
	for range 251 {
		b.take()
	}
	b.free("10.244.1.1")
	if got := b.take(); got != "10.244.1.1" {
		t.Errorf("%q is not the one that is free", got)
	}
	if got := b.take(); got != "" {
		t.Errorf("%q from a full block", got)
	}
	if _, err := newAddressSpace(40_000, 110); err == nil {
		t.Error("40,000 nodes have addresses")
	}
	if s, err := newAddressSpace(3, 2000); err != nil || s.pods(2).cidr() != "10.244.16.0/21" {
		t.Errorf("%v %v", s, err)
	}
}
