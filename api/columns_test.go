package api

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// TestCells shows objects as kubectl get does.
func TestCells(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: name, Namespace: "d", CreationTimestamp: metav1.NewTime(now.Add(-3 * time.Minute))}
	}
	ready := corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.0.0.1"}},
		NodeInfo:  corev1.NodeSystemInfo{KubeletVersion: "v1.37.2", OSImage: "Linux"}}
	worker := meta("n")
	worker.Labels = map[string]string{"node-role.kubernetes.io/worker": "", "kubernetes.io/role": "edge"}
	port := func(n int32) *int32 { return &n }
	kinds := defined()
	for _, c := range []struct {
		object kind.Object
		want   string
	}{
		{&corev1.Node{ObjectMeta: worker, Spec: corev1.NodeSpec{Unschedulable: true}, Status: ready},
			"[n Ready,SchedulingDisabled edge,worker 3m v1.37.2 10.0.0.1 <none> Linux <unknown> <unknown>]"},
		{&corev1.Node{ObjectMeta: meta("n")}, "[n Unknown <none> 3m  <none> <none> <unknown> <unknown> <unknown>]"},
		{&corev1.Service{ObjectMeta: meta("s"), Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, ClusterIPs: []string{"10.96.0.9"},
			ExternalIPs: []string{"1.2.3.4"}, Ports: []corev1.ServicePort{{Port: 80, NodePort: 30001, Protocol: "TCP"}, {Port: 53, Protocol: "UDP"}}}},
			"[s LoadBalancer 10.96.0.9 1.2.3.4 80:30001/TCP,53/UDP 3m <none>]"},
		{&corev1.Service{ObjectMeta: meta("s"), Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "a.example.com"}},
			"[s ExternalName <none> a.example.com <none> 3m <none>]"},
		{&corev1.Endpoints{ObjectMeta: meta("e"), Subsets: []corev1.EndpointSubset{{
			Addresses: []corev1.EndpointAddress{{IP: "10.1.0.1"}, {IP: "fd00::1"}}, Ports: []corev1.EndpointPort{{Port: 80}, {Port: 81}}}}},
			"[e 10.1.0.1:80,[fd00::1]:80,10.1.0.1:81 + 1 more... 3m]"},
		{&corev1.Event{ObjectMeta: meta("e"), InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: "p"}, Reason: "R", Message: " m\n", Type: "Normal",
			Source: corev1.EventSource{Component: "kubelet", Host: "n"}, Count: 2, FirstTimestamp: metav1.NewTime(now.Add(-time.Hour)), LastTimestamp: metav1.NewTime(now.Add(-time.Second))},
			"[1s Normal R pod/p  kubelet, n m 60m 2 e]"},
		{&eventsv1.Event{ObjectMeta: meta("e"), Regarding: corev1.ObjectReference{Kind: "Node", Name: "n"}, ReportingController: "c", EventTime: metav1.NewMicroTime(now.Add(-time.Minute))},
			"[60s   node/n  c  60s 1 e]"},
		{&discoveryv1.EndpointSlice{ObjectMeta: meta("s"), AddressType: "IPv4", Ports: []discoveryv1.EndpointPort{{Port: port(80)}, {}},
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"1.1.1.1"}}, {Addresses: []string{"1.1.1.2"}}, {Addresses: []string{"1.1.1.3"}}, {Addresses: []string{"1.1.1.4"}}}},
			"[s IPv4 80,* 1.1.1.1,1.1.1.2,1.1.1.3 + 1 more... 3m]"},
		{&rbacv1.RoleBinding{ObjectMeta: meta("b"), RoleRef: rbacv1.RoleRef{Kind: "Role", Name: "r"}, Subjects: []rbacv1.Subject{
			{Kind: "User", Name: "u"}, {Kind: "User", Name: "v"}, {Kind: "Group", Name: "g"}, {Kind: "ServiceAccount", Namespace: "n", Name: "s"}}},
			"[b Role/r 3m u, v g n/s]"},
		{&rbacv1.Role{ObjectMeta: meta("r")}, "[r 2026-01-02T03:01:05Z]"},
		{&networkingv1.IPAddress{ObjectMeta: meta("10.0.0.1"), Spec: networkingv1.IPAddressSpec{
			ParentRef: &networkingv1.ParentReference{Resource: "services", Namespace: "d", Name: "s"}}}, "[10.0.0.1 services/d/s]"},
		{&corev1.ResourceQuota{ObjectMeta: meta("q"), Status: corev1.ResourceQuotaStatus{
			Hard: corev1.ResourceList{"pods": resource.MustParse("10"), "limits.cpu": resource.MustParse("8")},
			Used: corev1.ResourceList{"pods": resource.MustParse("3"), "limits.cpu": resource.MustParse("2")}}},
			"[q pods: 3/10 limits.cpu: 2/8 3m]"},
	} {
		n := slices.IndexFunc(kinds, func(i *kind.Kind) bool { return reflect.TypeOf(i.New()) == reflect.TypeOf(c.object) })
		if n < 0 {
			t.Fatalf("no kind for %T", c.object)
		}
		i := kinds[n]
		var cells []any
		for _, column := range i.Columns {
			cells = append(cells, column.Cell(c.object, now))
		}
		if got := fmt.Sprint(cells); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", i.GVK.Kind, got, c.want)
		}
	}
}
