package endpoints

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func pod(name, ip string, words string) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(name)},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}}},
	}
	for _, word := range strings.Fields(words) {
		switch word {
		case "ready":
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		case "going":
			p.DeletionTimestamp = &metav1.Time{}
		case "done":
			p.Status.Phase = corev1.PodSucceeded
		default:
			var port int32
			fmt.Sscan(word, &port)
			p.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: port, Protocol: corev1.ProtocolTCP}}}}
		}
	}
	return p
}

func text(e *corev1.Endpoints) string {
	var out []string
	for _, s := range e.Subsets {
		line := ""
		for _, a := range s.Addresses {
			line += a.IP + " "
		}
		for _, a := range s.NotReadyAddresses {
			line += "(" + a.IP + ") "
		}
		for _, p := range s.Ports {
			line += fmt.Sprintf(":%d", p.Port)
		}
		out = append(out, line)
	}
	return strings.Join(out, "; ")
}

func TestPlan(t *testing.T) {
	service := func(ports ...intstr.IntOrString) *corev1.Service {
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "s"}, Spec: corev1.ServiceSpec{ClusterIP: "10.0.0.1", IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}}}
		for i, p := range ports {
			s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: fmt.Sprint("p", i), Port: int32(80 + i), Protocol: corev1.ProtocolTCP, TargetPort: p})
		}
		return s
	}
	number, name := intstr.FromInt32(9090), intstr.FromString("web")
	published := service(number)
	published.Spec.PublishNotReadyAddresses = true
	headless := service()
	headless.Spec.ClusterIP = corev1.ClusterIPNone
	for _, c := range []struct {
		name    string
		service *corev1.Service
		pods    []*corev1.Pod
		want    string
	}{
		{"none", service(number), nil, ""},
		{"ready and not", service(number), []*corev1.Pod{pod("b", "10.1.0.2", "ready"), pod("a", "10.1.0.1", "")}, "10.1.0.2 (10.1.0.1) :9090"},
		{"gone or going", service(number), []*corev1.Pod{pod("a", "10.1.0.1", "ready going"), pod("b", "10.1.0.2", "done ready"), pod("c", "", "ready")}, ""},
		{"published all the same", published, []*corev1.Pod{pod("a", "10.1.0.1", "going"), pod("b", "10.1.0.2", "")}, "10.1.0.1 10.1.0.2 :9090"},
		{"two ports of the same pods are one subset", service(number, name), []*corev1.Pod{pod("a", "10.1.0.1", "ready 80"), pod("b", "10.1.0.2", "ready 80")}, "10.1.0.1 10.1.0.2 :9090:80"},
		{"a name with two numbers", service(name), []*corev1.Pod{pod("a", "10.1.0.1", "ready 80"), pod("b", "10.1.0.2", "ready 81")}, "10.1.0.1 :80; 10.1.0.2 :81"},
		{"headless without ports", headless, []*corev1.Pod{pod("a", "10.1.0.1", "ready")}, "10.1.0.1 "},
	} {
		e := makePlan(c.service, c.pods, nil)
		if got := text(e); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if again := makePlan(c.service, c.pods, e); again != nil {
			t.Errorf("%s: the second plan still writes %s", c.name, text(again))
		}
	}
	var many []*corev1.Pod
	for i := range capacity + 500 {
		words := ""
		if i%2 == 0 {
			words = "ready"
		}
		many = append(many, pod(fmt.Sprint(i), fmt.Sprintf("10.1.%d.%d", i/250, i%250+1), words))
	}
	e := makePlan(service(number), many, nil)
	if n, m := len(e.Subsets[0].Addresses), len(e.Subsets[0].NotReadyAddresses); n != 750 || m != 250 || e.Annotations[overCapacity] != truncated {
		t.Errorf("%d ready and %d other addresses of 1500, annotations %v", n, m, e.Annotations)
	}
}
