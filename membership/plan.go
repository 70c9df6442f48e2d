package membership

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
)

const (
	// mastersMax bounds the masters of a cluster: every write waits for a majority of them.
	mastersMax = 9
	// clocksMax is how far the clocks of two masters may be apart. A certificate is valid from five minutes before it was
	// issued, by the clock of the machine that issued it.
	clocksMax = 4 * time.Minute
	// minorsMax is how many minor versions of Kubernetes masters may be apart, by upstream's rule.
	minorsMax = 1
)

// MemberState is a member and what another sees of it.
type MemberState struct {
	etcd.Member
	// Active tells that its member of the store answers, and Since when; Serving that it serves the API.
	Active, Serving bool
	Since           time.Time
}

// started members have told their names.
func (s *MemberState) started() bool { return s.Name != "" }

// Master is a live master.
type Master struct{ Name, URL, Version string }

// State is what decisions about members are made on.
type State struct {
	// Self and Leader are members; Leader is 0 when there is none.
	Self, Leader uint64
	Members      []MemberState
	// Masters that live, and the settings that all must share, by flag.
	Masters  []Master
	Settings map[string]string
	Now      time.Time
}

func (s *State) voters() (all, active int) {
	for _, m := range s.Members {
		if !m.Learner {
			all++
			if m.Active {
				active++
			}
		}
	}
	return all, active
}

// quorum of a number of voters.
func quorum(voters int) int { return voters/2 + 1 }

// lost tells that the members cannot agree on anything now; nil if they can.
func (s *State) lost() error {
	all, active := s.voters()
	if s.Leader == 0 || active < quorum(all) {
		return unavailable("%d of %d voting masters answer, and %d are needed: start the missing ones first, or see wheelhouse server --recover-quorum",
			active, all, quorum(all))
	}
	return nil
}

// Admit decides on a request to join. replace are learners that make way for the newcomer: what is left of its earlier tries.
func Admit(s State, r *Request) (replace []uint64, err error) {
	if err := s.suits(r); err != nil {
		return nil, err
	}
	if r.External {
		return nil, nil
	}
	if err := checkPeerURL(r.PeerURL); err != nil {
		return nil, err
	}
	if err := s.lost(); err != nil {
		return nil, err
	}
	var learners []MemberState
	for _, m := range s.Members {
		switch {
		case m.Name == r.Name && !m.Learner:
			return nil, conflict("%s is a master of this cluster already: to join anew, remove it first (wheelhouse member remove %s) and empty its data folder", m.Name, m.Name)
		case m.Name == r.Name, m.PeerURL == r.PeerURL && m.Learner && !m.started():
			replace = append(replace, m.ID)
		case m.PeerURL == r.PeerURL:
			return nil, conflict("the address %s belongs to the master %s already: choose another --peer-port or --advertise-address, or remove that master first (wheelhouse member remove %s)", r.PeerURL, m.label(), m.label())
		case m.Learner:
			learners = append(learners, m)
		}
	}
	voters, _ := s.voters()
	if voters+len(learners) >= mastersMax {
		return nil, conflict("the cluster has %d masters, which is the most it can have", mastersMax)
	}
	return replace, s.room(voters, learners)
}

// room is nil when one more learner may be added beside those that are there: at most the one that stands by because it
// would make the voting set even.
func (s *State) room(voters int, learners []MemberState) error {
	for _, l := range learners {
		if !l.started() {
			return busy("another master is joining (%s): try again when it has", l.PeerURL)
		}
	}
	switch {
	case len(learners) > 1, len(learners) == 1 && voters%2 == 0 && learners[0].Active:
		return busy("the master %s is about to become a voting member: try again when it is", learners[0].label())
	case len(learners) == 1 && !learners[0].Active:
		return conflict("the master %s, which is to become a voting member with this one, does not answer: start it, or remove it with wheelhouse member remove %s",
			learners[0].label(), learners[0].label())
	}
	return nil
}

