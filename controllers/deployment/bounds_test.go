package deployment

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/wheelhouse-k8s/wheelhouse/test/scenario"
)

// lagging is a cluster of one Deployment in which everything that is told arrives late: the ReplicaSet controller's runs take
// a while and their statuses may be overtaken, the plan sees ReplicaSets as they were, and between two writes of one plan
// anything may happen. Only pods never fail by themselves, so that whatever becomes unavailable, somebody took away.
type lagging struct {
	t      *testing.T
	random *rand.Rand
	d      *appsv1.Deployment
	sets   []*set
	// log holds every version of every ReplicaSet, in order; the controller has seen all before seen.
	log    []*appsv1.ReplicaSet
	seen   int
	serial int
	now    time.Time
	story  []string
}

// set is a ReplicaSet as it is stored, and its pods.
type set struct {
	rs   *appsv1.ReplicaSet
	pods []*replica
	run  *run
}

type replica struct {
	ready  bool
	doomed bool // it will never be ready
}

// run is a pass of the ReplicaSet controller that has looked and not acted yet.
type run struct {
	at    *appsv1.ReplicaSet
	pods  []*replica
	ready map[*replica]bool
}

func (l *lagging) tell(format string, args ...any) {
	l.story = append(l.story, fmt.Sprintf(format, args...))
}

func (l *lagging) store(s *set, rs *appsv1.ReplicaSet) {
	l.serial++
	rs.ResourceVersion = fmt.Sprint(l.serial)
	s.rs = rs
	l.log = append(l.log, rs)
}

// view is what the Deployment controller sees.
func (l *lagging) view() []*appsv1.ReplicaSet {
	var sets []*appsv1.ReplicaSet
	for _, rs := range l.log[:l.seen] {
		if at := slices.IndexFunc(sets, func(o *appsv1.ReplicaSet) bool { return o.Name == rs.Name }); at >= 0 {
			sets[at] = rs
		} else {
			sets = append(sets, rs)
		}
	}
	return sets
}

func (l *lagging) find(name string) *set {
	for _, s := range l.sets {
		if s.rs.Name == name {
			return s
		}
	}
	return nil
}

// neverLong is the silence of ReplicaSets whose controller is late and no more.
func neverLong(*appsv1.ReplicaSet) time.Duration { return 0 }

// plan runs the Deployment controller once. It waits to see its own writes, as the engine does.
func (l *lagging) plan(disturbed bool) (idle bool) {
	p := makePlan(world{
		deployment: l.d, sets: l.view(), now: l.now, oldPods: func(*appsv1.ReplicaSet) bool { return false },
		availablePods: func(rs *appsv1.ReplicaSet) int32 { return l.find(rs.Name).available() },
		silent:        neverLong,
	})
	for _, a := range p.actions {
		if disturbed {
			for range l.random.IntN(4) {
				l.disturb()
			}
		}
		switch a.verb {
		case create:
			rs := a.set.DeepCopy()
			rs.UID, rs.Generation = types.UID(rs.Name), 1
			l.now = l.now.Add(time.Second)
			rs.CreationTimestamp.Time = l.now
			l.sets = append(l.sets, &set{})
			l.store(l.sets[len(l.sets)-1], rs)
			l.tell("create %s: %d", rs.Name, *rs.Spec.Replicas)
		case update:
			s := l.find(a.set.Name)
			if s.rs.ResourceVersion != a.set.ResourceVersion {
				l.tell("conflict at %s", a.set.Name)
				return false
			}
			rs := a.set.DeepCopy()
			if *rs.Spec.Replicas != *s.rs.Spec.Replicas {
				rs.Generation++
			}
			l.tell("resize %s: %d -> %d", rs.Name, *s.rs.Spec.Replicas, *rs.Spec.Replicas)
			l.store(s, rs)
		default:
			l.t.Fatalf("unexpected %s", a.verb)
		}
		l.seen = len(l.log)
		l.check()
	}
	if p.deployment != nil {
		l.d.Status, l.d.Annotations = p.deployment.Status, p.deployment.Annotations
	}
	return len(p.actions) == 0 && p.deployment == nil
}

