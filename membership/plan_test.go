package membership

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
)

var noon = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

// state reads members from words: the first letter is v for a voter, l for a learner; then + if it is active and serves,
// - if it is down, 0 if it never started. The first is the leader. Later ones came later.
func state(text string) State {
	s := State{Now: noon, Settings: map[string]string{"range": "10"}}
	for i, word := range strings.Fields(text) {
		m := MemberState{Member: etcd.Member{ID: uint64(i + 1), Name: fmt.Sprintf("h%d_x", i+1), PeerURL: fmt.Sprintf("https://10.0.0.%d:2380", i+1)}}
		m.Learner = word[0] == 'l'
		switch word[1] {
		case '+':
			m.Active, m.Serving, m.Since = true, true, noon.Add(time.Duration(i-100)*time.Minute)
			s.Masters = append(s.Masters, Master{Name: m.Name, Version: "v1.37.2"})
		case '0':
			m.Name = ""
		}
		if i == 0 && m.Active {
			s.Leader = m.ID
		}
		s.Members = append(s.Members, m)
	}
	return s
}

func request() *Request {
	return &Request{Name: "new_x", Version: "v1.37.0", PeerURL: "https://10.0.0.99:2380", Settings: map[string]string{"range": "10"}, Time: noon}
}

// TestPromotions: the voting set is odd, except when the members leave no other choice.
func TestPromotions(t *testing.T) {
	for _, c := range []struct{ members, want string }{
		{"v+", "[]"},
		{"v+ l+", "[]"},
		{"v+ l+ l+", "[3 2]"},
		{"v+ l+ l-", "[]"},
		{"v+ l+ l0", "[]"},
		{"v+ v+ l+", "[3]"},
		{"v+ v+ v+ l+", "[]"},
		{"v+ v+ v+ l+ l+", "[5 4]"},
		{"v+ v+ v- l+ l+", "[5 4]"},
		{"v+ v- l+", "[3]"},
		{"v+ v- v- v- l+", "[]"}, // no majority would answer
		{"v+ v+ v+ v+ l+", "[5]"},
	} {
		if got := fmt.Sprint(Promotions(state(c.members))); got != c.want {
			t.Errorf("%s: %s, want %s", c.members, got, c.want)
		}
	}
}

// TestPromotionsEven: whatever members there are, promoting never turns an odd voting set into an even one, and never
// leaves a majority that does not answer.
func TestPromotionsEven(t *testing.T) {
	words := []string{"v+", "v-", "l+", "l-", "l0"}
	var all func(prefix string, left int)
	all = func(prefix string, left int) {
		s := state(prefix)
		voters, active := s.voters()
		n := len(Promotions(s))
		if n > 0 && (voters+n)%2 == 0 {
			t.Errorf("%s: %d more make the voting set even", prefix, n)
		}
		if n > 0 && active+n < quorum(voters+n) {
			t.Errorf("%s: %d more leave no majority", prefix, n)
		}
		if left > 0 {
			for _, w := range words {
				all(prefix+" "+w, left-1)
			}
		}
	}
	all("v+", 4)
}

