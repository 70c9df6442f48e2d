// Package serving tells which pods stand behind which Services, and at which ports.
package serving

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/internal/podstate"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
)

// HasSelector tells of Services whose endpoints are made from pods.
func HasSelector(s *corev1.Service) bool {
	return s.Spec.Selector != nil && s.Spec.Type != corev1.ServiceTypeExternalName
}

// IsHeadless tells of Services without an address of their own.
func IsHeadless(s *corev1.Service) bool {
	return s.Spec.ClusterIP == "" || s.Spec.ClusterIP == corev1.ClusterIPNone
}

// Selects tells whether a Service's selector selects labels.
func Selects(s *corev1.Service, labels map[string]string) bool {
	if !HasSelector(s) {
		return false
	}
	for k, v := range s.Spec.Selector {
		if have, ok := labels[k]; !ok || have != v {
			return false
		}
	}
	return true
}

// Reachable tells of pods that have an address and have not finished.
func Reachable(p *corev1.Pod) bool {
	return !podstate.Finished(p) && (p.Status.PodIP != "" || len(p.Status.PodIPs) > 0)
}

// Hostname is the name under which a pod is known inside a Service's domain, "" for none.
func Hostname(p *corev1.Pod, s *corev1.Service) string {
	if p.Spec.Subdomain != s.Name || p.Namespace != s.Namespace {
		return ""
	}
	return p.Spec.Hostname
}

// Port is the number of a Service's port on a pod; ok is false if it names a port that the pod does not have.
func Port(p *corev1.Pod, port *corev1.ServicePort) (number int32, ok bool) {
	if port.TargetPort.Type == intstr.Int {
		return port.TargetPort.IntVal, true
	}
	for _, c := range p.Spec.Containers {
		if n, ok := containerPort(&c, port); ok {
			return n, true
		}
	}
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways {
			continue
		}
		if n, ok := containerPort(&c, port); ok {
			return n, true
		}
	}
	return 0, false
}

func containerPort(c *corev1.Container, port *corev1.ServicePort) (int32, bool) {
	for _, p := range c.Ports {
		if p.Name == port.TargetPort.StrVal && p.Protocol == port.Protocol {
			return p.ContainerPort, true
		}
	}
	return 0, false
}

// Pods are the pods that a Service selects, whether they can be reached or not.
func Pods(live client.Live[*corev1.Pod], s *corev1.Service) []*corev1.Pod {
	var pods []*corev1.Pod
	for p := range live.All(s.Namespace) {
		if Selects(s, p.Labels) {
			pods = append(pods, p)
		}
	}
	return pods
}

// Hidden tells of pods of a namespace, by name, that may be there and cannot be read.
func Hidden(live client.Live[*corev1.Pod], namespace string) func(name string) bool {
	if live.Whole(namespace) == nil {
		return func(string) bool { return false }
	}
	return func(name string) bool { return live.Legible(namespace, name) != nil }
}

// PodChanged maps a pod's change to the Services that it concerns. Pods that cannot be reached concern none: a burst of new
// pods costs nothing until they have addresses.
func PodChanged(services client.Live[*corev1.Service]) func(client.Delta, func(reconcile.Key)) {
	return func(d client.Delta, enqueue func(reconcile.Key)) {
		pod := client.Typed[*corev1.Pod](d)
		was, is := pod.Old != nil && Reachable(pod.Old), pod.New != nil && Reachable(pod.New)
		if !was && !is || was && is && !concerns(pod.Old, pod.New) {
			return
		}
		some := pod.New
		if some == nil {
			some = pod.Old
		}
		for s := range services.All(some.Namespace) {
			if was && Selects(s, pod.Old.Labels) || is && Selects(s, pod.New.Labels) {
				enqueue(reconcile.KeyOf(s))
			}
		}
	}
}

func concerns(old, next *corev1.Pod) bool {
	return old.UID != next.UID || (podstate.Ready(old) == nil) != (podstate.Ready(next) == nil) || old.Status.PodIP != next.Status.PodIP ||
		(old.DeletionTimestamp == nil) != (next.DeletionTimestamp == nil) || old.Spec.NodeName != next.Spec.NodeName ||
		!slices.Equal(old.Status.PodIPs, next.Status.PodIPs) || !equality.Semantic.DeepEqual(old.Labels, next.Labels)
}
