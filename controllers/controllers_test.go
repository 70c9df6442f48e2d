package controllers_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/wheelhouse-k8s/wheelhouse"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/internal/ownership"
	"github.com/wheelhouse-k8s/wheelhouse/master"
)

// timeout is how long a condition may take to come true on a busy machine; no test waits for it to pass.
const timeout = 60 * time.Second

// cluster is one master that all tests share, each in a namespace of its own, reached over HTTPS as a user's program does.
var cluster client.Transport

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	running, err := wheelhouse.Start(ctx, wheelhouse.Options{Configure: func(c *master.Config) {
		c.ControllerManager.NodeLifecycle.MonitorPeriod = 50 * time.Millisecond
		c.ControllerManager.NodeLifecycle.MonitorGracePeriod = time.Second
	}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer running.Stop()
	if cluster, err = client.HTTP(ctx, running.RESTConfig()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// until waits for a condition, looking again with every change of any of the views.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(timeout); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func must[T any](t *testing.T) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// namespace makes one for a test, and waits until pods can be created in it.
func namespace(t *testing.T) string {
	t.Helper()
	ns := must[*corev1.Namespace](t)(client.For[*corev1.Namespace](cluster).Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}))
	until(t, "default service account", func() bool {
		_, ok := live[*corev1.ServiceAccount]().Get(ns.Name, "default")
		return ok
	})
	return ns.Name
}

func live[T kind.Object]() client.Live[T] {
	l := client.For[T](cluster).Live()
	<-l.Synced()
	return l
}

func count[T kind.Object](ns string) (n int) {
	for range live[T]().All(ns) {
		n++
	}
	return n
}

func template(labels map[string]string, image string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: ptr.To(int64(0)), Containers: []corev1.Container{{Name: "c", Image: image}},
			// These pods are not for the scheduler: each test plays the kubelet.
			SchedulerName: "none",
		},
	}
}

func deployment(ns, name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: appsv1.DeploymentSpec{
		Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template(labels, "a"),
	}}
}

// makeReady plays the kubelet for all pods of a namespace.
func makeReady(t *testing.T, ns string) {
	t.Helper()
	pods := client.For[*corev1.Pod](cluster)
	for p := range pods.Live().All(ns) {
		if p.Status.Phase == corev1.PodRunning || p.DeletionTimestamp != nil {
			continue
		}
		changed := p.DeepCopy()
		changed.Status.Phase = corev1.PodRunning
		changed.Status.PodIP, changed.Status.PodIPs = "10.1.2.3", []corev1.PodIP{{IP: "10.1.2.3"}}
		changed.Status.Conditions = append(changed.Status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()})
		if _, err := pods.UpdateStatus(t.Context(), changed); err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
	}
}

func TestDeploymentRollsOverAndBack(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	deployments := client.For[*appsv1.Deployment](cluster)
	must[*appsv1.Deployment](t)(deployments.Create(t.Context(), deployment(ns, "web", 5)))
	rolledOut := func(image string, size int32) func() bool {
		return func() bool {
			makeReady(t, ns)
			d, ok := deployments.Live().Get(ns, "web")
			if !ok || d.Status.ObservedGeneration != d.Generation || d.Status.AvailableReplicas != size || d.Status.Replicas != size || d.Status.UpdatedReplicas != size {
				return false
			}
			for p := range live[*corev1.Pod]().All(ns) {
				if p.Spec.Containers[0].Image != image {
					return false
				}
			}
			return count[*corev1.Pod](ns) == int(size)
		}
	}
	until(t, "five pods", rolledOut("a", 5))
	edit := func(patch string) {
		t.Helper()
		must[*appsv1.Deployment](t)(deployments.Patch(t.Context(), ns, "web", types.StrategicMergePatchType, []byte(patch)))
	}
	edit(`{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"b"}]}}}}`)
	until(t, "all pods with image b", rolledOut("b", 5))
	if n := count[*appsv1.ReplicaSet](ns); n != 2 {
		t.Errorf("%d ReplicaSets, want the old and the new one", n)
	}
	edit(`{"spec":{"replicas":2,"template":{"spec":{"containers":[{"name":"c","image":"a"}]}}}}`)
	until(t, "two pods with image a", rolledOut("a", 2))
	d, _ := deployments.Live().Get(ns, "web")
	if got := d.Annotations["deployment.kubernetes.io/revision"]; got != "3" {
		t.Errorf("revision %s after going back, want 3", got)
	}
	until(t, "an event of the scaling", func() bool {
		for e := range live[*corev1.Event]().All(ns) {
			if e.Reason == "ScalingReplicaSet" && e.InvolvedObject.Name == "web" && e.Source.Component == "deployment-controller" {
				return true
			}
		}
		return false
	})
}

