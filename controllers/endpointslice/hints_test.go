package endpointslice

import (
	"fmt"
	"iter"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
)

// still is a transport whose views never change.
type still struct {
	client.Transport
	objects []kind.Object
}

func (s still) View(k *kind.Kind) client.View { return stillView{objects: s.objects, kind: k} }

type stillView struct {
	client.View
	objects []kind.Object
	kind    *kind.Kind
}

func (v stillView) All(string) iter.Seq[kind.Object] {
	return func(yield func(kind.Object) bool) {
		for _, o := range v.objects {
			if fmt.Sprintf("%T", o) == fmt.Sprintf("%T", v.kind.New()) && !yield(o) {
				return
			}
		}
	}
}

func (v stillView) ByField(_, node string) iter.Seq[kind.Object] {
	return func(yield func(kind.Object) bool) {
		for o := range v.All("") {
			if o.(*corev1.Pod).Spec.NodeName == node && !yield(o) {
				return
			}
		}
	}
}

func made(t *testing.T, objects ...kind.Object) *reconcile.Controller {
	t.Helper()
	b := reconcile.NewBuilder("endpointslice-controller", still{objects: objects})
	b.Options = []any{&Options{ConcurrentSyncs: 1, MaxEndpointsPerSlice: 100}}
	c, err := b.Make(New)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A Service is looked at again exactly when a node's change can change its hints or its endpoints' zones.
func TestNodeChanges(t *testing.T) {
	auto := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "auto", Annotations: map[string]string{corev1.AnnotationTopologyMode: "Auto"}}}
	backend := pod(1, 80, true)
	backend.Labels = map[string]string{"app": "s"}
	c := made(t, newModel(1).service, auto, backend)
	node := func(edit ...func(n *corev1.Node)) *corev1.Node {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{corev1.LabelTopologyZone: "a"}}, Status: corev1.NodeStatus{
			Allocatable: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2")},
			Conditions:  []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}}}
		for _, f := range edit {
			f(n)
		}
		return n
	}
	moved := func(n *corev1.Node) { n.Labels = map[string]string{corev1.LabelTopologyZone: "b"} }
	silent := func(n *corev1.Node) { n.Status.Conditions = nil }
	larger := func(n *corev1.Node) { n.Status.Allocatable[corev1.ResourceCPU] = resource.MustParse("4") }
	master := func(n *corev1.Node) { n.Labels[controlPlaneLabel] = "" }
	elsewhere := func(n *corev1.Node) { n.Name = "other" }
	for name, change := range map[string]struct {
		old, new *corev1.Node
		want     string
	}{
		"new":             {nil, node(), "auto"},
		"gone":            {node(), nil, "auto"},
		"new, not ready":  {nil, node(silent), ""},
		"ready again":     {node(silent), node(), "auto"},
		"larger":          {node(), node(larger), "auto"},
		"heartbeat":       {node(), node(func(n *corev1.Node) { n.ResourceVersion = "2" }), ""},
		"moved":           {node(), node(moved), "s auto"},
		"moved, silent":   {node(silent), node(silent, moved), "s auto"},
		"moved elsewhere": {node(elsewhere), node(moved, elsewhere), "auto"},
		"a master":        {node(), node(master), "auto"},
		"larger master":   {node(master), node(master, larger), ""},
	} {
		var d client.Delta // a nil node is no object, not an object that is nil
		if change.old != nil {
			d.Old = change.old
		}
		if change.new != nil {
			d.New = change.new
		}
		got := ""
		for _, r := range c.Reads {
			if _, ok := r.Kind.New().(*corev1.Node); ok {
				r.Keys(d, func(k reconcile.Key) { got += " " + k.Name })
			}
		}
		if want := change.want; want != "" && got != " "+want || want == "" && got != "" {
			t.Errorf("%s: looked at%s, expected %s", name, got, want)
		}
	}
}

// A node that registers anew in another zone has moved, with the pods that it still runs.
func TestNodeComesBackElsewhere(t *testing.T) {
	backend := pod(1, 80, true)
	backend.Labels = map[string]string{"app": "s"}
	c := made(t, newModel(1).service, backend)
	in := func(zone string) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{corev1.LabelTopologyZone: zone}}}
	}
	for n, step := range []struct {
		change client.Delta
		want   string
	}{
		{client.Delta{New: in("a")}, ""},
		{client.Delta{Old: in("a")}, ""},
		{client.Delta{New: in("a")}, ""},
		{client.Delta{Old: in("a")}, ""},
		{client.Delta{New: in("b")}, " s"},
		{client.Delta{Old: in("b"), New: in("b")}, ""},
	} {
		got := ""
		for _, r := range c.Reads {
			if _, ok := r.Kind.New().(*corev1.Node); ok {
				r.Keys(step.change, func(k reconcile.Key) { got += " " + k.Name })
			}
		}
		if got != step.want {
			t.Errorf("step %d: looked at%s, expected%s", n, got, step.want)
		}
	}
}
