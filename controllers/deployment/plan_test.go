package deployment

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
	"github.com/wheelhouse-k8s/wheelhouse/test/scenario"
)

var rewrite = scenario.Flag()

// model is a cluster of one Deployment: it carries plans out as a server would, and plays the ReplicaSet controller.
type model struct {
	t       *testing.T
	d       *appsv1.Deployment
	sets    []*appsv1.ReplicaSet
	oldPods bool
	silence silence
	now     time.Time
	serial  int
}

func TestPlan(t *testing.T) {
	scenario.Run(t, "testdata/*.txt", rewrite, func(t *testing.T) func(string, scenario.Args) string {
		m := &model{t: t, now: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}
		return m.answer
	})
}

func (m *model) answer(command string, args scenario.Args) string {
	switch command {
	case "deployment":
		m.d = newDeployment(m.now)
		m.edit(args)
		m.d.Generation = 1
	case "edit":
		m.edit(args)
		m.d.Generation++
	case "annotate":
		for _, a := range args {
			k, v, _ := strings.Cut(a, "=")
			setAnnotation(m.d, k, v)
		}
	case "delete":
		m.d.DeletionTimestamp = &metav1.Time{Time: m.now}
	case "pods":
		m.pods(args)
	case "old-pods":
		m.oldPods = args.Word(0) == "running"
	case "tick":
		d, err := time.ParseDuration(args.Word(0))
		if err != nil {
			m.t.Fatal(err)
		}
		m.now = m.now.Add(d)
	case "plan":
		return m.step()
	case "roll":
		return m.roll()
	case "show":
		return m.show()
	case "sets":
		return m.list()
	default:
		m.t.Fatalf("unknown command %q", command)
	}
	return ""
}

func newDeployment(now time.Time) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "ns", UID: "d", CreationTimestamp: metav1.NewTime(now)},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To(int32(1)), ProgressDeadlineSeconds: ptr.To(int32(600)), RevisionHistoryLimit: ptr.To(int32(10)),
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Strategy: appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{
				MaxSurge: ptr.To(intstr.FromString("25%")), MaxUnavailable: ptr.To(intstr.FromString("25%")),
			}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "a"}}},
			},
		},
	}
}

func (m *model) edit(args scenario.Args) {
	number := func(key string, to func(int32)) {
		if v, ok := args.Get(key); ok {
			n, err := strconv.ParseInt(v, 10, 32)
			if err != nil {
				m.t.Fatal(err)
			}
			to(int32(n))
		}
	}
	number("replicas", func(n int32) { m.d.Spec.Replicas = &n })
	number("history", func(n int32) { m.d.Spec.RevisionHistoryLimit = &n })
	number("deadline", func(n int32) { m.d.Spec.ProgressDeadlineSeconds = &n })
	number("minReady", func(n int32) { m.d.Spec.MinReadySeconds = n })
	if v, ok := args.Get("image"); ok {
		m.d.Spec.Template.Spec.Containers[0].Image = v
	}
	if v, ok := args.Get("paused"); ok {
		m.d.Spec.Paused = v == "true"
	}
	if v, ok := args.Get("strategy"); ok {
		m.d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.DeploymentStrategyType(v)}
	}
	if v, ok := args.Get("maxSurge"); ok {
		m.d.Spec.Strategy.RollingUpdate.MaxSurge = ptr.To(intstr.Parse(v))
	}
	if v, ok := args.Get("maxUnavailable"); ok {
		m.d.Spec.Strategy.RollingUpdate.MaxUnavailable = ptr.To(intstr.Parse(v))
	}
	if v, ok := args.Get("selector"); ok && v == "empty" {
		m.d.Spec.Selector = &metav1.LabelSelector{}
	}
}

