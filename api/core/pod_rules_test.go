package core

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
)

func testPod(change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "default"},
		Spec:       corev1.PodSpec{ServiceAccountName: "default", Containers: []corev1.Container{{Name: "c", Image: "i:1"}}},
	}
	if change != nil {
		change(p)
	}
	podspec.DefaultPod(p)
	preparePod(p, nil)
	return p
}

// fields lists the fields and types of problems in the order in which they were found.
func fields(errs field.ErrorList) string {
	var list []string
	for _, e := range errs {
		list = append(list, fmt.Sprintf("%s %s", e.Field, strings.TrimPrefix(string(e.Type), "FieldValue")))
	}
	return strings.Join(list, ", ")
}

func TestPodUpdate(t *testing.T) {
	ptr := func(n int64) *int64 { return &n }
	gated := func(p *corev1.Pod) {
		p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "a"}, {Name: "b"}}
		p.Spec.NodeSelector = map[string]string{"x": "y"}
	}
	required := func(keys ...string) *corev1.Affinity {
		var list []corev1.NodeSelectorRequirement
		for _, key := range keys {
			list = append(list, corev1.NodeSelectorRequirement{Key: key, Operator: corev1.NodeSelectorOpExists})
		}
		return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: list}}}}}
	}
	const path = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
	for _, test := range []struct {
		name          string
		start, change func(*corev1.Pod)
		want          string
	}{
		{"nothing", nil, func(p *corev1.Pod) {}, ""},
		{"labels", nil, func(p *corev1.Pod) { p.Labels = map[string]string{"a": "b"} }, ""},
		{"image", nil, func(p *corev1.Pod) { p.Spec.Containers[0].Image = "i:2" }, ""},
		{"image with space", nil, func(p *corev1.Pod) { p.Spec.Containers[0].Image = " i:2" }, "spec.containers[0].image Invalid, spec.containers[0].image Invalid"},
		{"command", nil, func(p *corev1.Pod) { p.Spec.Containers[0].Command = []string{"x"} }, "spec Forbidden"},
		{"first deadline", nil, func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = ptr(5) }, ""},
		{"nearer deadline", func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = ptr(5) }, func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = ptr(4) }, ""},
		{"later deadline", func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = ptr(5) }, func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = ptr(6) }, "spec.activeDeadlineSeconds Invalid"},
		{"no deadline any more", func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = ptr(5) }, func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = nil }, "spec.activeDeadlineSeconds Invalid"},
		{"toleration added", nil, func(p *corev1.Pod) {
			p.Spec.Tolerations = []corev1.Toleration{{Key: "k", Operator: corev1.TolerationOpExists}}
		}, ""},
		{"toleration changed", func(p *corev1.Pod) {
			p.Spec.Tolerations = []corev1.Toleration{{Key: "k", Operator: corev1.TolerationOpExists}}
		}, func(p *corev1.Pod) { p.Spec.Tolerations[0].Effect = corev1.TaintEffectNoSchedule }, "spec.tolerations Forbidden"},
		{"toleration's time", func(p *corev1.Pod) {
			p.Spec.Tolerations = []corev1.Toleration{{Key: "k", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}}
		}, func(p *corev1.Pod) { p.Spec.Tolerations[0].TolerationSeconds = ptr(3) }, ""},
		{"gate added", nil, func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "a"}} }, "spec.schedulingGates[0].name Forbidden"},
		{"gate removed", gated, func(p *corev1.Pod) { p.Spec.SchedulingGates = p.Spec.SchedulingGates[1:] }, ""},
		{"gated: selector added", gated, func(p *corev1.Pod) { p.Spec.NodeSelector["z"] = "1" }, ""},
		{"gated: selector changed", gated, func(p *corev1.Pod) { p.Spec.NodeSelector["x"] = "1" }, "spec.nodeSelector Invalid"},
		{"selector added", func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"x": "y"} }, func(p *corev1.Pod) { p.Spec.NodeSelector["z"] = "1" }, "spec Forbidden"},
		{"gated: affinity set", gated, func(p *corev1.Pod) { p.Spec.Affinity = required("a") }, ""},
		{"gated: affinity narrowed", func(p *corev1.Pod) { gated(p); p.Spec.Affinity = required("a") }, func(p *corev1.Pod) { p.Spec.Affinity = required("a", "b") }, ""},
		{"gated: affinity widened", func(p *corev1.Pod) { gated(p); p.Spec.Affinity = required("a", "b") }, func(p *corev1.Pod) { p.Spec.Affinity = required("a") }, path + "[0] Invalid"},
		{"gated: affinity removed", func(p *corev1.Pod) { gated(p); p.Spec.Affinity = required("a") }, func(p *corev1.Pod) { p.Spec.Affinity = nil }, path + " Invalid"},
		{"affinity set", nil, func(p *corev1.Pod) { p.Spec.Affinity = required("a") }, "spec Forbidden"},
		{"negative grace to 1", func(p *corev1.Pod) {}, func(p *corev1.Pod) { *p.Spec.TerminationGracePeriodSeconds = 1 }, "spec Forbidden"},
		{"mirror annotation", nil, func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"} },
			"metadata.annotations[kubernetes.io/config.mirror] Forbidden, metadata.annotations[kubernetes.io/config.mirror] Invalid"},
		{"bad deletion cost", nil, func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.PodDeletionCost: "+1"} },
			"metadata.annotations[controller.kubernetes.io/pod-deletion-cost] Invalid"},
	} {
		t.Run(test.name, func(t *testing.T) {
			old := testPod(test.start)
			if errs := validatePodCreate(old, nil); len(errs) > 0 {
				t.Fatal(errs)
			}
			before, pod := kind.Copy(old), kind.Copy(old)
			test.change(pod)
			Pod.PrepareUpdate(pod, old)
			if got := fields(validatePodUpdate(pod, old)); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if !reflect.DeepEqual(before, old) {
				t.Error("the old pod was changed")
			}
		})
	}
}