// look begins a pass of the ReplicaSet controller.
func (l *lagging) look(s *set) {
	if s.run != nil {
		return
	}
	s.run = &run{at: s.rs, pods: slices.Clone(s.pods), ready: map[*replica]bool{}}
	for _, p := range s.pods {
		s.run.ready[p] = p.ready
	}
}

// act ends a pass: it makes or removes pods, and tells the status that it counted when it looked, unless the ReplicaSet has
// changed since.
func (l *lagging) act(s *set) {
	r := s.run
	if r == nil {
		return
	}
	s.run = nil
	surplus := len(r.pods) - int(*r.at.Spec.Replicas)
	if surplus > 0 {
		victims := slices.Clone(r.pods)
		slices.SortStableFunc(victims, func(a, b *replica) int {
			return map[bool]int{false: 0, true: 1}[r.ready[a]] - map[bool]int{false: 0, true: 1}[r.ready[b]]
		})
		s.pods = slices.DeleteFunc(s.pods, func(p *replica) bool { return slices.Contains(victims[:surplus], p) })
		l.tell("%s loses %d", s.rs.Name, surplus)
	}
	// A creation sees that it was overtaken; a deletion does not look.
	if r.at.Generation == s.rs.Generation {
		for range -surplus {
			s.pods = append(s.pods, &replica{doomed: s.rs.Spec.Template.Spec.Containers[0].Image == "bad"})
		}
	}
	if r.at.ResourceVersion != s.rs.ResourceVersion {
		return
	}
	available := int32(0)
	for _, p := range r.pods {
		if r.ready[p] {
			available++
		}
	}
	rs := s.rs.DeepCopy()
	report(rs, int32(len(r.pods)), available)
	if !equality.Semantic.DeepEqual(rs.Status, s.rs.Status) {
		l.tell("%s tells %d available of %d", rs.Name, available, len(r.pods))
		l.store(s, rs)
	}
}

func (s *set) available() (n int32) {
	for _, p := range s.pods {
		if p.ready {
			n++
		}
	}
	return n
}

// begin plays a kubelet: some pod becomes ready, perhaps.
func (s *set) begin(random *rand.Rand) {
	if len(s.pods) > 0 {
		p := s.pods[random.IntN(len(s.pods))]
		p.ready = !p.doomed
	}
}

// disturb lets one thing happen anywhere but in the Deployment controller.
func (l *lagging) disturb() {
	if len(l.sets) == 0 {
		return
	}
	s := l.sets[l.random.IntN(len(l.sets))]
	switch l.random.IntN(8) {
	case 0, 1:
		l.look(s)
	case 2, 3:
		l.act(s)
	case 4:
		l.seen += l.random.IntN(len(l.log) - l.seen + 1)
	default:
		s.begin(l.random)
	}
	l.check()
}

func (l *lagging) check() {
	l.t.Helper()
	asked, pods, available := int32(0), int32(0), int32(0)
	for _, s := range l.sets {
		asked += *s.rs.Spec.Replicas
		pods += int32(len(s.pods))
		available += s.available()
	}
	if limit := replicas(l.d) + maxSurge(l.d); max(asked, pods) > limit {
		l.fail("%d pods are asked for and %d there; replicas and maxSurge allow %d", asked, pods, limit)
	}
	if least := replicas(l.d) - maxUnavailable(l.d); available < least {
		l.fail("%d pods are available; replicas and maxUnavailable demand %d", available, least)
	}
}

func (l *lagging) fail(format string, args ...any) {
	l.t.Helper()
	l.t.Fatalf("%s, after:\n%s", fmt.Sprintf(format, args...), strings.Join(l.story[max(0, len(l.story)-60):], "\n"))
}

func (l *lagging) image(image string) {
	l.d.Spec.Template.Spec.Containers[0].Image = image
	l.d.Generation++
	l.tell("image %s", image)
}

