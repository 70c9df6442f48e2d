package membership

import (
	"cmp"
	"slices"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
)

// Known is the state as this master knows it without asking others: for showing, not for decisions.
func (g *Group) Known() State {
	s := State{Settings: g.Settings, Masters: g.Masters(), Now: g.now()}
	if g.Members != nil {
		g.fill(&s, g.Members.Known())
	}
	return s
}

func (g *Group) fill(s *State, members []etcd.Member) {
	s.Self, s.Leader = g.Members.ID(), g.Members.Leader()
	s.Members = memberStates(g.Members, g.Self, members)
	for n := range s.Members {
		one := &s.Members[n]
		one.Serving = slices.ContainsFunc(s.Masters, func(live Master) bool { return live.Name == one.Name })
	}
}

// Away are the masters of the cluster that are not among those that live, by name; one that has not told its name yet, by the ID of its
// member. With an external etcd only those are known that live. Whoever asks whether all masters are there asks this.
func (s *State) Away() []string {
	var away []string
	for _, m := range s.Members {
		if !m.Serving && m.ID != s.Self {
			away = append(away, cmp.Or(m.Name, FormatID(m.ID)))
		}
	}
	return away
}

// MemberStates are the members as this one, whose name is self, sees them.
func MemberStates(m interface {
	ID() uint64
	Active(id uint64) time.Time
	Known() []etcd.Member
}, self string) []MemberState {
	return memberStates(m, self, m.Known())
}

func memberStates(of interface {
	ID() uint64
	Active(id uint64) time.Time
}, self string, members []etcd.Member) []MemberState {
	var all []MemberState
	for _, m := range members {
		one := MemberState{Member: m, Since: of.Active(m.ID)}
		one.Active = m.ID == of.ID() || !one.Since.IsZero()
		if m.ID == of.ID() {
			one.Name = self // it may not have told it yet
		}
		all = append(all, one)
	}
	return all
}
