package core

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// plainPod is a pod as a ReplicaSet makes it and admission completes it.
func plainPod() *corev1.Pod {
	seconds, token := int64(300), int64(3607)
	isController := true
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web-7c5ddbdf54-x2x7k", Namespace: "default", Labels: map[string]string{"app": "web", "pod-template-hash": "7c5ddbdf54"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-7c5ddbdf54", UID: "u", Controller: &isController}}},
		Spec: corev1.PodSpec{
			ServiceAccountName: "default",
			Containers: []corev1.Container{{Name: "nginx", Image: "nginx:1.27",
				Resources:    corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("100m"), "memory": resource.MustParse("64Mi")}},
				Ports:        []corev1.ContainerPort{{ContainerPort: 80}},
				VolumeMounts: []corev1.VolumeMount{{Name: "kube-api-access-x2x7k", ReadOnly: true, MountPath: "/var/run/secrets/kubernetes.io/serviceaccount"}}}},
			Volumes: []corev1.Volume{{Name: "kube-api-access-x2x7k", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{ExpirationSeconds: &token, Path: "token"}},
				{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"}, Items: []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}}}},
				{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"}}}}},
			}}}}},
			Tolerations: []corev1.Toleration{
				{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds},
				{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds},
			},
		},
	}
}

func BenchmarkValidatePod(b *testing.B) {
	info, pod := Pod, plainPod()
	info.Default(pod)
	info.PrepareCreate(pod)
	b.ReportAllocs()
	for b.Loop() {
		if errs := info.Validate(pod); len(errs) > 0 {
			b.Fatal(errs)
		}
	}
}

func BenchmarkDefaultPod(b *testing.B) {
	info, pod := Pod, plainPod()
	b.ReportAllocs()
	for b.Loop() {
		info.Default(pod)
		info.PrepareCreate(pod)
	}
}

func BenchmarkPodWarnings(b *testing.B) {
	info, pod := Pod, plainPod()
	info.Default(pod)
	b.ReportAllocs()
	for b.Loop() {
		info.Warnings(pod, nil)
	}
}

// BenchmarkPodStatusUpdate is what a node's report costs beyond decoding.
func BenchmarkPodStatusUpdate(b *testing.B) {
	info, old := Pod, plainPod()
	info.Default(old)
	info.PrepareCreate(old)
	status, _ := info.Part("status")
	pod := kind.Copy(old)
	pod.Status.Phase = corev1.PodRunning
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "nginx", Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
	b.ReportAllocs()
	for b.Loop() {
		status.Prepare(pod, old)
		if errs := status.ValidateUpdate(pod, old); len(errs) > 0 {
			b.Fatal(errs)
		}
	}
}

// BenchmarkPodUpdate is an update of labels by a controller.
func BenchmarkPodUpdate(b *testing.B) {
	info, old := Pod, plainPod()
	info.Default(old)
	info.PrepareCreate(old)
	pod := kind.Copy(old)
	pod.Labels["a"] = "b"
	b.ReportAllocs()
	for b.Loop() {
		info.PrepareUpdate(pod, old)
		info.SpecChanged(pod, old)
		if errs := info.ValidateUpdate(pod, old); len(errs) > 0 {
			b.Fatal(errs)
		}
	}
}
