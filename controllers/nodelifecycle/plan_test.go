package nodelifecycle

import (
	"fmt"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var now = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func node(conditions string, taints ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", CreationTimestamp: metav1.NewTime(now)}}
	for _, word := range strings.Fields(conditions) {
		t, status, _ := strings.Cut(word, "=")
		n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: corev1.NodeConditionType(t), Status: corev1.ConditionStatus(status), LastHeartbeatTime: metav1.NewTime(now)})
	}
	for _, word := range taints {
		key, effect, _ := strings.Cut(word, ":")
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Effect: corev1.TaintEffect(effect)})
	}
	return n
}

func names(taints []corev1.Taint) string {
	var out []string
	for _, t := range taints {
		out = append(out, strings.TrimPrefix(t.Key, "node.kubernetes.io/")+":"+string(t.Effect))
	}
	return strings.Join(out, " ")
}

func TestSchedulingTaints(t *testing.T) {
	for _, c := range []struct {
		conditions    string
		unschedulable bool
		have          []string
		want          string
	}{
		{conditions: "Ready=True"},
		{conditions: "Ready=False", want: "not-ready:NoSchedule"},
		{conditions: "Ready=Unknown MemoryPressure=Unknown", want: "unreachable:NoSchedule"},
		{conditions: "Ready=True MemoryPressure=True DiskPressure=True PIDPressure=True NetworkUnavailable=True", want: "memory-pressure:NoSchedule disk-pressure:NoSchedule network-unavailable:NoSchedule pid-pressure:NoSchedule"},
		{conditions: "Ready=True", unschedulable: true, want: "unschedulable:NoSchedule"},
		{conditions: "Ready=True", have: []string{corev1.TaintNodeNotReady + ":NoSchedule", "mine:NoSchedule", corev1.TaintNodeUnreachable + ":NoExecute"}, want: "mine:NoSchedule unreachable:NoExecute"},
		{conditions: "Ready=False", have: []string{corev1.TaintNodeUnreachable + ":NoSchedule", corev1.TaintNodeNotReady + ":NoSchedule"}, want: "not-ready:NoSchedule"},
	} {
		n := node(c.conditions, c.have...)
		n.Spec.Unschedulable = c.unschedulable
		if got := names(schedulingTaints(n, now)); got != c.want {
			t.Errorf("%s %v: %s, want %s", c.conditions, c.have, got, c.want)
		}
	}
}

func TestJudgeEviction(t *testing.T) {
	notReady, unreachable := corev1.TaintNodeNotReady+":NoExecute", corev1.TaintNodeUnreachable+":NoExecute"
	for _, c := range []struct {
		conditions string
		have       []string
		do         eviction
		key        string
	}{
		{"", nil, leave, ""},
		{"Ready=True", nil, leave, ""},
		{"Ready=True", []string{notReady}, clearTaints, ""},
		{"Ready=False", nil, addTaint, corev1.TaintNodeNotReady},
		{"Ready=False", []string{notReady}, leave, corev1.TaintNodeNotReady},
		{"Ready=Unknown", []string{notReady}, swapTaints, corev1.TaintNodeUnreachable},
		{"Ready=Unknown", []string{notReady, unreachable}, swapTaints, corev1.TaintNodeUnreachable},
		{"Ready=Unknown", []string{corev1.TaintNodeUnreachable + ":NoSchedule"}, addTaint, corev1.TaintNodeUnreachable},
	} {
		if do, key := judgeEviction(node(c.conditions, c.have...)); do != c.do || key != c.key {
			t.Errorf("%s %v: %d %s", c.conditions, c.have, do, key)
		}
	}
}