// pods sets what the ReplicaSet of a revision reports: "pods 2 have=3 available=1", or "pods all" for all that is asked for.
func (m *model) pods(args scenario.Args) {
	for _, rs := range m.sets {
		if args.Word(0) == "all" {
			report(rs, *rs.Spec.Replicas, *rs.Spec.Replicas)
			continue
		}
		if strconv.FormatInt(revision(rs), 10) != args.Word(0) {
			continue
		}
		have, available := *rs.Spec.Replicas, int32(0)
		if v, ok := args.Get("have"); ok {
			n, _ := strconv.Atoi(v)
			have = int32(n)
		}
		if v, ok := args.Get("available"); ok {
			n, _ := strconv.Atoi(v)
			available = int32(n)
		}
		report(rs, have, available)
		if v, ok := args.Get("failure"); ok {
			rs.Status.Conditions = []appsv1.ReplicaSetCondition{{Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue, Reason: v}}
		}
	}
}

func report(rs *appsv1.ReplicaSet, have, available int32) {
	rs.Status = appsv1.ReplicaSetStatus{
		Replicas: have, ReadyReplicas: available, AvailableReplicas: available, FullyLabeledReplicas: have,
		TerminatingReplicas: ptr.To(int32(0)), ObservedGeneration: rs.Generation,
	}
}

// step makes a plan, carries it out, and describes it.
func (m *model) step() string {
	p := makePlan(world{
		deployment: m.d, sets: m.sets, now: m.now, silent: m.silence.look(reconcile.KeyOf(m.d), m.sets, m.now),
		oldPods:       func(*appsv1.ReplicaSet) bool { return m.oldPods },
		availablePods: func(rs *appsv1.ReplicaSet) int32 { return rs.Status.AvailableReplicas },
	})
	var out []string
	for _, e := range p.events {
		out = append(out, "event "+e.reason+": "+e.message)
	}
	for _, a := range p.actions {
		out = append(out, m.carryOut(a))
		if a.event != nil {
			out = append(out, "event "+a.event.reason+": "+m.named(a.event.message))
		}
	}
	if p.deployment != nil {
		m.d.Status, m.d.Annotations = p.deployment.Status, p.deployment.Annotations
		out = append(out, m.show())
	}
	if p.after > 0 {
		out = append(out, fmt.Sprintf("again in %v", p.after))
	}
	return strings.Join(out, "\n")
}

// named puts revisions for the hashes in ReplicaSets' names.
func (m *model) named(s string) string {
	for _, rs := range m.sets {
		s = strings.ReplaceAll(s, rs.Name, fmt.Sprintf("web-%d", revision(rs)))
	}
	return s
}

func (m *model) carryOut(a action) string {
	switch a.verb {
	case create:
		m.serial++
		rs := a.set.DeepCopy()
		rs.UID, rs.Generation = types.UID(strconv.Itoa(m.serial)), 1
		rs.CreationTimestamp = metav1.NewTime(m.now.Add(time.Duration(m.serial) * time.Second))
		m.sets = append(m.sets, rs)
		return fmt.Sprintf("create web-%d: %d", revision(rs), *rs.Spec.Replicas)
	case update:
		at := slices.IndexFunc(m.sets, func(rs *appsv1.ReplicaSet) bool { return rs.Name == a.set.Name })
		before := m.sets[at]
		m.sets[at] = a.set.DeepCopy()
		m.sets[at].Generation++
		text := fmt.Sprintf("update web-%d: %d -> %d", revision(before), *before.Spec.Replicas, *a.set.Spec.Replicas)
		if revision(before) != revision(a.set) {
			text += fmt.Sprintf(", revision %d (history %s)", revision(a.set), a.set.Annotations[annotationHistory])
		}
		return text
	case remove:
		m.sets = slices.DeleteFunc(m.sets, func(rs *appsv1.ReplicaSet) bool { return rs.Name == a.set.Name })
		return fmt.Sprintf("delete web-%d", revision(a.set))
	case revert:
		generation := m.d.Generation
		m.d = a.deployment.DeepCopy()
		m.d.Generation = generation + 1
		return "revert to image " + m.d.Spec.Template.Spec.Containers[0].Image
	}
	m.t.Fatalf("unknown action %q", a.verb)
	return ""
}

