package placement_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/wheelhouse-k8s/wheelhouse/scheduler/placement"
	"github.com/wheelhouse-k8s/wheelhouse/test/scenario"
)

var rewrite = scenario.Flag()

// A scenario is blocks of commands, each followed by ---- and what they give:
//
//	node NAME cpu=4 memory=8Gi pods=10 label:zone=a taint=key=value:Effect image=nginx:1=500Mi unschedulable x/gpu=2
//	no-node NAME
//	namespace NAME label:team=a
//	bound NAME NODE …pod          a pod that has a node
//	gone NAME
//	place NAME [times=N] …pod     look for a node, and take it
//
// A pod is cpu=1 memory=1Gi port=8080 label:app=web select:zone=a namespace=x image=nginx:1 owner=rs and, after " | ", more of its
// spec as JSON or flow YAML.
func TestScenarios(t *testing.T) {
	scenario.Run(t, "testdata/*.txt", rewrite, func(t *testing.T) func(string, scenario.Args) string {
		cluster := placement.NewCluster()
		return func(verb string, words scenario.Args) string { return command(t, cluster, verb, words) }
	})
}

func command(t *testing.T, cluster *placement.Cluster, verb string, words scenario.Args) string {
	t.Helper()
	words, more := words.Cut("|")
	name, args := words[0], words[1:]
	switch verb {
	case "node":
		cluster.SetNode(nodeOf(t, name, args))
	case "no-node":
		cluster.RemoveNode(name)
	case "namespace":
		labels := map[string]string{}
		for _, a := range args {
			key, value, _ := strings.Cut(strings.TrimPrefix(a, "label:"), "=")
			labels[key] = value
		}
		cluster.SetNamespace(name, labels)
	case "bound":
		pod := podOf(t, name, args[1:], more)
		pod.Spec.NodeName = args[0]
		cluster.SetPod(pod)
	case "gone":
		cluster.RemovePod(types.UID(name))
	case "place":
		times := 1
		if len(args) > 0 && strings.HasPrefix(args[0], "times=") {
			times, _ = strconv.Atoi(args[0][len("times="):])
			args = args[1:]
		}
		return placeTimes(t, cluster, name, times, args, more)
	default:
		t.Fatalf("unknown command %q", verb)
	}
	return ""
}

func placeTimes(t *testing.T, cluster *placement.Cluster, name string, times int, args []string, more string) string {
	var out strings.Builder
	for n := range times {
		one := name
		if times > 1 {
			one = fmt.Sprintf("%s-%d", name, n)
		}
		p := cluster.Pending(podOf(t, one, args, more))
		d := cluster.Decide(p)
		if d.Node == "" {
			fmt.Fprintf(&out, "%s: %s\n", one, d.Why)
			continue
		}
		cluster.Assume(p, d.Node)
		fmt.Fprintf(&out, "%s -> %s (score %d, %d feasible)\n", one, d.Node, d.Score, d.Feasible)
	}
	return out.String()
}

func nodeOf(t *testing.T, name string, args []string) *corev1.Node {
	t.Helper()
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}}
	n.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4"),
		corev1.ResourceMemory: resource.MustParse("8Gi"), corev1.ResourcePods: resource.MustParse("110")}
	for _, a := range args {
		key, value, _ := strings.Cut(a, "=")
		switch {
		case key == "unschedulable":
			n.Spec.Unschedulable = true
		case key == "taint":
			key, effect, _ := strings.Cut(value, ":")
			key, value, _ := strings.Cut(key, "=")
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Value: value, Effect: corev1.TaintEffect(effect)})
		case key == "image":
			image, size, _ := strings.Cut(value, "=")
			q := resource.MustParse(size)
			n.Status.Images = append(n.Status.Images, corev1.ContainerImage{Names: []string{image}, SizeBytes: q.Value()})
		case strings.HasPrefix(key, "label:"):
			n.Labels[key[len("label:"):]] = value
		default:
			n.Status.Allocatable[corev1.ResourceName(key)] = resource.MustParse(value)
		}
	}
	return n
}

func podOf(t *testing.T, name string, args []string, more string) *corev1.Pod {
	t.Helper()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID(name), Generation: 1, Labels: map[string]string{}}}
	p.Spec.Containers = []corev1.Container{{Name: "c", Image: "app:1"}}
	c := &p.Spec.Containers[0]
	if more != "" {
		asJSON, err := yaml.YAMLToJSON([]byte(more))
		if err != nil {
			t.Fatalf("%s: %v", more, err)
		}
		if err := json.Unmarshal(asJSON, &p.Spec); err != nil {
			t.Fatalf("%s: %v", more, err)
		}
		c = &p.Spec.Containers[0]
	}
	for _, a := range args {
		key, value, _ := strings.Cut(a, "=")
		switch {
		case key == "namespace":
			p.Namespace = value
		case key == "owner":
			yes := true
			p.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", Name: value, UID: types.UID(value), Controller: &yes}}
		case key == "image":
			c.Image = value
		case key == "port":
			port, _ := strconv.Atoi(value)
			c.Ports = append(c.Ports, corev1.ContainerPort{ContainerPort: int32(port), HostPort: int32(port)})
		case strings.HasPrefix(key, "label:"):
			p.Labels[key[len("label:"):]] = value
		case strings.HasPrefix(key, "select:"):
			if p.Spec.NodeSelector == nil {
				p.Spec.NodeSelector = map[string]string{}
			}
			p.Spec.NodeSelector[key[len("select:"):]] = value
		default:
			if c.Resources.Requests == nil {
				c.Resources.Requests = corev1.ResourceList{}
			}
			c.Resources.Requests[corev1.ResourceName(key)] = resource.MustParse(value)
		}
	}
	return p
}