// TestAllowances: a label value that is none was accepted once; a pod that has it can still be changed.
func TestAllowances(t *testing.T) {
	old := testPod(func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "k", Operator: corev1.NodeSelectorOpIn, Values: []string{"-no-"}}}}}}}}
	})
	if len(validatePodCreate(old, nil)) == 0 {
		t.Fatal("accepted")
	}
	pod := kind.Copy(old)
	pod.Spec.Containers[0].Image = "i:2"
	if errs := validatePodUpdate(pod, old); len(errs) > 0 {
		t.Error(errs)
	}
}

func TestPodStatusUpdate(t *testing.T) {
	ended := []corev1.ContainerStatus{{Name: "c", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1}}}}
	again := []corev1.ContainerStatus{{Name: "c", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
	for policy, want := range map[corev1.RestartPolicy]string{
		corev1.RestartPolicyAlways:    "",
		corev1.RestartPolicyOnFailure: "",
		corev1.RestartPolicyNever:     "status.containerStatuses[0].state Forbidden",
	} {
		old := testPod(func(p *corev1.Pod) { p.Spec.RestartPolicy = policy })
		old.Status.ContainerStatuses = ended
		old.Status.Conditions = []corev1.PodCondition{{Type: "a", ObservedGeneration: 3}}
		pod := kind.Copy(old)
		pod.Status.ContainerStatuses = again
		pod.Status.QOSClass = ""
		pod.Status.Conditions[0].ObservedGeneration = 0
		pod.Spec.NodeName = "elsewhere"
		status, _ := Pod.Part("status")
		status.Prepare(pod, old)
		if got := fields(validatePodStatus(pod, old)); got != want {
			t.Errorf("%s: got %q, want %q", policy, got, want)
		}
		if pod.Spec.NodeName != "" || pod.Status.QOSClass != corev1.PodQOSBestEffort || pod.Status.Conditions[0].ObservedGeneration != 3 {
			t.Errorf("not kept: %v %v", pod.Spec.NodeName, pod.Status)
		}
	}
}

func TestPodResize(t *testing.T) {
	list := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{"cpu": resource.MustParse(cpu), "memory": resource.MustParse(memory)}
	}
	for _, test := range []struct {
		name   string
		change func(*corev1.Pod)
		want   string
	}{
		{"more", func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: list("2", "2Gi"), Limits: list("4", "4Gi")}
		}, ""},
		{"less memory", func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Limits = list("2", "1Gi") }, ""},
		{"another class", func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Limits = list("1", "1Gi") }, "spec Invalid"},
		{"limit removed", func(p *corev1.Pod) { delete(p.Spec.Containers[0].Resources.Limits, "cpu") }, "spec.containers[0].resources.limits Forbidden"},
		{"another resource", func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Requests["ephemeral-storage"] = resource.MustParse("1Gi")
		}, "spec Forbidden"},
		{"container added", func(p *corev1.Pod) { p.Spec.Containers = append(p.Spec.Containers, p.Spec.Containers[0]) }, "spec.containers[1].name Duplicate, spec.containers Forbidden"},
		{"image is kept", func(p *corev1.Pod) { p.Spec.Containers[0].Image = "other" }, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			old := testPod(func(p *corev1.Pod) {
				p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: list("1", "1Gi"), Limits: list("2", "2Gi")}
			})
			pod := kind.Copy(old)
			test.change(pod)
			preparePodResize(pod, old)
			if got := fields(validatePodResize(pod, old)); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if test.want == "" && pod.Spec.Containers[0].Image != "i:1" {
				t.Error("the image was changed")
			}
		})
	}
}