func (m *model) show() string {
	s := m.d.Status
	out := fmt.Sprintf("status revision=%s generation=%d have=%d updated=%d ready=%d available=%d unavailable=%d", m.d.Annotations[annotationRevision],
		s.ObservedGeneration, s.Replicas, s.UpdatedReplicas, s.ReadyReplicas, s.AvailableReplicas, s.UnavailableReplicas)
	for _, c := range s.Conditions {
		out += fmt.Sprintf("\n  %s %s %s", c.Type, c.Status, c.Reason)
	}
	return out
}

func (m *model) list() string {
	var out []string
	for _, rs := range m.sets {
		out = append(out, fmt.Sprintf("web-%d image=%s size=%d desired=%s max=%s", revision(rs), rs.Spec.Template.Spec.Containers[0].Image, *rs.Spec.Replicas,
			rs.Annotations[annotationDesired], rs.Annotations[annotationMax]))
	}
	return strings.Join(out, "\n")
}

// roll repeats plans, with pods that become available at once, until nothing changes; it tells the sizes after each, and fails
// when a step breaks the Deployment's bounds.
func (m *model) roll() string {
	var out []string
	for range 100 {
		sizes := ""
		for _, rs := range m.sets {
			sizes += fmt.Sprintf(" web-%d=%d", revision(rs), *rs.Spec.Replicas)
		}
		if line := strings.TrimSpace(sizes); len(out) == 0 || out[len(out)-1] != line {
			out = append(out, line)
		}
		before := m.stay()
		if m.step() == "" {
			return strings.Join(out, "\n")
		}
		if m.d.Spec.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
			m.checkBounds(before)
		}
		m.pods(scenario.Args{"all"})
	}
	m.t.Fatal("the rollout does not end")
	return ""
}

// stay is how many of the available pods the sizes of their ReplicaSets leave.
func (m *model) stay() (n int32) {
	for _, rs := range m.sets {
		n += min(*rs.Spec.Replicas, rs.Status.AvailableReplicas)
	}
	return n
}

// checkBounds fails when a step has broken the Deployment's bounds; before it so many pods stayed.
func (m *model) checkBounds(before int32) {
	if n := total(m.sets); n > replicas(m.d)+maxSurge(m.d) {
		m.t.Fatalf("%d pods, more than replicas and maxSurge allow", n)
	}
	least := replicas(m.d) - maxUnavailable(m.d)
	if left := m.stay(); before >= least && left < least {
		m.t.Fatalf("%d pods stay available, fewer than replicas and maxUnavailable allow", left)
	}
}

// TestRolloutsKeepTheirBounds rolls many Deployments over, and none leaves its bounds or stops before its end.
func TestRolloutsKeepTheirBounds(t *testing.T) {
	for replicas := 0; replicas <= 12; replicas++ {
		for _, surge := range []string{"0", "1", "3", "25%", "100%"} {
			for _, unavailable := range []string{"0", "1", "2", "25%", "100%"} {
				m := &model{t: t, now: time.Unix(1e9, 0)}
				m.answer("deployment", scenario.Args{fmt.Sprintf("replicas=%d", replicas), "maxSurge=" + surge, "maxUnavailable=" + unavailable})
				m.roll()
				m.answer("edit", scenario.Args{"image=b"})
				m.step()
				m.answer("edit", scenario.Args{fmt.Sprintf("replicas=%d", (replicas*7)%13)})
				m.roll()
				if len(m.sets) != 2 || *m.sets[0].Spec.Replicas != 0 || *m.sets[1].Spec.Replicas != *m.d.Spec.Replicas {
					t.Fatalf("replicas=%d surge=%s unavailable=%s ends with:\n%s", replicas, surge, unavailable, m.list())
				}
			}
		}
	}
}

// TestTemplateHash holds names that upstream gave.
func TestTemplateHash(t *testing.T) {
	if got := templateHash(&corev1.PodTemplateSpec{}, nil); got == "" || strings.ContainsAny(got, "aeiou013") {
		t.Errorf("hash %q has characters that names of ReplicaSets do not have", got)
	}
	if templateHash(&corev1.PodTemplateSpec{}, nil) == templateHash(&corev1.PodTemplateSpec{}, ptr.To(int32(1))) {
		t.Error("a collision does not change the hash")
	}
	if noLimit != math.MaxInt32 {
		t.Error("the limit that means none is another")
	}
}
