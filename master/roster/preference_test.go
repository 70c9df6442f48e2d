package roster

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/election"
	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
)

// fakeGroup is what a member of three knows: itself is 1.
type fakeGroup struct {
	lone     bool
	leader   uint64
	active   map[uint64]bool
	inactive map[uint64]time.Time
	names    map[uint64]string
	moved    []uint64
	changed  chan struct{}
}

func (g *fakeGroup) Grouped() bool                  { return !g.lone }
func (g *fakeGroup) ID() uint64                     { return 1 }
func (g *fakeGroup) Leader() uint64                 { return g.leader }
func (g *fakeGroup) LeaderChanged() <-chan struct{} { return g.changed }
func (g *fakeGroup) Active(id uint64) time.Time {
	if g.active[id] || id == g.ID() {
		return time.Unix(1, 0)
	}
	return time.Time{}
}
func (g *fakeGroup) InactiveSince(id uint64) time.Time { return g.inactive[id] }
func (g *fakeGroup) Members(context.Context) ([]etcd.Member, error) {
	var list []etcd.Member
	for id, name := range g.names {
		list = append(list, etcd.Member{ID: id, Name: name})
	}
	return list, nil
}
func (g *fakeGroup) MoveLeader(_ context.Context, id uint64) error {
	g.moved, g.leader = append(g.moved, id), id
	return nil
}

// stage is a master named "one", member 1, with others two and three.
type stage struct {
	*fakeGroup
	*advisor
	listings []Listing
	clock    time.Time
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{clock: time.Unix(1000, 0), fakeGroup: &fakeGroup{
		active: map[uint64]bool{2: true, 3: true}, inactive: map[uint64]time.Time{},
		names: map[uint64]string{1: "one", 2: "two", 3: "three"}, changed: make(chan struct{}),
	}}
	for _, name := range []string{"one", "two", "three"} {
		s.listings = append(s.listings, Listing{Name: name, Leases: []string{"kube-scheduler"}})
	}
	p := newPreference(s.fakeGroup, func() []Listing { return s.listings }, func() <-chan struct{} { return nil })
	p.now = func() time.Time { return s.clock }
	if !p.learn(t.Context()) {
		t.Fatal("the members are not known")
	}
	s.advisor = &advisor{Preference: p, lease: "kube-scheduler", self: "one"}
	return s
}

// elect makes a member lead the store.
func (s *stage) elect(id uint64) {
	s.leader = id
	s.note(0)
	s.note(id)
}

func (s *stage) lose(id uint64) {
	s.active[id] = false
	s.inactive[id] = s.clock
}

func (s *stage) expect(t *testing.T, what, holder string, want election.Advice) {
	t.Helper()
	if got, _ := s.Advise(holder); got != want {
		t.Errorf("%s: about %q %d, want %d", what, holder, got, want)
	}
}

func TestOvertaking(t *testing.T) {
	s := newStage(t)
	s.elect(2)
	s.clock = s.clock.Add(time.Hour)
	s.lose(2)
	s.expect(t, "the store's leader has just gone, none is elected", "two", election.Normal)
	s.elect(3)
	s.expect(t, "another leads the store", "two", election.Normal)
	s.elect(2)
	s.elect(1)
	s.expect(t, "the former leader is gone", "two", election.Early)
	s.expect(t, "a holder that is no master", "upstream_1234", election.Normal)
	s.expect(t, "a master that lives", "three", election.Normal)
	s.lose(3)
	s.expect(t, "a master that has just gone", "three", election.Normal)
	if _, again := s.Advise("three"); again <= 0 || again > lookAgain {
		t.Errorf("asked again after %v", again)
	}
	s.clock = s.clock.Add(goneAfter)
	s.expect(t, "a master that has been gone for long enough", "three", election.Early)
	s.active[3] = true
	s.expect(t, "a master that came back", "three", election.Normal)
}

func TestOvertakingTheStopped(t *testing.T) {
	s := newStage(t)
	s.elect(2)
	s.clock = s.clock.Add(time.Hour)
	s.elect(1) // member 2 was stopped: its connections stand
	s.expect(t, "the former leader may hand over", "two", election.Normal)
	s.clock = s.clock.Add(graceAfter)
	s.expect(t, "the former leader did not hand over", "two", election.Early)
	s.clock = s.clock.Add(formerFor)
	s.expect(t, "a master that led the store long ago", "two", election.Normal)
}

func TestYielding(t *testing.T) {
	s := newStage(t)
	s.elect(1)
	s.expect(t, "the own lease while leading the store", "one", election.Normal)
	s.clock = s.clock.Add(time.Hour)
	s.elect(2)
	s.expect(t, "another has just been elected", "one", election.Normal)
	s.clock = s.clock.Add(patienceMin)
	s.expect(t, "another leads the store for long", "one", election.Yield)
	s.expect(t, "a free lease", "", election.Yield)
	// It comes back: the store's leader does not keep it. Each time it is kept longer.
	for patience := 2 * patienceMin; patience <= 8*patienceMin; patience *= 2 {
		s.expect(t, "it came back", "one", election.Normal)
		s.clock = s.clock.Add(patience - time.Second)
		s.expect(t, "not yet", "one", election.Normal)
		s.clock = s.clock.Add(time.Second)
		s.expect(t, "given up again", "one", election.Yield)
		s.expect(t, "a free lease", "", election.Yield)
	}
}

func TestNobodyBetter(t *testing.T) {
	for what, change := range map[string]func(*stage){
		"a lone master":                func(s *stage) { s.lone = true },
		"no leader of the store":       func(s *stage) { s.elect(0) },
		"a leader that does not stand": func(s *stage) { s.listings[1].Leases = []string{"kube-controller-manager"} },
		"a leader that has left":       func(s *stage) { s.listings = append(s.listings[:1], s.listings[2]) },
		"a leader that is gone":        func(s *stage) { s.lose(2) },
		"a leader without a name":      func(s *stage) { s.elect(7) },
	} {
		s := newStage(t)
		s.elect(2)
		change(s)
		s.expect(t, what, "", election.Normal)
		s.expect(t, what, "one", election.Normal)
		s.clock = s.clock.Add(time.Hour)
		s.expect(t, what+", for long", "one", election.Normal)
	}
}

func TestStopLeading(t *testing.T) {
	s := newStage(t)
	s.elect(1)
	s.listings = s.listings[:2] // the third does not live
	s.StopLeading(t.Context())
	if len(s.moved) != 1 || s.moved[0] != 2 {
		t.Errorf("moved to %v, want 2", s.moved)
	}
	s.StopLeading(t.Context())
	if len(s.moved) != 1 {
		t.Errorf("a master that does not lead the store moved it to %v", s.moved)
	}
}

// TestNews: candidates are woken when the store's leader changes.
func TestNews(t *testing.T) {
	s := newStage(t)
	changed := s.Changed()
	s.elect(2)
	select {
	case <-changed:
	default:
		t.Error("nobody was told of a new leader")
	}
	if r := s.storeLeaders(); strings.Join([]string{r.name(r.leader), r.name(9)}, ",") != "two," {
		t.Errorf("%+v", r)
	}
}