// suits checks what does not depend on members.
func (s *State) suits(r *Request) error {
	if r.Name == "" || strings.ContainsAny(r.Name, "/=, ") || len(r.Name) > 300 {
		return conflict("%q cannot be the name of a master", r.Name)
	}
	if off := r.Time.Sub(s.Now); off.Abs() > clocksMax {
		return conflict("the clocks of this machine and of the master are %s apart, so that one would not accept the other's certificates: set them", off.Abs().Round(time.Second))
	}
	for _, m := range s.Masters {
		if err := checkSkew(r.Version, m); err != nil {
			return err
		}
	}
	var differ []string
	for flag, value := range s.Settings {
		if r.Settings[flag] != value {
			differ = append(differ, fmt.Sprintf("--%s=%s", flag, value))
		}
	}
	if len(differ) > 0 {
		slices.Sort(differ)
		return conflict("all masters must run with the same settings: start this one with %s", strings.Join(differ, " "))
	}
	return nil
}

// checkSkew is upstream's rule for API servers that serve one cluster.
func checkSkew(version string, m Master) error {
	major, minor, ok := minorOf(version)
	if !ok {
		return conflict("%q is no version of Kubernetes", version)
	}
	majorThere, minorThere, ok := minorOf(m.Version)
	if !ok {
		return nil // not one of ours
	}
	if major != majorThere || max(minor-minorThere, minorThere-minor) > minorsMax {
		return conflict("this master has the version %s and the master %s has %s: masters of one cluster may be at most one minor version apart", version, m.Name, m.Version)
	}
	return nil
}

func minorOf(version string) (major, minor int, ok bool) {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	if len(parts) < 3 {
		return 0, 0, false
	}
	major, err := strconv.Atoi(parts[0])
	if err != nil {
		return 0, 0, false
	}
	minor, err = strconv.Atoi(parts[1])
	return major, minor, err == nil
}

func checkPeerURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.Port() == "" || text != "https://"+u.Host {
		return conflict("%q is no address for other masters: it must be https://host:port", text)
	}
	return nil
}

// Promotions are the learners to be made voters now, in order. One learner beside an odd number of voters stands by: the
// even set would not survive more failures than the odd one. The last to come is the first in order: if it has not caught
// up yet nothing is changed, and once it is a voter the others, who have, follow at once.
func Promotions(s State) []uint64 {
	voters, active := s.voters()
	var ready []MemberState
	for _, m := range s.Members {
		if m.Learner && m.Active && m.Serving {
			ready = append(ready, m)
		}
	}
	count := len(ready)
	if (voters+count)%2 == 0 {
		count--
	}
	if count <= 0 || active+count < quorum(voters+count) {
		return nil
	}
	slices.SortFunc(ready, func(a, b MemberState) int { return cmp.Or(b.Since.Compare(a.Since), cmp.Compare(a.ID, b.ID)) })
	var ids []uint64
	for _, m := range ready[:count] {
		ids = append(ids, m.ID)
	}
	return ids
}

// Removal is how a member is removed: first another is promoted, or made leader, where that is needed (0: not).
type Removal struct{ Promote, Lead, Remove uint64 }

// PlanRemoval refuses what would leave the cluster without a quorum.
func PlanRemoval(s State, target MemberState) (Removal, error) {
	plan := Removal{Remove: target.ID}
	if err := s.lost(); err != nil {
		return plan, err
	}
	if target.Learner {
		return plan, nil
	}
	voters, active := s.voters()
	if target.Active {
		active--
	}
	voters--
	if voters == 0 {
		i := slices.IndexFunc(s.Members, func(m MemberState) bool { return m.Learner && m.started() && m.Active })
		if i < 0 {
			return plan, conflict("%s is the last master: without it there is no cluster", target.label())
		}
		plan.Promote = s.Members[i].ID
		plan.Lead = plan.Promote
		return plan, nil
	}
	if active < quorum(voters) {
		return plan, conflict("without %s only %d of %d voting masters answer, and %d are needed: start the missing ones, or remove those first", target.label(), active, voters, quorum(voters))
	}
	if s.Leader == target.ID {
		plan.Lead = s.successor(target.ID)
	}
	return plan, nil
}

// successor is an active voter other than one, the longest active first; 0 if there is none.
func (s *State) successor(of uint64) uint64 {
	var found MemberState
	for _, m := range s.Members {
		if !m.Learner && m.Active && m.ID != of && (found.ID == 0 || m.Since.Before(found.Since)) {
			found = m
		}
	}
	return found.ID
}

// label is how messages call a member.
func (s *MemberState) label() string {
	if s.Name != "" {
		return s.Name
	}
	return FormatID(s.ID)
}

// FormatID is a member's ID as etcd's tools print it.
func FormatID(id uint64) string { return strconv.FormatUint(id, 16) }
