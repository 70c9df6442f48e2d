package apps

import (
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

func fields(errs field.ErrorList) string {
	var list []string
	for _, e := range errs {
		list = append(list, fmt.Sprintf("%s %s", e.Field, strings.TrimPrefix(string(e.Type), "FieldValue")))
	}
	return strings.Join(list, ", ")
}

func template() corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "a"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i:1"}}},
	}
}

func selector() *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": "a"}}
}

func deployment() *appsv1.Deployment {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "d"}, Spec: appsv1.DeploymentSpec{Selector: selector(), Template: template()}}
	Deployment.Default(d)
	return d
}

func TestDeploymentRules(t *testing.T) {
	number := func(n int32) *int32 { return &n }
	amount := func(s string) *intstr.IntOrString { v := intstr.Parse(s); return &v }
	for _, test := range []struct {
		name   string
		change func(*appsv1.DeploymentSpec)
		want   string
	}{
		{"plain", func(s *appsv1.DeploymentSpec) {}, ""},
		{"replicas below zero", func(s *appsv1.DeploymentSpec) { s.Replicas = number(-1) }, "spec.replicas Invalid"},
		{"history below zero", func(s *appsv1.DeploymentSpec) { s.RevisionHistoryLimit = number(-1) }, "spec.revisionHistoryLimit Invalid"},
		{"deadline before ready", func(s *appsv1.DeploymentSpec) { s.MinReadySeconds = 600 }, "spec.progressDeadlineSeconds Invalid"},
		{"recreate with rolling", func(s *appsv1.DeploymentSpec) { s.Strategy.Type = appsv1.RecreateDeploymentStrategyType }, "spec.strategy.rollingUpdate Forbidden"},
		{"nothing may move", func(s *appsv1.DeploymentSpec) {
			s.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{MaxSurge: amount("0"), MaxUnavailable: amount("0%")}
		}, "spec.strategy.rollingUpdate.maxUnavailable Invalid"},
		{"more than all", func(s *appsv1.DeploymentSpec) { s.Strategy.RollingUpdate.MaxUnavailable = amount("101%") }, "spec.strategy.rollingUpdate.maxUnavailable Invalid"},
		{"surge over all", func(s *appsv1.DeploymentSpec) { s.Strategy.RollingUpdate.MaxSurge = amount("300%") }, ""},
		{"ephemeral container", func(s *appsv1.DeploymentSpec) {
			s.Template.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "e", Image: "i",
				ImagePullPolicy: corev1.PullAlways, TerminationMessagePolicy: corev1.TerminationMessageReadFile}}}
		}, "spec.template.spec.ephemeralContainers Forbidden"},
	} {
		d := deployment()
		test.change(&d.Spec)
		if got := fields(Deployment.Validate(d)); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

func TestDeploymentUpdate(t *testing.T) {
	info := Deployment
	for _, test := range []struct {
		name   string
		change func(*appsv1.Deployment)
		want   string
		grows  bool
	}{
		{"nothing", func(d *appsv1.Deployment) {}, "", false},
		{"labels", func(d *appsv1.Deployment) { d.Labels = map[string]string{"a": "b"} }, "", false},
		{"annotations", func(d *appsv1.Deployment) { d.Annotations = map[string]string{"a": "b"} }, "", true},
		{"template", func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "i:2" }, "", true},
		{"selector", func(d *appsv1.Deployment) { d.Spec.Selector.MatchLabels = map[string]string{"x": "y"} },
			"spec.template.metadata.labels Invalid, spec.selector Invalid", true},
	} {
		old := deployment()
		d := kind.Copy(old)
		test.change(d)
		info.PrepareUpdate(d, old)
		if got := fields(info.ValidateUpdate(d, old)); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
		if got := info.SpecChanged(d, old); got != test.grows {
			t.Errorf("%s: generation grows: %v", test.name, got)
		}
	}
}

