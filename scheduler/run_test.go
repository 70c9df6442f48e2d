package scheduler_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/wheelhouse-k8s/wheelhouse"
	"github.com/wheelhouse-k8s/wheelhouse/master"
)

// bench is a master with a scheduler and without controllers; nodes are objects that nobody is behind.
type bench struct {
	*testing.T
	ctx    context.Context
	client kubernetes.Interface
}

func newBench(t *testing.T) *bench {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	m, err := wheelhouse.Start(ctx, wheelhouse.Options{Components: []master.Component{master.APIServer, master.Scheduler}})
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
	b := &bench{t, ctx, client}
	b.serviceAccount()
	return b
}

// serviceAccount makes what a controller would make.
func (b *bench) serviceAccount() {
	b.Helper()
	_, err := b.client.CoreV1().ServiceAccounts("default").Create(b.ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{})
	if err != nil && !strings.Contains(err.Error(), "already exists") {
		b.Fatal(err)
	}
}

func (b *bench) node(name, cpu string) {
	b.Helper()
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	n.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse("8Gi"), corev1.ResourcePods: resource.MustParse("110")}
	n.Status.Capacity = n.Status.Allocatable
	made, err := b.client.CoreV1().Nodes().Create(b.ctx, n, metav1.CreateOptions{})
	if err != nil {
		b.Fatal(err)
	}
	if len(made.Spec.Taints) > 0 { // admission taints new nodes until a controller finds them ready
		made.Spec.Taints = nil
		if _, err := b.client.CoreV1().Nodes().Update(b.ctx, made, metav1.UpdateOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

func (b *bench) pod(name, cpu string, edit ...func(*corev1.Pod)) {
	b.Helper()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}}
	p.Spec.Containers = []corev1.Container{{Name: "c", Image: "app"}}
	p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
	for _, e := range edit {
		e(p)
	}
	if _, err := b.client.CoreV1().Pods("default").Create(b.ctx, p, metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
}

// until waits for a pod to be as wanted.
func (b *bench) until(name, what string, is func(*corev1.Pod) bool) *corev1.Pod {
	b.Helper()
	var last *corev1.Pod
	for b.ctx.Err() == nil {
		p, err := b.client.CoreV1().Pods("default").Get(b.ctx, name, metav1.GetOptions{})
		if err == nil && is(p) {
			return p
		}
		last = p
		time.Sleep(5 * time.Millisecond)
	}
	b.Fatalf("pod %s never was %s: %+v", name, what, last)
	return nil
}

func on(node string) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool { return p.Spec.NodeName == node }
}

func refusal(p *corev1.Pod) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if c := &p.Status.Conditions[i]; c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return c
		}
	}
	return nil
}

func unschedulable(p *corev1.Pod) bool {
	c := refusal(p)
	return c != nil && c.Reason == corev1.PodReasonUnschedulable
}

