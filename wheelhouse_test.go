package wheelhouse

import (
	"context"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/wheelhouse-k8s/wheelhouse/master"
)

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

func start(t *testing.T, o Options) (*Master, *kubernetes.Clientset) {
	t.Helper()
	m, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	})
	return m, kubernetes.NewForConfigOrDie(m.RESTConfig())
}

func settings(value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string]string{"key": value}}
}

// A node that was silent and is tainted for it can speak again: what the lifecycle controller wrote in the process is, for the
// node's own patch, what the node has read.
func TestTaintedNodeReportsAgain(t *testing.T) {
	m, clients := start(t, Options{Configure: func(c *master.Config) {
		c.ControllerManager.NodeLifecycle.MonitorPeriod = 50 * time.Millisecond
		c.ControllerManager.NodeLifecycle.MonitorGracePeriod, c.ControllerManager.NodeLifecycle.StartupGracePeriod = 100*time.Millisecond, 100*time.Millisecond
	}})
	nodes := clients.CoreV1().Nodes()
	if _, err := nodes.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "silent"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var before *corev1.Node
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		var err error
		if before, err = nodes.Get(t.Context(), "silent", metav1.GetOptions{}); err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(before.Spec.Taints, func(taint corev1.Taint) bool {
			return taint.Effect == corev1.TaintEffectNoExecute && taint.TimeAdded != nil
		}) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not tainted: %v", before.Spec.Taints)
		}
	}
	as := m.RESTConfig()
	as.Impersonate = rest.ImpersonationConfig{UserName: "system:node:silent", Groups: []string{"system:nodes"}}
	kubelet := kubernetes.NewForConfigOrDie(as).CoreV1().Nodes()
	// A kubelet's patch names the conditions, and any patch makes the server decode the node anew.
	body := `{"status":{"conditions":[{"type":"Ready","status":"True","reason":"KubeletReady","lastHeartbeatTime":"2030-01-01T00:00:00Z"}]}}`
	if _, err := kubelet.Patch(t.Context(), "silent", types.StrategicMergePatchType, []byte(body), metav1.PatchOptions{}, "status"); err != nil {
		t.Error("patch of status:", err)
	}
	for {
		now, err := kubelet.Get(t.Context(), "silent", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		taints := now.Spec.Taints
		now.Status.NodeInfo.KubeletVersion = "v1.37.0"
		if _, err = kubelet.UpdateStatus(t.Context(), now, metav1.UpdateOptions{}); err == nil {
			break
		}
		if now, gone := kubelet.Get(t.Context(), "silent", metav1.GetOptions{}); gone != nil || !apierrors.IsConflict(err) && reflect.DeepEqual(now.Spec.Taints, taints) {
			t.Fatalf("update of status: %v", err) // and not because the taints have just become others
		}
	}
}

// A hardened master refuses what strangers do to each other, and runs workloads as any other.
func TestHardened(t *testing.T) {
	_, clients := start(t, Options{SimulateNodes: 1, Configure: func(c *master.Config) { c.Hardened = true }})
	one := int32(1)
	labels := map[string]string{"app": "a"}
	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "nginx:1", ImagePullPolicy: corev1.PullNever}}}}
	if _, err := clients.AppsV1().Deployments("default").Create(t.Context(), &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: appsv1.DeploymentSpec{
		Replicas: &one, Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		pods, err := clients.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(pods.Items) == 1 && pods.Items[0].Status.Phase == corev1.PodRunning {
			if policy := pods.Items[0].Spec.Containers[0].ImagePullPolicy; policy != corev1.PullAlways {
				t.Errorf("the image is pulled %s", policy)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the deployment's pod does not run: %v", pods.Items)
		}
	}
	host := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "host"}, Spec: corev1.PodSpec{HostPID: true, Containers: template.Spec.Containers}}
	if _, err := clients.CoreV1().Pods("default").Create(t.Context(), host, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a pod among its node's processes: %v", err)
	}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}, ExternalIPs: []string{"8.8.8.8"}}}
	if _, err := clients.CoreV1().Services("default").Create(t.Context(), service, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("somebody else's address: %v", err)
	}
}

// Masters in one process share nothing.
func TestSideBySide(t *testing.T) {
	var wg sync.WaitGroup
	for _, name := range []string{"one", "two", "three"} {
		wg.Go(func() {
			_, clients := start(t, Options{Components: []master.Component{master.APIServer}})
			maps := clients.CoreV1().ConfigMaps("default")
			if _, err := maps.Create(t.Context(), settings(name), metav1.CreateOptions{}); err != nil {
				t.Error(err)
				return
			}
			if got, err := maps.Get(t.Context(), "settings", metav1.GetOptions{}); err != nil || got.Data["key"] != name {
				t.Errorf("%s: %v, %v", name, got, err)
			}
		})
	}
	wg.Wait()
}

// A master on disk continues where it ended.
func TestOnDisk(t *testing.T) {
	o := Options{DataDir: filepath.Join(t.TempDir(), "data"), Components: []master.Component{master.APIServer}}
	m, clients := start(t, o)
	made, err := clients.CoreV1().ConfigMaps("default").Create(t.Context(), settings("kept"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Stop(); err != nil {
		t.Fatal(err)
	}
	_, clients = start(t, o)
	got, err := clients.CoreV1().ConfigMaps("default").Get(t.Context(), "settings", metav1.GetOptions{})
	if err != nil || got.ResourceVersion != made.ResourceVersion || got.Data["key"] != "kept" {
		t.Fatalf("after the restart: %v, %v", got, err)
	}
}

// A whole master runs a pod on a simulated node.
func TestPodRuns(t *testing.T) {
	_, clients := start(t, Options{SimulateNodes: 1})
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "nginx"}}}}
	if _, err := clients.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	w, err := clients.CoreV1().Pods("default").Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=p", ResourceVersion: "0"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		if p, ok := e.Object.(*corev1.Pod); ok && p.Status.Phase == corev1.PodRunning {
			return
		}
	}
	t.Fatal("the pod did not come to run")
}

// When the context of Start ends, so does the master.
func TestContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	m, err := Start(ctx, Options{Components: []master.Component{master.APIServer}})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case <-m.Done():
	case <-time.After(patience):
		t.Fatal("the master goes on")
	}
	if err := m.Stop(); err != nil {
		t.Fatal(err)
	}
}

func TestWrongOptions(t *testing.T) {
	_, err := Start(t.Context(), Options{Configure: func(c *master.Config) { c.BindAddress = "nowhere" }})
	if err == nil || apierrors.ReasonForError(err) != metav1.StatusReasonUnknown {
		t.Fatalf("error: %v", err)
	}
}
