package placement

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func benchmarkCluster(nodes int) *Cluster {
	c := NewCluster()
	for i := range nodes {
		name := fmt.Sprintf("node-%d", i)
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name, corev1.LabelTopologyZone: fmt.Sprint("z", i%3)}}}
		n.Status.Allocatable = resourceList(32_000, 128<<30, 0)
		n.Status.Allocatable[corev1.ResourcePods] = *resource.NewQuantity(1<<30, resource.DecimalSI)
		c.SetNode(n)
	}
	return c
}

func benchmarkPod(i int) *corev1.Pod {
	name := fmt.Sprintf("p%d", i)
	yes := true
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID(name), Generation: 1,
		OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", UID: "rs", Controller: &yes}}}}
	p.Spec.Containers = []corev1.Container{{Name: "c", Image: "app:1"}}
	p.Spec.Tolerations = []corev1.Toleration{
		{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
		{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}}
	return p
}

func benchmarkPlace(b *testing.B, nodes int) {
	c := benchmarkCluster(nodes)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		p := c.Pending(benchmarkPod(i))
		d := c.Decide(p)
		if d.Node == "" {
			b.Fatal(d.Why)
		}
		c.Assume(p, d.Node)
	}
}

func BenchmarkPlace1000(b *testing.B) { benchmarkPlace(b, 1000) }
func BenchmarkPlace5000(b *testing.B) { benchmarkPlace(b, 5000) }

// BenchmarkNewClass5000 is the first placement of a shape that was not seen before.
func BenchmarkNewClass5000(b *testing.B) {
	c := benchmarkCluster(5000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		pod := benchmarkPod(i)
		pod.OwnerReferences[0].UID = types.UID(fmt.Sprint(i))
		if d := c.Decide(c.Pending(pod)); d.Node == "" {
			b.Fatal(d.Why)
		}
	}
}

// BenchmarkRules places pods of 20 applications that look at each other.
func BenchmarkRules(b *testing.B) {
	rules := map[string]func(*corev1.Pod, *metav1.LabelSelector){
		"spread": func(p *corev1.Pod, same *metav1.LabelSelector) {
			p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{
				{MaxSkew: 1, TopologyKey: corev1.LabelTopologyZone, WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: same},
				{MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.ScheduleAnyway, LabelSelector: same}}
		},
		"affinity": func(p *corev1.Pod, same *metav1.LabelSelector) {
			p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{
				{Weight: 100, PodAffinityTerm: corev1.PodAffinityTerm{TopologyKey: corev1.LabelHostname, LabelSelector: same}}}}}
		},
	}
	for _, nodes := range []int{1000, 5000} {
		for name, add := range rules {
			b.Run(fmt.Sprintf("%s/%d", name, nodes), func(b *testing.B) {
				c := benchmarkCluster(nodes)
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					pod := benchmarkPod(i)
					pod.Labels = map[string]string{"app": fmt.Sprint(i % 20)}
					add(pod, &metav1.LabelSelector{MatchLabels: pod.Labels})
					p := c.Pending(pod)
					d := c.Decide(p)
					if d.Node == "" {
						b.Fatal(d.Why)
					}
					c.Assume(p, d.Node)
				}
			})
		}
	}
}
