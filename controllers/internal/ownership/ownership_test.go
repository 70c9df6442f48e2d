package ownership

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/wheelhouse-k8s/wheelhouse/client"
)

func TestDecide(t *testing.T) {
	owner := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", UID: "me"}}
	pod := func(controller types.UID, label, namespace string, deleting bool) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Labels: map[string]string{"app": label}}}
		if controller != "" {
			p.OwnerReferences = []metav1.OwnerReference{{UID: controller, Controller: ptr.To(true)}}
		}
		if deleting {
			p.DeletionTimestamp = &metav1.Time{}
		}
		return p
	}
	for _, c := range []struct {
		name                  string
		pod                   *corev1.Pod
		want, wantWhenLeaving string
	}{
		{"mine", pod("me", "x", "ns", false), "own", "own"},
		{"mine and going", pod("me", "x", "ns", true), "own", "own"},
		{"mine no longer", pod("me", "y", "ns", false), "release", ""},
		{"another's", pod("you", "x", "ns", false), "", ""},
		{"nobody's", pod("", "x", "ns", false), "adopt", ""},
		{"nobody's and going", pod("", "x", "ns", true), "", ""},
		{"nobody's and different", pod("", "y", "ns", false), "", ""},
		{"elsewhere", pod("", "x", "other", false), "", ""},
	} {
		for _, leaving := range []bool{false, true} {
			o, want := owner.DeepCopy(), c.want
			if leaving {
				o.DeletionTimestamp, want = &metav1.Time{}, c.wantWhenLeaving
			}
			claim := Decide(o, labels.SelectorFromSet(labels.Set{"app": "x"}), []*corev1.Pod{c.pod})
			got := ""
			switch {
			case len(claim.Owned) > 0:
				got = "own"
			case len(claim.Adopt) > 0:
				got = "adopt"
			case len(claim.Release) > 0:
				got = "release"
			}
			if got != want {
				t.Errorf("%s (leaving %v): %q, want %q", c.name, leaving, got, want)
			}
		}
	}
}

func TestOrphans(t *testing.T) {
	var s Orphans
	free := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p"}}
	taken := free.DeepCopy()
	taken.OwnerReferences = []metav1.OwnerReference{{UID: "me", Controller: ptr.To(true)}}
	for i, step := range []struct {
		delta client.Delta
		want  int
	}{
		{client.Delta{New: free}, 1}, {client.Delta{Old: free, New: free}, 1}, {client.Delta{Old: free, New: taken}, 0},
		{client.Delta{Old: taken, New: free}, 1}, {client.Delta{Old: free}, 0}, {client.Delta{New: taken}, 0},
	} {
		s.Note(step.delta)
		if n := len(s.In("ns")); n != step.want {
			t.Errorf("step %d: %d orphans, want %d", i, n, step.want)
		}
	}
}

func TestMatches(t *testing.T) {
	set := map[string]string{"app": "x", "tier": "web"}
	expression := []metav1.LabelSelectorRequirement{{Key: "tier", Operator: metav1.LabelSelectorOpIn, Values: []string{"web"}}}
	for _, c := range []struct {
		selector *metav1.LabelSelector
		want     bool
	}{
		{nil, false}, {&metav1.LabelSelector{}, false},
		{&metav1.LabelSelector{MatchLabels: map[string]string{"app": "x"}}, true},
		{&metav1.LabelSelector{MatchLabels: map[string]string{"app": "y"}}, false},
		{&metav1.LabelSelector{MatchExpressions: expression}, true},
		{&metav1.LabelSelector{MatchLabels: map[string]string{"app": "y"}, MatchExpressions: expression}, false},
	} {
		if got := Matches(c.selector, set); got != c.want {
			t.Errorf("%v: %v", c.selector, got)
		}
	}
}

func TestNames(t *testing.T) {
	kind := schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}
	for version, want := range map[string]bool{"apps/v1": true, "example.com/v1": false, "v1": false, "apps/v2": false} {
		if got := Names(&metav1.OwnerReference{APIVersion: version, Kind: "Deployment"}, kind); got != want {
			t.Errorf("a Deployment of %s: %v", version, got)
		}
	}
	if Names(nil, kind) || Names(&metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet"}, kind) {
		t.Error("what is none is taken for a Deployment")
	}
}
