package master

import (
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

// serve makes a Service with one pod on a node of its own, and waits until both forms of endpoints name it.
func (d *damagedCluster) serve(name, ip string) {
	d.Helper()
	ctx, core := d.Context(), d.clients.CoreV1()
	labels := map[string]string{"app": name}
	try := func(_ any, err error) {
		d.Helper()
		if err != nil && !apierrors.IsAlreadyExists(err) {
			d.Fatal(err)
		}
	}
	try(core.Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-" + name}}, metav1.CreateOptions{}))
	try(core.Services("default").Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{
		Selector: labels, Ports: []corev1.ServicePort{{Port: 80}},
	}}, metav1.CreateOptions{}))
	eventually(d.T, "a pod of "+name, func() error { // once its namespace has its account
		_, err := core.Pods("default").Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Spec: corev1.PodSpec{
			NodeName: "node-" + name, Containers: []corev1.Container{{Name: "c", Image: "i"}},
		}}, metav1.CreateOptions{})
		return err
	})
	status := fmt.Sprintf(`{"status":{"phase":"Running","podIP":%[1]q,"podIPs":[{"ip":%[1]q}],"conditions":[{"type":"Ready","status":"True"}]}}`, ip)
	try(core.Pods("default").Patch(ctx, name, types.StrategicMergePatchType, []byte(status), metav1.PatchOptions{}, "status"))
	d.await(name+" is served", func() bool { return d.served(name) == "1 1" })
}

// served counts the endpoints of a Service in its slices and in its Endpoints.
func (d *damagedCluster) served(name string) string {
	slices, addresses := 0, 0
	list, err := d.clients.DiscoveryV1().EndpointSlices("default").List(d.Context(), metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + name})
	if err != nil {
		return err.Error()
	}
	for _, s := range list.Items {
		slices += len(s.Endpoints)
	}
	e, err := d.clients.CoreV1().Endpoints("default").Get(d.Context(), name, metav1.GetOptions{})
	if err != nil {
		return err.Error()
	}
	for _, s := range e.Subsets {
		addresses += len(s.Addresses)
	}
	return fmt.Sprint(slices, addresses)
}

// TestUnreadableGoesOnServing: traffic goes on to pods that cannot be read, or whose node cannot be, after a restart too; and ends when
// the pod is gone.
func TestUnreadableGoesOnServing(t *testing.T) {
	t.Parallel()
	d := &damagedCluster{T: t, store: memory.New()}
	end := d.begin()
	for n, name := range []string{"hidden", "nodeless", "gone"} {
		d.serve(name, fmt.Sprint("10.9.0.", n+1))
	}
	end()
	d.put("/registry/pods/default/hidden", garbage)
	d.put("/registry/minions/node-nodeless", garbage)
	d.put("/registry/pods/default/gone", nil)
	d.put("/registry/leases/kube-node-lease/some", garbage)
	end = d.begin()
	defer func() { end() }()
	d.await("a pod that is gone is not served", func() bool { return d.served("gone") == "0 0" })
	d.serve("more", "10.9.0.9")
	for _, name := range []string{"hidden", "nodeless"} {
		if got := d.served(name); got != "1 1" {
			t.Errorf("%s has %s endpoints", name, got)
		}
	}
	leases := client.For[*coordinationv1.Lease](d.master.server.as("system:serviceaccount:kube-system:node-controller")).Live()
	if leases.Legible("kube-node-lease", "some") == nil || leases.Legible("kube-node-lease", "other") != nil {
		t.Error("the view cannot tell of which Lease nobody knows")
	}
	yes := true
	if err := d.clients.CoreV1().Pods("default").Delete(t.Context(), "hidden", metav1.DeleteOptions{IgnoreStoreReadErrorWithClusterBreakingPotential: &yes}); err != nil {
		t.Fatal(err)
	}
	d.await("a pod that was removed by force is not served", func() bool { return d.served("hidden") == "0 0" })
}

// TestUnreadablePodsAreNotReplaced: a ReplicaSet makes no second pod beside one that cannot be read, after a restart too; other
// ReplicaSets go on, and it does when the pod is gone.
func TestUnreadablePodsAreNotReplaced(t *testing.T) {
	t.Parallel()
	d := &damagedCluster{T: t, store: memory.New()}
	end := d.begin()
	for _, name := range []string{"web", "web2"} {
		d.replicas(name, 1)
	}
	hidden := d.pods("web-")[0]
	end()
	d.put("/registry/pods/default/"+hidden, garbage)
	end = d.begin()
	defer func() { end() }()
	for _, name := range []string{"web", "web2"} {
		two := []byte(`{"spec":{"replicas":2}}`)
		if _, err := d.clients.AppsV1().ReplicaSets("default").Patch(t.Context(), name, types.MergePatchType, two, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	condition := func() string {
		rs, err := d.clients.AppsV1().ReplicaSets("default").Get(t.Context(), "web", metav1.GetOptions{})
		if err != nil || len(rs.Status.Conditions) == 0 {
			return ""
		}
		return rs.Status.Conditions[0].Message
	}
	d.await("the ReplicaSet says what is in the way", func() bool { return strings.Contains(condition(), hidden) })
	d.await("another has its pods", func() bool { return len(d.pods("web2-")) == 2 })
	if made := d.pods("web-"); len(made) > 0 {
		t.Errorf("%v were made beside %s", made, hidden)
	}
	yes := true
	if err := d.clients.CoreV1().Pods("default").Delete(t.Context(), hidden, metav1.DeleteOptions{IgnoreStoreReadErrorWithClusterBreakingPotential: &yes}); err != nil {
		t.Fatal(err)
	}
	d.await("the ReplicaSet has its pods", func() bool { return len(d.pods("web-")) == 2 })
}

// replicas makes a ReplicaSet and waits for its pods.
func (d *damagedCluster) replicas(name string, count int32) {
	d.Helper()
	labels := map[string]string{"app": name}
	rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.ReplicaSetSpec{
		Replicas: &count, Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}},
	}}
	if _, err := d.clients.AppsV1().ReplicaSets("default").Create(d.Context(), rs, metav1.CreateOptions{}); err != nil {
		d.Fatal(err)
	}
	d.await("the pods of "+name, func() bool { return len(d.pods(name+"-")) == int(count) })
}

// pods are the names of the pods that can be read and begin so.
func (d *damagedCluster) pods(prefix string) (names []string) {
	for p := range client.For[*corev1.Pod](d.master.server.as("system:serviceaccount:kube-system:replicaset-controller")).Live().All("default") {
		if strings.HasPrefix(p.Name, prefix) {
			names = append(names, p.Name)
		}
	}
	return names
}