func TestPodGrace(t *testing.T) {
	five := int64(5)
	for _, test := range []struct {
		name    string
		change  func(*corev1.Pod)
		options *metav1.DeleteOptions
		want    int64
	}{
		{"not scheduled", func(p *corev1.Pod) {}, nil, 0},
		{"scheduled", func(p *corev1.Pod) { p.Spec.NodeName = "n" }, nil, 30},
		{"asked", func(p *corev1.Pod) { p.Spec.NodeName = "n" }, &metav1.DeleteOptions{GracePeriodSeconds: &five}, 5},
		{"ended", func(p *corev1.Pod) { p.Spec.NodeName = "n"; p.Status.Phase = corev1.PodSucceeded }, nil, 0},
	} {
		p := testPod(nil)
		test.change(p)
		if g := podGrace(p, test.options); !g.Graceful || g.Seconds != test.want {
			t.Errorf("%s: %+v, want %d", test.name, g, test.want)
		}
	}
}

func TestLabelKeysAreMerged(t *testing.T) {
	p := testPod(func(p *corev1.Pod) {
		p.Labels = map[string]string{"hash": "1"}
		p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: "zone", WhenUnsatisfiable: corev1.DoNotSchedule,
			LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "a"}}, MatchLabelKeys: []string{"hash", "absent"}}}
	})
	want := []metav1.LabelSelectorRequirement{{Key: "hash", Operator: metav1.LabelSelectorOpIn, Values: []string{"1"}}}
	if got := p.Spec.TopologySpreadConstraints[0].LabelSelector.MatchExpressions; !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
	if errs := validatePodCreate(p, nil); len(errs) > 0 {
		t.Error(errs)
	}
}

func TestAppArmorFromAnnotation(t *testing.T) {
	p := testPod(func(p *corev1.Pod) {
		p.Annotations = map[string]string{corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix + "c": "localhost/x"}
	})
	c := p.Spec.Containers[0].SecurityContext
	if c == nil || c.AppArmorProfile == nil || *c.AppArmorProfile.LocalhostProfile != "x" {
		t.Fatalf("%+v", c)
	}
	if errs := validatePodCreate(p, nil); len(errs) > 0 {
		t.Error(errs)
	}
	if w := podWarnings(p, nil); len(w) != 1 || !strings.Contains(w[0], "appArmorProfile") {
		t.Errorf("%q", w)
	}
}

func TestWindowsPods(t *testing.T) {
	yes, user := true, "NT AUTHORITY\\SYSTEM"
	p := testPod(func(p *corev1.Pod) {
		p.Spec.OS = &corev1.PodOS{Name: corev1.Windows}
		p.Spec.HostIPC = true
		p.Spec.SecurityContext = &corev1.PodSecurityContext{WindowsOptions: &corev1.WindowsSecurityContextOptions{HostProcess: &yes, RunAsUserName: &user}}
		p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: &yes}
	})
	const want = "spec.hostNetwork Invalid, spec.hostIPC Forbidden, spec.containers[0].securityContext.privileged Forbidden"
	if got := fields(validatePodCreate(p, nil)); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPodFields(t *testing.T) {
	p := testPod(func(p *corev1.Pod) { p.Spec.NodeName = "n" })
	p.Status.PodIPs = []corev1.PodIP{{IP: "10.0.0.1"}}
	got := map[string]string{}
	for _, f := range Pod.Fields {
		got[f.Name] = f.Value(p)
	}
	want := map[string]string{"spec.nodeName": "n", "spec.restartPolicy": "Always", "spec.schedulerName": "default-scheduler", "spec.serviceAccountName": "default",
		"spec.hostNetwork": "false", "status.phase": "Pending", "status.podIP": "10.0.0.1", "status.podIPs": "10.0.0.1", "status.nominatedNodeName": ""}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
	if cell := Pod.Columns[4].Cell(p, time.Now()); cell != "<unknown>" {
		t.Errorf("age of a pod without a time: %v", cell)
	}
}