func TestDeploymentStatus(t *testing.T) {
	one, two := int32(1), int32(2)
	for _, test := range []struct {
		name     string
		new, old appsv1.DeploymentStatus
		want     string
	}{
		{"fine", appsv1.DeploymentStatus{Replicas: 3, UpdatedReplicas: 2, ReadyReplicas: 2, AvailableReplicas: 1}, appsv1.DeploymentStatus{}, ""},
		{"more updated than there are", appsv1.DeploymentStatus{UpdatedReplicas: 1}, appsv1.DeploymentStatus{}, "status.updatedReplicas Invalid"},
		{"more available than ready", appsv1.DeploymentStatus{Replicas: 1, AvailableReplicas: 1}, appsv1.DeploymentStatus{}, "status.availableReplicas Invalid"},
		{"below zero", appsv1.DeploymentStatus{UnavailableReplicas: -1}, appsv1.DeploymentStatus{}, "status.unavailableReplicas Invalid"},
		{"collisions", appsv1.DeploymentStatus{CollisionCount: &one}, appsv1.DeploymentStatus{CollisionCount: &two}, "status.collisionCount Invalid"},
	} {
		old, d := deployment(), deployment()
		old.Status, d.Status = test.old, test.new
		if got := fields(validateDeploymentStatus(d, old)); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

func TestDaemonSetTemplateGeneration(t *testing.T) {
	d := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "d"}, Spec: appsv1.DaemonSetSpec{Selector: selector(), Template: template()}}
	DaemonSet.Default(d)
	DaemonSet.PrepareCreate(d)
	for step, want := range []int64{1, 2, 2} {
		old := kind.Copy(d)
		switch step {
		case 1:
			d.Spec.Template.Spec.Containers[0].Image = "i:2"
		case 2:
			d.Annotations = map[string]string{appsv1.DeprecatedTemplateGeneration: "9"}
		}
		DaemonSet.PrepareUpdate(d, old)
		if got := templateGeneration(d); got != want {
			t.Errorf("step %d: %d, want %d", step, got, want)
		}
	}
}

func TestStatefulSetUpdate(t *testing.T) {
	old := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Spec: appsv1.StatefulSetSpec{Selector: selector(), Template: template()}}
	claim := corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data"}}
	old.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{claim}
	old.Spec.Template.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	StatefulSet.Default(old)
	for _, test := range []struct {
		name   string
		change func(*appsv1.StatefulSetSpec)
		want   string
	}{
		{"ordinals", func(s *appsv1.StatefulSetSpec) { s.Ordinals = &appsv1.StatefulSetOrdinals{Start: 1} }, ""},
		{"service", func(s *appsv1.StatefulSetSpec) { s.ServiceName = "x" }, "spec Forbidden"},
		{"mount of a claim that is none", func(s *appsv1.StatefulSetSpec) { s.Template.Spec.Containers[0].VolumeMounts[0].Name = "other" },
			"spec.template.spec.containers[0].volumeMounts[0].name NotFound"},
	} {
		s := kind.Copy(old)
		test.change(&s.Spec)
		StatefulSet.PrepareUpdate(s, old)
		if got := fields(StatefulSet.ValidateUpdate(s, old)); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

func TestControllerRevisionDataIsFixed(t *testing.T) {
	old := &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Name: "r"}, Revision: 1}
	if got := fields(ControllerRevision.Validate(old)); got != "data Required" {
		t.Error(got)
	}
	old.Data.Raw = []byte(`{"a":1}`)
	r := kind.Copy(old)
	r.Data.Raw = []byte(`{"a":2}`)
	if got := fields(ControllerRevision.ValidateUpdate(r, old)); got != "data Invalid" {
		t.Error(got)
	}
	yes := true
	r.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "DaemonSet", Name: "d", Controller: &yes}}
	if got := controllerText(r); got != "daemonset.apps/d" {
		t.Error(got)
	}
}

func TestNameWarnings(t *testing.T) {
	for name, want := range map[string]int{"web": 0, "web.example": 1} {
		d := deployment()
		d.Name = name
		if got := Deployment.Warnings(d, nil); len(got) != want {
			t.Errorf("%s: %q", name, got)
		}
		if got := Deployment.Warnings(d, kind.Copy(d)); len(got) != 0 {
			t.Errorf("%s: update: %q", name, got)
		}
	}
}