// event waits for an event about a pod.
func (b *bench) event(pod, reason, text string) {
	b.Helper()
	var seen []string
	for b.ctx.Err() == nil {
		list, err := b.client.CoreV1().Events("default").List(b.ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + pod})
		if err != nil {
			b.Fatal(err)
		}
		seen = nil
		for _, e := range list.Items {
			seen = append(seen, e.Reason+": "+e.Message)
			if e.Reason == reason && strings.Contains(e.Message, text) && e.ReportingController == "default-scheduler" {
				return
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	b.Fatalf("no event %s %q about %s, only %v", reason, text, pod, seen)
}

// A pod goes through refusal, a node that appears, room that others leave, and priorities.
func TestPodsAndNodes(t *testing.T) {
	b := newBench(t)
	b.pod("first", "1")
	p := b.until("first", "refused", unschedulable)
	if got := refusal(p).Message; got != "no nodes available to schedule pods" {
		t.Errorf("message %q", got)
	}
	b.event("first", "FailedScheduling", "no nodes available")

	b.node("n1", "1500m")
	b.until("first", "on n1", on("n1"))
	b.event("first", "Scheduled", "Successfully assigned default/first to n1")

	b.pod("second", "1")
	p = b.until("second", "refused", unschedulable)
	want := "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
	if got := refusal(p).Message; got != want {
		t.Errorf("message\n%s\nwant\n%s", got, want)
	}
	now := int64(0)
	if err := b.client.CoreV1().Pods("default").Delete(b.ctx, "first", metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		t.Fatal(err)
	}
	p = b.until("second", "on n1", on("n1"))
	if refusal(p) != nil {
		t.Errorf("a pod on its node is still said to be refused: %v", p.Status.Conditions)
	}
}

func TestGatesAndOtherSchedulers(t *testing.T) {
	b := newBench(t)
	b.node("n1", "4")
	b.pod("other", "1", func(p *corev1.Pod) { p.Spec.SchedulerName = "other" })
	b.pod("gated", "1", func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "x.io/wait"}} })
	b.pod("plain", "1")
	b.until("plain", "on n1", on("n1"))
	if p := b.until("gated", "there", func(*corev1.Pod) bool { return true }); p.Spec.NodeName != "" {
		t.Error("a gated pod was scheduled")
	}
	if _, err := b.client.CoreV1().Pods("default").Patch(b.ctx, "gated", types.MergePatchType, []byte(`{"spec":{"schedulingGates":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("gated", "on n1", on("n1"))
	if p := b.until("other", "there", func(*corev1.Pod) bool { return true }); p.Spec.NodeName != "" || len(p.Status.Conditions) > 0 {
		t.Error("another scheduler's pod was touched")
	}
}

// Changing a node lets pods in that wait for it: an uncordoned node, a label, a larger capacity.
func TestNodeChanges(t *testing.T) {
	b := newBench(t)
	b.node("n1", "1")
	nodes := b.client.CoreV1().Nodes()
	b.pod("labelled", "100m", func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "ssd"} })
	b.pod("large", "2")
	b.until("labelled", "refused", unschedulable)
	b.until("large", "refused", unschedulable)
	if _, err := nodes.Patch(b.ctx, "n1", types.MergePatchType, []byte(`{"spec":{"unschedulable":true},"metadata":{"labels":{"disk":"ssd"}}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := nodes.Patch(b.ctx, "n1", types.MergePatchType, []byte(`{"status":{"allocatable":{"cpu":"8"},"capacity":{"cpu":"8"}}}`), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	b.pod("cordoned", "100m")
	p := b.until("cordoned", "refused", unschedulable)
	if got := refusal(p).Message; !strings.Contains(got, "1 node(s) were unschedulable") {
		t.Errorf("message %q", got)
	}
	if _, err := nodes.Patch(b.ctx, "n1", types.MergePatchType, []byte(`{"spec":{"unschedulable":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"labelled", "large", "cordoned"} {
		b.until(name, "on n1", on("n1"))
	}
}

// Many pods at once end on nodes without any node taking more than it has.
func TestManyPods(t *testing.T) {
	b := newBench(t)
	const nodes, pods = 10, 200
	for i := range nodes {
		b.node(fmt.Sprintf("n%d", i), "2")
	}
	for i := range pods {
		b.pod(fmt.Sprintf("p%d", i), "100m")
	}
	perNode := map[string]int{}
	for i := range pods {
		p := b.until(fmt.Sprintf("p%d", i), "on a node", func(p *corev1.Pod) bool { return p.Spec.NodeName != "" })
		perNode[p.Spec.NodeName]++
	}
	for name, n := range perNode {
		if n != pods/nodes {
			t.Errorf("%s has %d pods, %d fit and equal nodes get equally many", name, n, pods/nodes)
		}
	}
	b.pod("one-more", "100m")
	b.until("one-more", "refused", unschedulable)
}