func TestReplicaSetAdoptsReleasesAndReplaces(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	pods, sets := client.For[*corev1.Pod](cluster), client.For[*appsv1.ReplicaSet](cluster)
	labels := map[string]string{"app": "x"}
	lone := template(labels, "a")
	must[*corev1.Pod](t)(pods.Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "lone", Labels: labels}, Spec: lone.Spec}))
	rs := must[*appsv1.ReplicaSet](t)(sets.Create(t.Context(), &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "x"},
		Spec:       appsv1.ReplicaSetSpec{Replicas: ptr.To(int32(3)), Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template(labels, "a")},
	}))
	owned := func() (n int) {
		for p := range pods.Live().OwnedBy(rs.UID) {
			if p.Status.Phase != corev1.PodFailed {
				n++
			}
		}
		return n
	}
	until(t, "three pods, one adopted", func() bool { return owned() == 3 && count[*corev1.Pod](ns) == 3 })
	must[*corev1.Pod](t)(pods.Patch(t.Context(), ns, "lone", types.MergePatchType, []byte(`{"metadata":{"labels":{"app":"y"}}}`)))
	until(t, "the pod that no longer matches released and replaced", func() bool {
		p, ok := pods.Live().Get(ns, "lone")
		return ok && len(p.OwnerReferences) == 0 && owned() == 3 && count[*corev1.Pod](ns) == 4
	})
	for p := range pods.Live().OwnedBy(rs.UID) {
		must[*corev1.Pod](t)(pods.PatchStatus(t.Context(), ns, p.Name, types.MergePatchType, []byte(`{"status":{"phase":"Failed"}}`)))
		break
	}
	until(t, "the failed pod replaced", func() bool { return owned() == 3 && count[*corev1.Pod](ns) == 5 })
	must[*appsv1.ReplicaSet](t)(sets.Patch(t.Context(), ns, "x", types.MergePatchType, []byte(`{"spec":{"replicas":0}}`)))
	until(t, "none left, and the status says so", func() bool {
		rs, ok := sets.Live().Get(ns, "x")
		return ok && owned() == 0 && rs.Status.Replicas == 0 && rs.Status.ObservedGeneration == rs.Generation
	})
}

// TestDeletionPolicies deletes Deployments in the three ways, and looks at what is left.
func TestDeletionPolicies(t *testing.T) {
	t.Parallel()
	for _, policy := range []metav1.DeletionPropagation{metav1.DeletePropagationBackground, metav1.DeletePropagationForeground, metav1.DeletePropagationOrphan} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			ns := namespace(t)
			deployments := client.For[*appsv1.Deployment](cluster)
			must[*appsv1.Deployment](t)(deployments.Create(t.Context(), deployment(ns, "web", 4)))
			until(t, "four pods", func() bool { return count[*corev1.Pod](ns) == 4 })
			must[struct{}](t)(struct{}{}, deployments.Delete(t.Context(), ns, "web", metav1.DeleteOptions{PropagationPolicy: &policy}))
			until(t, "the Deployment gone", func() bool { return count[*appsv1.Deployment](ns) == 0 })
			if policy != metav1.DeletePropagationOrphan {
				until(t, "everything gone", func() bool { return count[*appsv1.ReplicaSet](ns) == 0 && count[*corev1.Pod](ns) == 0 })
				return
			}
			until(t, "the ReplicaSet without owner", func() bool {
				for rs := range live[*appsv1.ReplicaSet]().All(ns) {
					return len(rs.OwnerReferences) == 0
				}
				return false
			})
			if n := count[*corev1.Pod](ns); n != 4 {
				t.Errorf("%d pods left, want all 4", n)
			}
		})
	}
}