func TestAdmit(t *testing.T) {
	change := func(f func(*Request)) *Request {
		r := request()
		f(r)
		return r
	}
	for _, c := range []struct {
		members string
		request *Request
		replace []uint64
		fails   string
	}{
		{members: "v+", request: request()},
		{members: "v+ l+", request: request()},
		{members: "v+ v+ v-", request: request()},
		{members: "v+ v- v-", request: request(), fails: "1 of 3 voting masters answer, and 2 are needed"},
		{members: "v- v+ v+", request: request(), fails: "2 of 3 voting masters answer"}, // between two leaders
		{members: "v+ l0", request: request(), fails: "another master is joining"},
		{members: "v+ l-", request: request(), fails: "does not answer: start it, or remove it"},
		{members: "v+ v+ l+", request: request(), fails: "about to become a voting member"},
		{members: "v+ l+ l+", request: request(), fails: "about to become a voting member"},
		{members: "v+ v+ v+ v+ v+ v+ v+ v+ v+", request: request(), fails: "the most it can have"},
		{members: "v+ v+", request: change(func(r *Request) { r.Name = "h2_x" }), fails: "is a master of this cluster already"},
		{members: "v+ l-", request: change(func(r *Request) { r.Name = "h2_x" }), replace: []uint64{2}},
		{members: "v+ l0", request: change(func(r *Request) { r.PeerURL = "https://10.0.0.2:2380" }), replace: []uint64{2}},
		{members: "v+ l-", request: change(func(r *Request) { r.PeerURL = "https://10.0.0.2:2380" }), fails: "belongs to the master h2_x"},
		{members: "v+", request: change(func(r *Request) { r.PeerURL = "http://10.0.0.9:2380" }), fails: "must be https://host:port"},
		{members: "v+", request: change(func(r *Request) { r.Name = "" }), fails: "cannot be the name"},
		{members: "v+", request: change(func(r *Request) { r.Version = "v1.36.9" })},
		{members: "v+", request: change(func(r *Request) { r.Version = "v1.38.0-alpha.1+x" })},
		{members: "v+", request: change(func(r *Request) { r.Version = "v1.35.0" }), fails: "at most one minor version apart"},
		{members: "v+", request: change(func(r *Request) { r.Version = "v2.37.0" }), fails: "at most one minor version apart"},
		{members: "v+", request: change(func(r *Request) { r.Version = "new" }), fails: "no version"},
		{members: "v+", request: change(func(r *Request) { r.Time = noon.Add(5 * time.Minute) }), fails: "5m0s apart"},
		{members: "v+", request: change(func(r *Request) { r.Time = noon.Add(-3 * time.Minute) })},
		{members: "v+", request: change(func(r *Request) { r.Settings = nil }), fails: "--range=10"},
		{members: "v-", request: change(func(r *Request) { r.External = true; r.PeerURL = "" })},
	} {
		replace, err := Admit(state(c.members), c.request)
		if c.fails != "" {
			if err == nil || !strings.Contains(err.Error(), c.fails) {
				t.Errorf("%s: %v, want %q", c.members, err, c.fails)
			}
			continue
		}
		if err != nil || !slices.Equal(replace, c.replace) {
			t.Errorf("%s: %v, %v, want %v", c.members, replace, err, c.replace)
		}
	}
	if _, err := Admit(state("v+ v- v-"), request()); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("a lost quorum is no reason to ask another master: %v", err)
	}
	if _, err := Admit(state("v+ l0"), request()); !apierrors.IsTooManyRequests(err) {
		t.Errorf("another join is no reason to wait: %v", err)
	}
}

func TestPlanRemoval(t *testing.T) {
	for _, c := range []struct {
		members string
		target  int
		want    Removal
		fails   string
	}{
		{"v+ v+ v+", 2, Removal{Remove: 2}, ""},
		{"v+ v+ v+", 1, Removal{Lead: 2, Remove: 1}, ""},
		{"v+ v+ v-", 3, Removal{Remove: 3}, ""},
		{"v+ v+ v-", 2, Removal{}, "only 1 of 2 voting masters answer"},
		{"v+ v- v-", 2, Removal{}, "2 are needed"},
		{"v+ l+", 2, Removal{Remove: 2}, ""},
		{"v+ l-", 2, Removal{Remove: 2}, ""},
		{"v+ l+", 1, Removal{Promote: 2, Lead: 2, Remove: 1}, ""},
		{"v+ l-", 1, Removal{}, "the last master"},
		{"v+", 1, Removal{}, "the last master"},
		{"v+ v+", 2, Removal{Remove: 2}, ""},
		{"v+ v+ v+ v+ v-", 5, Removal{Remove: 5}, ""},
	} {
		s := state(c.members)
		got, err := PlanRemoval(s, s.Members[c.target-1])
		if c.fails != "" {
			if err == nil || !strings.Contains(err.Error(), c.fails) {
				t.Errorf("%s without %d: %v, want %q", c.members, c.target, err, c.fails)
			}
			continue
		}
		if err != nil || got != c.want {
			t.Errorf("%s without %d: %+v, %v", c.members, c.target, got, err)
		}
	}
}
