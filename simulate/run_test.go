package simulate_test

import (
	"context"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/wheelhouse-k8s/wheelhouse"
	"github.com/wheelhouse-k8s/wheelhouse/simulate"
)

// world is a whole master, and nodes that a test starts.
type world struct {
	*testing.T
	ctx    context.Context
	client kubernetes.Interface
	config *rest.Config
}

func newWorld(t *testing.T) *world {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	m, err := wheelhouse.Start(ctx, wheelhouse.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	})
	config := m.RESTConfig()
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t, ctx, client, config}
	w.until("the default service account", func() bool {
		_, err := client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		return err == nil
	})
	return w
}

// simulate runs nodes until the returned function is called.
func (w *world) simulate(o simulate.Options) (stop func()) {
	w.Helper()
	ctx, cancel := context.WithCancel(w.ctx)
	done, registered := make(chan error, 1), make(chan struct{})
	o.Config, o.Registered = w.config, func() { close(registered) }
	go func() { done <- simulate.Run(ctx, o) }()
	select {
	case <-registered:
	case err := <-done:
		w.Fatalf("simulation ended: %v", err)
	case <-w.ctx.Done():
		w.Fatal("nodes were not registered in time")
	}
	return func() {
		cancel()
		if err := <-done; err != nil {
			w.Error(err)
		}
	}
}

func (w *world) until(what string, is func() bool) {
	w.Helper()
	for !is() {
		if w.ctx.Err() != nil {
			w.Fatalf("never happened: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (w *world) pod(name string, edit ...func(*corev1.Pod)) {
	w.Helper()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{}}}
	p.Spec.Containers = []corev1.Container{{Name: "c", Image: "app"}}
	for _, e := range edit {
		e(p)
	}
	if _, err := w.client.CoreV1().Pods("default").Create(w.ctx, p, metav1.CreateOptions{}); err != nil {
		w.Fatal(err)
	}
}

func (w *world) phase(name string, phase corev1.PodPhase) *corev1.Pod {
	w.Helper()
	var p *corev1.Pod
	w.until("pod "+name+" is "+string(phase), func() bool {
		var err error
		p, err = w.client.CoreV1().Pods("default").Get(w.ctx, name, metav1.GetOptions{})
		return err == nil && p.Status.Phase == phase
	})
	return p
}

func (w *world) gone(name string) {
	w.Helper()
	w.until("pod "+name+" is gone", func() bool {
		_, err := w.client.CoreV1().Pods("default").Get(w.ctx, name, metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
}

func TestNodesAndPods(t *testing.T) {
	w := newWorld(t)
	stop := w.simulate(simulate.Options{Nodes: 3, Labels: func(n int) map[string]string { return map[string]string{"simulated": "yes"} }})
	nodes, err := w.client.CoreV1().Nodes().List(w.ctx, metav1.ListOptions{LabelSelector: "simulated=yes,kubernetes.io/os=linux"})
	if err != nil || len(nodes.Items) != 3 {
		t.Fatalf("%d nodes, %v", len(nodes.Items), err)
	}
	n := nodes.Items[0]
	if n.Name != "node-1" || n.Status.NodeInfo.KubeletVersion != simulate.DefaultVersion || n.Status.Allocatable.Cpu().Value() != 32 || n.Spec.PodCIDR != "10.244.0.0/24" {
		t.Errorf("node %+v", n)
	}
	lease, err := w.client.CoordinationV1().Leases("kube-node-lease").Get(w.ctx, "node-2", metav1.GetOptions{})
	if err != nil || *lease.Spec.HolderIdentity != "node-2" || *lease.Spec.LeaseDurationSeconds != 40 || lease.OwnerReferences[0].UID != nodes.Items[1].UID {
		t.Errorf("lease %+v, %v", lease, err)
	}

	w.pod("service")
	w.pod("job", func(p *corev1.Pod) {
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		p.Annotations = map[string]string{"simulate.wheelhouse.dev/run-seconds": "1"}
	})
	w.pod("bare", func(p *corev1.Pod) {
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "example.com/open"}}
	})
	p := w.phase("service", corev1.PodRunning)
	if p.Status.PodIP == "" || p.Status.HostIP == "" || !p.Status.ContainerStatuses[0].Ready || p.Status.StartTime == nil {
		t.Errorf("status %+v", p.Status)
	}
	for _, c := range p.Status.Conditions {
		if c.Status != corev1.ConditionTrue {
			t.Errorf("condition %+v", c)
		}
	}
	w.phase("job", corev1.PodSucceeded)
	w.phase("bare", corev1.PodRunning)
	open := []byte(`{"status":{"conditions":[{"type":"example.com/open","status":"True"}]}}`)
	if _, err := w.client.CoreV1().Pods("default").Patch(w.ctx, "bare", types.StrategicMergePatchType, open, metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	w.until("the pod whose gate was opened ready", func() bool {
		p, err := w.client.CoreV1().Pods("default").Get(w.ctx, "bare", metav1.GetOptions{})
		return err == nil && p.Status.Phase == corev1.PodRunning && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
	})

	// A new run takes the nodes and pods over; what was deleted meanwhile is ended then.
	stop()
	if err := w.client.CoreV1().Pods("default").Delete(w.ctx, "service", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if p := w.phase("service", corev1.PodRunning); p.DeletionTimestamp == nil {
		t.Error("a deleted pod has no deletion timestamp")
	}
	stop = w.simulate(simulate.Options{Nodes: 3})
	defer stop()
	w.gone("service")
}

// A node that is cut off does nothing for its pods until it is back.
func TestCutOff(t *testing.T) {
	w := newWorld(t)
	defer w.simulate(simulate.Options{Nodes: 1})()
	w.pod("before")
	w.phase("before", corev1.PodRunning)
	annotate := func(value string) {
		t.Helper()
		patch := []byte(`{"metadata":{"annotations":{"simulate.wheelhouse.dev/stop-heartbeat":` + value + `}}}`)
		if _, err := w.client.CoreV1().Nodes().Patch(w.ctx, "node-1", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	annotate(`"true"`)
	// The node sees its annotation and its pods over two watches: only a pod that stays shows that it has seen the first.
	for i := 0; ; i++ {
		name := "probe-" + string(rune('a'+i))
		w.pod(name)
		w.until(name+" is bound", func() bool {
			p, err := w.client.CoreV1().Pods("default").Get(w.ctx, name, metav1.GetOptions{})
			return err == nil && p.Spec.NodeName != ""
		})
		time.Sleep(50 * time.Millisecond)
		p, err := w.client.CoreV1().Pods("default").Get(w.ctx, name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if p.Status.Phase == corev1.PodPending {
			annotate("null")
			w.phase(name, corev1.PodRunning)
			return
		}
		if i > 20 {
			t.Fatal("the node goes on running pods though it is cut off")
		}
	}
}