func TestForegroundDeletionWaitsForBlockingDependents(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	maps := client.For[*corev1.ConfigMap](cluster)
	owner := must[*corev1.ConfigMap](t)(maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "owner"}}))
	child := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "child", Finalizers: []string{"example.com/hold"}, OwnerReferences: []metav1.OwnerReference{{
		APIVersion: "v1", Kind: "ConfigMap", Name: "owner", UID: owner.UID, BlockOwnerDeletion: ptr.To(true),
	}}}}
	must[*corev1.ConfigMap](t)(maps.Create(t.Context(), child))
	foreground := metav1.DeletePropagationForeground
	must[struct{}](t)(struct{}{}, maps.Delete(t.Context(), ns, "owner", metav1.DeleteOptions{PropagationPolicy: &foreground}))
	until(t, "the child told to go", func() bool {
		c, ok := maps.Live().Get(ns, "child")
		return ok && c.DeletionTimestamp != nil
	})
	if _, err := maps.Get(t.Context(), ns, "owner"); err != nil {
		t.Fatalf("the owner did not wait: %v", err)
	}
	must[*corev1.ConfigMap](t)(maps.Patch(t.Context(), ns, "child", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`)))
	until(t, "both gone", func() bool { return count[*corev1.ConfigMap](ns) == 1 }) // kube-root-ca.crt
}

func TestNamespaceDeletion(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	namespaces, maps, pods := client.For[*corev1.Namespace](cluster), client.For[*corev1.ConfigMap](cluster), client.For[*corev1.Pod](cluster)
	must[*corev1.ConfigMap](t)(maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "late", Finalizers: []string{"example.com/hold"}}}))
	held := template(nil, "a")
	must[*corev1.Pod](t)(pods.Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "held", Finalizers: []string{"example.com/hold"}}, Spec: held.Spec}))
	must[struct{}](t)(struct{}{}, namespaces.Delete(t.Context(), "", ns, metav1.DeleteOptions{}))
	condition := func(kind corev1.NamespaceConditionType) string {
		n, ok := namespaces.Live().Get("", ns)
		if !ok {
			return "gone"
		}
		for _, c := range n.Status.Conditions {
			if c.Type == kind {
				return string(c.Status) + " " + c.Reason + ": " + c.Message
			}
		}
		return ""
	}
	until(t, "the pod reported", func() bool {
		return condition(corev1.NamespaceFinalizersRemaining) == "True SomeFinalizersRemain: Some content in the namespace has finalizers remaining: example.com/hold in 2 resource instances"
	})
	if m, err := maps.Get(t.Context(), ns, "late"); err != nil || m.DeletionTimestamp != nil {
		t.Errorf("the ConfigMap did not wait for the pod: %v", err)
	}
	must[*corev1.Pod](t)(pods.Patch(t.Context(), ns, "held", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`)))
	until(t, "the ConfigMap reported", func() bool {
		return condition(corev1.NamespaceContentRemaining) == "True SomeResourcesRemain: Some resources are remaining: configmaps. has 1 resource instances"
	})
	must[*corev1.ConfigMap](t)(maps.Patch(t.Context(), ns, "late", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`)))
	until(t, "the namespace gone", func() bool { return condition("") == "gone" })
}

func TestNamespaceFurniture(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	maps, accounts := client.For[*corev1.ConfigMap](cluster), client.For[*corev1.ServiceAccount](cluster)
	published := func() bool {
		m, ok := maps.Live().Get(ns, "kube-root-ca.crt")
		return ok && len(m.Data["ca.crt"]) > 100 && m.Annotations["kubernetes.io/description"] != ""
	}
	until(t, "the root certificate", published)
	must[*corev1.ConfigMap](t)(maps.Patch(t.Context(), ns, "kube-root-ca.crt", types.MergePatchType, []byte(`{"data":{"ca.crt":"forged"}}`)))
	until(t, "the root certificate restored", published)
	before, _ := accounts.Live().Get(ns, "default")
	must[struct{}](t)(struct{}{}, accounts.Delete(t.Context(), ns, "default", metav1.DeleteOptions{}))
	until(t, "the service account restored", func() bool {
		a, ok := accounts.Live().Get(ns, "default")
		return ok && a.UID != before.UID
	})
}

func TestServiceEndpoints(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	node := must[*corev1.Node](t)(client.For[*corev1.Node](cluster).Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{GenerateName: "endpoints-", Labels: map[string]string{corev1.LabelTopologyZone: "z1"}}}))
	spec := template(nil, "a").Spec
	spec.NodeName = node.Name
	must[*corev1.Pod](t)(client.For[*corev1.Pod](cluster).Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "p", Labels: map[string]string{"app": "s"}}, Spec: spec}))
	services := client.For[*corev1.Service](cluster)
	must[*corev1.Service](t)(services.Create(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "s"}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": "s"}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}},
		TrafficDistribution: ptr.To(corev1.ServiceTrafficDistributionPreferSameZone),
	}}))
	until(t, "an empty slice and empty Endpoints", func() bool {
		return count[*discoveryv1.EndpointSlice](ns) == 1 && count[*corev1.Endpoints](ns) == 1
	})
	until(t, "the ready pod in both", func() bool {
		makeReady(t, ns)
		e, _ := live[*corev1.Endpoints]().Get(ns, "s")
		for s := range live[*discoveryv1.EndpointSlice]().All(ns) {
			return len(s.Endpoints) == 1 && *s.Endpoints[0].Conditions.Ready && *s.Endpoints[0].Zone == "z1" && *s.Ports[0].Port == 8080 &&
				len(e.Subsets) == 1 && len(e.Subsets[0].Addresses) == 1
		}
		return false
	})
	hinted := func(zone string) func() bool {
		return func() bool {
			for s := range live[*discoveryv1.EndpointSlice]().All(ns) {
				e := s.Endpoints[0]
				return *e.Zone == zone && e.Hints != nil && len(e.Hints.ForZones) == 1 && e.Hints.ForZones[0].Name == zone
			}
			return false
		}
	}
	until(t, "the hint of the node's zone", hinted("z1"))
	must[*corev1.Node](t)(client.For[*corev1.Node](cluster).Patch(t.Context(), "", node.Name, types.MergePatchType, []byte(`{"metadata":{"labels":{"topology.kubernetes.io/zone":"z2"}}}`)))
	until(t, "the hint of the node's new zone", hinted("z2"))
	must[struct{}](t)(struct{}{}, services.Delete(t.Context(), ns, "s", metav1.DeleteOptions{}))
	until(t, "both gone", func() bool {
		return count[*discoveryv1.EndpointSlice](ns) == 0 && count[*corev1.Endpoints](ns) == 0
	})
}

// TestSilentNodeLosesItsPods lets one of two nodes fall silent: its pods that do not tolerate that are deleted.
func TestSilentNodeLosesItsPods(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	nodes, leases, pods := client.For[*corev1.Node](cluster), client.For[*coordinationv1.Lease](cluster), client.For[*corev1.Pod](cluster)
	alive, silent := ns+"-alive", ns+"-silent"
	ready := func(name string) {
		t.Helper()
		must[*corev1.Node](t)(nodes.PatchStatus(t.Context(), "", name, types.StrategicMergePatchType, []byte(`{"status":{"conditions":[{"type":"Ready","status":"True","reason":"KubeletReady"}]}}`)))
	}
	beat := func(name string) {
		now := metav1.NowMicro()
		l, err := leases.Get(t.Context(), corev1.NamespaceNodeLease, name)
		if apierrors.IsNotFound(err) {
			_, err = leases.Create(t.Context(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: name}, Spec: coordinationv1.LeaseSpec{RenewTime: &now}})
		} else if err == nil {
			l = l.DeepCopy()
			l.Spec.RenewTime = &now
			_, err = leases.Update(t.Context(), l)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{alive, silent} {
		must[*corev1.Node](t)(nodes.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelTopologyZone: ns}}}))
		ready(name)
		beat(name)
	}
	// On a slow machine the one that is to live may have been late.
	keepAlive := func() {
		beat(alive)
		if n, ok := nodes.Live().Get("", alive); ok && (len(n.Status.Conditions) == 0 || n.Status.Conditions[0].Status != corev1.ConditionTrue) {
			ready(alive)
		}
	}
	bound := func(name, node string, tolerations ...corev1.Toleration) {
		spec := template(nil, "a").Spec
		spec.NodeName, spec.Tolerations = node, tolerations
		must[*corev1.Pod](t)(pods.Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: spec}))
	}
	bound("stays", silent, corev1.Toleration{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute})
	bound("elsewhere", alive)
	bound("goes", silent, corev1.Toleration{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: ptr.To(int64(0))})
	until(t, "the silent node tainted", func() bool {
		keepAlive()
		n, ok := nodes.Live().Get("", silent)
		if !ok {
			return false
		}
		var scheduling, executing bool
		for _, taint := range n.Spec.Taints {
			scheduling = scheduling || taint.Key == corev1.TaintNodeUnreachable && taint.Effect == corev1.TaintEffectNoSchedule
			executing = executing || taint.Key == corev1.TaintNodeUnreachable && taint.Effect == corev1.TaintEffectNoExecute
		}
		return scheduling && executing && len(n.Status.Conditions) == 4
	})
	until(t, "the pod gone", func() bool {
		keepAlive()
		_, there := pods.Live().Get(ns, "goes")
		return !there
	})
	for _, name := range []string{"stays", "elsewhere"} {
		if _, err := pods.Get(t.Context(), ns, name); err != nil {
			t.Errorf("pod %s: %v", name, err)
		}
	}
	// It comes back.
	until(t, "the node without taints again", func() bool {
		keepAlive()
		beat(silent)
		ready(silent)
		n, _ := nodes.Live().Get("", silent)
		return len(n.Spec.Taints) == 0
	})
}

func TestClusterRoleAggregation(t *testing.T) {
	t.Parallel()
	roles := client.For[*rbacv1.ClusterRole](cluster)
	id := namespace(t)
	must[*rbacv1.ClusterRole](t)(roles.Create(t.Context(), &rbacv1.ClusterRole{
		ObjectMeta:      metav1.ObjectMeta{Name: id},
		AggregationRule: &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{id: "yes"}}}},
	}))
	rule := func(resource string) []rbacv1.PolicyRule {
		return []rbacv1.PolicyRule{{APIGroups: []string{"example.com"}, Resources: []string{resource}, Verbs: []string{"get"}}}
	}
	for _, name := range []string{id + "-b", id + "-a"} {
		must[*rbacv1.ClusterRole](t)(roles.Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{id: "yes"}}, Rules: rule(name)}))
	}
	has := func(resources ...string) func() bool {
		return func() bool {
			r, ok := roles.Live().Get("", id)
			if !ok || len(r.Rules) != len(resources) {
				return false
			}
			for i, want := range resources {
				if r.Rules[i].Resources[0] != want {
					return false
				}
			}
			return true
		}
	}
	until(t, "both parts, by name", has(id+"-a", id+"-b"))
	must[struct{}](t)(struct{}{}, roles.Delete(t.Context(), "", id+"-a", metav1.DeleteOptions{}))
	until(t, "one part", has(id+"-b"))
}

// TestOwnerThatNeverWas: an owner reference to what does not exist is a reason to delete; one that names an unknown kind is not.
func TestOwnerThatNeverWas(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	maps := client.For[*corev1.ConfigMap](cluster)
	for name, ref := range map[string]metav1.OwnerReference{
		"doomed": {APIVersion: "v1", Kind: "ConfigMap", Name: "gone", UID: "11111111-1111-1111-1111-111111111111"},
		"kept":   {APIVersion: "example.com/v1", Kind: "Thing", Name: "thing", UID: "22222222-2222-2222-2222-222222222222"},
	} {
		must[*corev1.ConfigMap](t)(maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, OwnerReferences: []metav1.OwnerReference{ref}}}))
	}
	until(t, "the doomed one gone", func() bool {
		_, ok := maps.Live().Get(ns, "doomed")
		return !ok
	})
	kept := must[*corev1.ConfigMap](t)(maps.Get(t.Context(), ns, "kept"))
	must[*corev1.ConfigMap](t)(maps.Patch(t.Context(), ns, "kept", types.StrategicMergePatchType, ownership.WithoutOwners(kept.UID, kept.OwnerReferences[0].UID)))
	until(t, "the owner reference gone", func() bool {
		m, ok := maps.Live().Get(ns, "kept")
		return ok && len(m.OwnerReferences) == 0
	})
}