// playAll lets everybody come to an end in turn.
func (l *lagging) playAll() {
	idle := 0
	for range 2000 {
		before := len(l.log)
		for _, s := range l.sets {
			for _, p := range s.pods {
				p.ready = !p.doomed
			}
			l.act(s)
			l.look(s)
			l.act(s)
		}
		l.seen = len(l.log)
		if !l.plan(false) || len(l.log) > before {
			idle = 0
		} else if idle++; idle == 3 {
			return
		}
	}
	l.fail("the rollout does not end")
}

// TestBoundsHoldWhateverLags rolls Deployments over, with edits in the middle of rollouts, while statuses, views and passes of the
// ReplicaSet controller lag behind in random ways. At every step the bounds hold, and in the end the rollout has come
// to its end.
func TestBoundsHoldWhateverLags(t *testing.T) {
	for seed := range uint64(120) {
		random := rand.New(rand.NewPCG(seed, 13))
		m := &model{t: t, now: time.Unix(1e9, 0)}
		size := 1 + random.IntN(40)
		m.answer("deployment", scenario.Args{
			fmt.Sprintf("replicas=%d", size), "history=2147483647",
			"maxSurge=" + []string{"0", "1", "25%", "100%"}[random.IntN(4)], "maxUnavailable=" + []string{"0", "0", "1", "25%"}[random.IntN(4)],
		})
		l := &lagging{t: t, random: random, d: m.d, now: m.now}
		l.tell("seed %d: %d replicas, surge %d, unavailable %d", seed, size, maxSurge(l.d), maxUnavailable(l.d))
		begin := *l.d.Spec.Strategy.RollingUpdate
		l.d.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{MaxSurge: begin.MaxSurge, MaxUnavailable: ptr.To(intstr.FromString("100%"))}
		l.playAll() // all pods come into being, with nothing to keep available yet
		l.d.Spec.Strategy.RollingUpdate = &begin
		l.check()
		for range 3 {
			l.image([]string{"a", "b", "c", "bad"}[random.IntN(4)])
			for range random.IntN(200) {
				if random.IntN(3) == 0 {
					l.plan(true)
				} else {
					l.disturb()
				}
			}
		}
		l.image("d")
		l.playAll()
		for _, s := range l.sets {
			want := 0
			if s.rs.Spec.Template.Spec.Containers[0].Image == "d" {
				want = size
			}
			if int(*s.rs.Spec.Replicas) != want || len(s.pods) != want {
				l.fail("%s has %d pods, want %d", s.rs.Name, len(s.pods), want)
			}
		}
	}
}

// TestUnhealthyPodsAreTheOnesToGo has a status that does not tell yet of pods that have become available, and another ReplicaSet
// whose pods will never be.
func TestUnhealthyPodsAreTheOnesToGo(t *testing.T) {
	m := &model{t: t, now: time.Unix(1e9, 0)}
	m.answer("deployment", scenario.Args{"replicas=10", "maxSurge=2", "maxUnavailable=0"})
	for _, s := range []struct {
		image           string
		size, available int32
	}{{"a", 8, 6}, {"b", 2, 0}, {"c", 2, 2}} {
		m.answer("edit", scenario.Args{"image=" + s.image})
		m.step()
		rs := m.sets[len(m.sets)-1]
		rs.Spec.Replicas, rs.Generation = &s.size, 7
		report(rs, s.size, s.available)
	}
	p := makePlan(world{deployment: m.d, sets: m.sets, now: m.now, silent: neverLong, availablePods: func(rs *appsv1.ReplicaSet) int32 {
		return map[string]int32{"a": 8, "b": 0, "c": 2}[rs.Spec.Template.Spec.Containers[0].Image]
	}})
	if len(p.actions) != 1 || p.actions[0].set.Spec.Template.Spec.Containers[0].Image != "b" || *p.actions[0].set.Spec.Replicas != 0 {
		t.Errorf("%d actions, the first: %+v", len(p.actions), p.actions[0].event)
	}
}
