package namespace

import (
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/wheelhouse-k8s/wheelhouse/api"
)

func TestPlan(t *testing.T) {
	pods, maps := api.Of[*corev1.Pod](), api.Of[*corev1.ConfigMap]()
	for _, c := range []struct {
		name   string
		left   []content
		remove string
		done   bool
		after  time.Duration
	}{
		{name: "empty", done: true},
		{name: "pods first", left: []content{{kind: maps, count: 2, fresh: 2}, {kind: pods, count: 3, fresh: 1}}, remove: "pods", after: time.Second},
		{name: "others wait for pods that stop", left: []content{{kind: maps, count: 2, fresh: 2}, {kind: pods, count: 1, grace: 30 * time.Second}}, after: 16 * time.Second},
		{name: "then the rest", left: []content{{kind: maps, count: 2, fresh: 2}}, remove: "configmaps", after: time.Second},
		{name: "unreadable content stays", left: []content{{kind: maps, hidden: errors.New("odd")}}, after: time.Second},
		{name: "and so does what unreadable pods may need", left: []content{{kind: maps, count: 1, fresh: 1}, {kind: pods, hidden: errors.New("odd")}}, after: time.Second},
		{name: "told already", left: []content{{kind: maps, count: 1}}, after: time.Second},
	} {
		p := makePlan(c.left)
		var remove []string
		for _, k := range p.Delete {
			remove = append(remove, k.Plural)
		}
		if strings.Join(remove, " ") != c.remove || p.Done != c.done || p.After != c.after {
			t.Errorf("%s: %v %v %v", c.name, remove, p.Done, p.After)
		}
	}
}

func TestConditions(t *testing.T) {
	start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	left := []content{{kind: api.Of[*corev1.Pod](), count: 2, finalizers: map[string]int{"x/y": 1}}}
	first := conditions(nil, left, errors.New("refused"), start)
	second := conditions(first, nil, nil, start.Add(time.Minute))
	text := func(list []corev1.NamespaceCondition) string {
		var out []string
		for _, c := range list {
			out = append(out, string(c.Type)+"="+string(c.Status)+":"+c.Reason+"@"+c.LastTransitionTime.Sub(start).String())
		}
		return strings.Join(out, "\n")
	}
	if got, want := text(first), strings.Join([]string{
		"NamespaceDeletionDiscoveryFailure=False:ResourcesDiscovered@0s", "NamespaceDeletionGroupVersionParsingFailure=False:ParsedGroupVersions@0s",
		"NamespaceDeletionContentFailure=True:ContentDeletionFailed@0s", "NamespaceContentRemaining=True:SomeResourcesRemain@0s",
		"NamespaceFinalizersRemaining=True:SomeFinalizersRemain@0s",
	}, "\n"); got != want {
		t.Errorf("first:\n%s", got)
	}
	if got, want := text(second), strings.Join([]string{
		"NamespaceDeletionDiscoveryFailure=False:ResourcesDiscovered@0s", "NamespaceDeletionGroupVersionParsingFailure=False:ParsedGroupVersions@0s",
		"NamespaceDeletionContentFailure=False:ContentDeleted@1m0s", "NamespaceContentRemaining=False:ContentRemoved@1m0s",
		"NamespaceFinalizersRemaining=False:ContentHasNoFinalizers@1m0s",
	}, "\n"); got != want {
		t.Errorf("second:\n%s", got)
	}
}

func TestPodGrace(t *testing.T) {
	running := &corev1.Pod{Spec: corev1.PodSpec{NodeName: "n"}, Status: corev1.PodStatus{Phase: corev1.PodRunning}}
	short := running.DeepCopy()
	short.Spec.TerminationGracePeriodSeconds = ptr.To(int64(5))
	told := short.DeepCopy()
	told.ObjectMeta = metav1.ObjectMeta{DeletionGracePeriodSeconds: ptr.To(int64(2))}
	finished := running.DeepCopy()
	finished.Status.Phase = corev1.PodSucceeded
	for i, c := range []struct {
		pod  *corev1.Pod
		want time.Duration
	}{{running, 30 * time.Second}, {short, 5 * time.Second}, {told, 2 * time.Second}, {finished, 0}, {&corev1.Pod{}, 0}} {
		if got := podGrace(c.pod); got != c.want {
			t.Errorf("%d: %v, want %v", i, got, c.want)
		}
	}
}
