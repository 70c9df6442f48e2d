package endpointslice

import (
	"fmt"
	"math/rand/v2"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// model carries plans out as a server would.
type model struct {
	world
	serial int
	writes int
}

func newModel(max int) *model {
	m := &model{world: world{
		service: &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "s", UID: "s"}, Spec: corev1.ServiceSpec{
			ClusterIP: "10.0.0.1", IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}, Selector: map[string]string{"app": "s"},
			Ports: []corev1.ServicePort{{Name: "web", Port: 80, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromString("web")}},
		}},
		max: max,
	}}
	m.node = func(name string) (*corev1.Node, bool) { return &corev1.Node{}, name != "missing" }
	m.hidden = func(string) bool { return false }
	return m
}

func pod(i int, port int32, ready bool) *corev1.Pod {
	ip := fmt.Sprintf("10.1.%d.%d", i/250, i%250+1)
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: fmt.Sprint("p", i), UID: types.UID(fmt.Sprint(i))},
		Spec:       corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: port, Protocol: corev1.ProtocolTCP}}}}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}}},
	}
	if ready {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	return p
}

func (m *model) step() plan {
	p := makePlan(m.world, discoveryv1.AddressTypeIPv4)
	gone := map[string]bool{}
	for _, s := range p.remove {
		gone[s.Name] = true
	}
	for _, s := range p.update {
		gone[s.Name] = true
	}
	var left []*discoveryv1.EndpointSlice
	for _, s := range m.slices {
		if !gone[s.Name] {
			left = append(left, s)
		}
	}
	m.slices = append(left, p.update...)
	for _, s := range p.create {
		m.serial++
		s.Name = fmt.Sprint("s-", m.serial)
		m.slices = append(m.slices, s)
	}
	m.writes += len(p.create) + len(p.update) + len(p.remove)
	return p
}

// check says what is wrong with the slices.
func (m *model) check() error {
	have := map[string]bool{}
	for _, s := range m.slices {
		if len(s.Endpoints) > m.max {
			return fmt.Errorf("slice %s has %d endpoints", s.Name, len(s.Endpoints))
		}
		for _, e := range s.Endpoints {
			key := fmt.Sprintf("%s %d %t", e.TargetRef.Name, *s.Ports[0].Port, *e.Conditions.Ready)
			if have[key] {
				return fmt.Errorf("%s is there twice", key)
			}
			have[key] = true
		}
	}
	for _, p := range m.pods {
		key := fmt.Sprintf("%s %d %t", p.Name, p.Spec.Containers[0].Ports[0].ContainerPort, len(p.Status.Conditions) > 0)
		if !have[key] {
			return fmt.Errorf("%s is missing", key)
		}
		delete(have, key)
	}
	if len(have) > 0 {
		return fmt.Errorf("%v too many", have)
	}
	if len(m.slices) == 0 {
		return fmt.Errorf("no slice at all")
	}
	return nil
}

// TestAnyChange changes pods at random; after one plan the slices are right, and a second plan has nothing to do.
func TestAnyChange(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		m := newModel(1 + random.IntN(5))
		for range 10 {
			m.pods = nil
			for i := range random.IntN(20) {
				if random.IntN(3) > 0 {
					m.pods = append(m.pods, pod(i, 8080+int32(random.IntN(2)), random.IntN(2) == 0))
				}
			}
			m.step()
			if err := m.check(); err != nil {
				t.Fatalf("%v\npods %d slices %d", err, len(m.pods), len(m.slices))
			}
			if p := m.step(); len(p.create)+len(p.update)+len(p.remove) > 0 {
				t.Fatalf("the second plan still creates %d, updates %d, deletes %d", len(p.create), len(p.update), len(p.remove))
			}
		}
	}
}

// TestFewWrites: one pod's change is one slice's write.
func TestFewWrites(t *testing.T) {
	m := newModel(100)
	for i := range 950 {
		m.pods = append(m.pods, pod(i, 8080, true))
	}
	m.step()
	if len(m.slices) != 10 {
		t.Fatalf("%d slices for 950 pods", len(m.slices))
	}
	for _, step := range []struct {
		what   string
		change func()
	}{
		{"a pod becomes unready", func() { m.pods[500] = pod(500, 8080, false) }},
		{"a pod goes", func() { m.pods = m.pods[1:] }},
		{"a pod comes", func() { m.pods = append(m.pods, pod(2000, 8080, true)) }},
	} {
		before := m.writes
		step.change()
		m.step()
		if n := m.writes - before; n != 1 {
			t.Errorf("%s: %d writes", step.what, n)
		}
		if err := m.check(); err != nil {
			t.Error(err)
		}
	}
	m.pods = []*corev1.Pod{pod(1, 8080, true)}
	m.pods[0].Spec.NodeName = "missing"
	if p := m.step(); !p.skipped {
		t.Error("a pod of an unknown node is not told")
	}
}