// TestSilence follows one node through a day: each step is a time and what is seen then.
func TestSilence(t *testing.T) {
	const grace, startup = 40 * time.Second, 60 * time.Second
	lease := func(at time.Duration) *coordinationv1.Lease {
		renewed := metav1.NewMicroTime(now.Add(at))
		return &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{RenewTime: &renewed}}
	}
	beating := func(at time.Duration) *corev1.Node {
		n := node("Ready=True")
		n.Status.Conditions[0].LastHeartbeatTime = metav1.NewTime(now.Add(at))
		return n
	}
	var h health
	for _, step := range []struct {
		at     time.Duration
		node   *corev1.Node
		lease  *coordinationv1.Lease
		silent bool
	}{
		{at: 30 * time.Second, node: node("")},
		{at: 59 * time.Second, node: node("")},
		{at: 61 * time.Second, node: node(""), silent: true},
		{at: 70 * time.Second, node: beating(65 * time.Second)},
		{at: 105 * time.Second, node: beating(65 * time.Second)},
		{at: 111 * time.Second, node: beating(65 * time.Second), silent: true},
		{at: 112 * time.Second, node: beating(65 * time.Second), lease: lease(111 * time.Second)},
		{at: 151 * time.Second, node: beating(65 * time.Second), lease: lease(111 * time.Second)},
		{at: 153 * time.Second, node: beating(65 * time.Second), lease: lease(111 * time.Second), silent: true},
		{at: 154 * time.Second, node: beating(154 * time.Second), lease: lease(111 * time.Second)},
	} {
		h = observe(h, step.node, step.lease, now.Add(step.at))
		if got := h.silent(now.Add(step.at), grace, startup); got != step.silent {
			t.Errorf("after %v silent is %v", step.at, got)
		}
	}
}

func TestSilenced(t *testing.T) {
	n := silenced(node("Ready=True DiskPressure=False"), now)
	var got []string
	for _, c := range n.Status.Conditions {
		got = append(got, fmt.Sprintf("%s=%s:%s", c.Type, c.Status, c.Reason))
	}
	want := "Ready=Unknown:NodeStatusUnknown DiskPressure=Unknown:NodeStatusUnknown MemoryPressure=Unknown:NodeStatusNeverUpdated PIDPressure=Unknown:NodeStatusNeverUpdated"
	if text := strings.Join(got, " "); text != want {
		t.Errorf("conditions %s, want %s", text, want)
	}
	if silenced(n, now) != nil {
		t.Error("a node is silenced twice")
	}
}

func TestZones(t *testing.T) {
	r := rates{normal: 0.1, secondary: 0.01, threshold: 0.55, largeCluster: 50}
	for _, c := range []struct {
		zones string // ready/unready
		rates string
		all   bool
	}{
		{"3/0", "0.1", false},
		{"1/2", "0.1", false},
		{"3/4", "0", false},
		{"30/40", "0.01", false},
		{"0/3", "0", true},
		{"0/3 2/0", "0.1 0.1", false},
		{"0/3 0/1", "0 0", true},
		{"0/3 0/0", "0 0", true},
		{"0/0", "0.1", false},
	} {
		zones := map[string]*zone{}
		for i, word := range strings.Fields(c.zones) {
			z := &zone{}
			fmt.Sscanf(word, "%d/%d", &z.ready, &z.unready)
			zones[fmt.Sprint(i)] = z
		}
		all := judgeZones(zones, r)
		var got []string
		for i := range len(zones) {
			got = append(got, fmt.Sprint(zones[fmt.Sprint(i)].rate))
		}
		if all != c.all || strings.Join(got, " ") != c.rates {
			t.Errorf("%s: rates %v, all disrupted %v", c.zones, got, all)
		}
	}
	z := &zone{rate: 0.1}
	if z.take(now) != 0 || z.take(now) == 0 || z.take(now.Add(10*time.Second)) != 0 {
		t.Error("a zone does not taint one node in ten seconds")
	}
}

func TestMirrorLabels(t *testing.T) {
	labels := map[string]string{corev1.LabelOSStable: "linux"}
	if !mirrorLabels(labels) || labels["beta.kubernetes.io/os"] != "linux" || mirrorLabels(labels) {
		t.Errorf("labels %v", labels)
	}
}
