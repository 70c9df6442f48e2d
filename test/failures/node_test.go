package failures

import (
	"context"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/wheelhouse-k8s/wheelhouse"
	"github.com/wheelhouse-k8s/wheelhouse/master"
)

// TestNodeLost cuts a node off: its pods are evicted and run again elsewhere. Then it comes back, ends what it still had,
// and takes pods again.
func TestNodeLost(t *testing.T) {
	t.Parallel()
	const replicas = 6
	ctx := context.Background()
	m, err := wheelhouse.Start(ctx, wheelhouse.Options{SimulateNodes: 3, Configure: func(c *master.Config) {
		c.ControllerManager.NodeLifecycle.MonitorPeriod = 500 * time.Millisecond
		c.ControllerManager.NodeLifecycle.MonitorGracePeriod = 15 * time.Second // nodes renew their leases every 10 seconds
		c.ControllerManager.NodeLifecycle.EvictionRate = 10
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Stop()
	clients := connect(t, m.RESTConfig())
	eventually(t, "three ready nodes", func() error {
		list, err := clients.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		ready := 0
		for _, n := range list.Items {
			if readiness(&n) == corev1.ConditionTrue && len(n.Spec.Taints) == 0 {
				ready++
			}
		}
		if ready != 3 {
			return fmt.Errorf("%d of %d", ready, len(list.Items))
		}
		return nil
	})
	second, zero := int64(1), int64(0)
	labels := map[string]string{"app": "web"}
	count := int32(replicas)
	_, err = clients.AppsV1().Deployments("default").Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{Replicas: &count, Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels},
			Spec: corev1.PodSpec{
				Containers:                    []corev1.Container{{Name: "c", Image: "web"}},
				TerminationGracePeriodSeconds: &zero,
				TopologySpreadConstraints: []corev1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: corev1.LabelHostname,
					WhenUnsatisfiable: corev1.ScheduleAnyway, LabelSelector: &metav1.LabelSelector{MatchLabels: labels}}},
				Tolerations: []corev1.Toleration{
					{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &second},
				},
			},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "running pods on three nodes", func() error {
		by := running(t, clients)
		if len(by["node-1"]) == 0 || len(by["node-1"])+len(by["node-2"])+len(by["node-3"]) != replicas {
			return fmt.Errorf("%v", by)
		}
		return nil
	})
	lost := running(t, clients)["node-1"]
	annotate(t, clients, "node-1", `"true"`)
	eventually(t, "the taints of the lost node", func() error {
		n, err := clients.CoreV1().Nodes().Get(ctx, "node-1", metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, taint := range n.Spec.Taints {
			if taint.Key == corev1.TaintNodeUnreachable && taint.Effect == corev1.TaintEffectNoExecute {
				if status := readiness(n); status != corev1.ConditionUnknown {
					return fmt.Errorf("Ready is %s", status)
				}
				return nil
			}
		}
		return fmt.Errorf("taints %v", n.Spec.Taints)
	})
	eventually(t, "all replicas on the nodes that are left", func() error {
		by := running(t, clients)
		if len(by["node-1"]) != 0 || len(by["node-2"])+len(by["node-3"]) != replicas {
			return fmt.Errorf("%v", by)
		}
		return nil
	})

	annotate(t, clients, "node-1", "null")
	eventually(t, "the return of the node", func() error {
		n, err := clients.CoreV1().Nodes().Get(ctx, "node-1", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if status := readiness(n); status != corev1.ConditionTrue || len(n.Spec.Taints) > 0 {
			return fmt.Errorf("Ready is %s, taints %v", status, n.Spec.Taints)
		}
		return nil
	})
	eventually(t, "the end of the pods that the node had lost", func() error {
		list, err := clients.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, p := range list.Items {
			for _, name := range lost {
				if p.Name == name {
					return fmt.Errorf("%s is still there, phase %s, deleted at %v", p.Name, p.Status.Phase, p.DeletionTimestamp)
				}
			}
		}
		return nil
	})
	scale(t, clients, 3*replicas)
	eventually(t, "pods on the node that came back", func() error {
		if by := running(t, clients); len(by["node-1"]) == 0 {
			return fmt.Errorf("%v", by)
		}
		return nil
	})
	awaitScale(t, clients, 3*replicas)
}

// running are the names of the pods that run and shall go on running, by node.
func running(t *testing.T, clients *kubernetes.Clientset) map[string][]string {
	t.Helper()
	list, err := clients.CoreV1().Pods("default").List(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	by := map[string][]string{}
	for _, p := range list.Items {
		if p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp == nil {
			by[p.Spec.NodeName] = append(by[p.Spec.NodeName], p.Name)
		}
	}
	return by
}

func annotate(t *testing.T, clients *kubernetes.Clientset, node, json string) {
	t.Helper()
	body := fmt.Sprintf(`{"metadata":{"annotations":{"simulate.wheelhouse.dev/stop-heartbeat":%s}}}`, json)
	if _, err := clients.CoreV1().Nodes().Patch(context.Background(), node, types.MergePatchType, []byte(body), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

func readiness(n *corev1.Node) corev1.ConditionStatus {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status
		}
	}
	return ""
}
