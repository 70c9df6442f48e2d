package fairness

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"k8s.io/apiserver/pkg/authentication/user"
)

func TestClassify(t *testing.T) {
	who := func(name string, groups ...string) user.Info {
		return &user.DefaultInfo{Name: name, Groups: append(groups, user.AllAuthenticated)}
	}
	node := who("system:node:a", user.NodesGroup)
	system := who("system:serviceaccount:kube-system:x", allServiceAccounts, systemServiceAccounts)
	account := who("system:serviceaccount:team:x", allServiceAccounts, "system:serviceaccounts:team")
	nobody := &user.DefaultInfo{Name: user.Anonymous, Groups: []string{user.AllUnauthenticated}}
	lease := Request{Verb: "update", Group: "coordination.k8s.io", Resource: "leases", AboutResource: true}
	pods := Request{Verb: "create", Resource: "pods", AboutResource: true}
	cases := []struct {
		user   user.Info
		r      Request
		schema string
		level  PriorityLevel
	}{
		{who("admin", user.SystemPrivilegedGroup), pods, "exempt", Exempt},
		{nobody, Request{Verb: "get", Path: "/livez"}, "probes", Exempt},
		{node, Request{Verb: "get", Path: "/readyz/etcd"}, "probes", Exempt},
		{nobody, Request{Verb: "post", Path: "/livez"}, "global-default", GlobalDefault},
		{nobody, Request{Verb: "get", Path: "/healthzz"}, "global-default", GlobalDefault},
		{nobody, Request{Verb: "get", Path: "/healthz", AboutResource: true}, "global-default", GlobalDefault},
		{who(user.KubeScheduler), lease, "system-leader-election", LeaderElection},
		{who(user.KubeControllerManager), lease, "system-leader-election", LeaderElection},
		{system, lease, "system-leader-election", LeaderElection},
		{account, lease, "service-accounts", WorkloadLow},
		{who("somebody"), lease, "global-default", GlobalDefault},
		{node, lease, "system-node-high", NodeHigh},
		{node, Request{Verb: "patch", Resource: "nodes", Subresource: "status", AboutResource: true}, "system-node-high", NodeHigh},
		{node, Request{Verb: "patch", Resource: "pods", Subresource: "status", AboutResource: true}, "system-nodes", System},
		{who(user.KubeScheduler), pods, "kube-scheduler", WorkloadHigh},
		{who(user.KubeControllerManager), pods, "kube-controller-manager", WorkloadHigh},
		{system, pods, "kube-system-service-accounts", WorkloadHigh},
		{account, pods, "service-accounts", WorkloadLow},
		{nobody, pods, "global-default", GlobalDefault},
		{&user.DefaultInfo{Name: "odd"}, pods, "catch-all", CatchAll},
	}
	for _, c := range cases {
		c.r.User = c.user
		if s := Classify(c.r); s.Name != c.schema || s.PriorityLevel != c.level {
			t.Errorf("%s %s %s%s: %s %s instead of %s %s", c.user.GetName(), c.r.Verb, c.r.Resource, c.r.Path, s.Name, s.PriorityLevel, c.schema, c.level)
		}
	}
}

// TestPromises takes and leaves seats at random and asks for the promises at each step.
func TestPromises(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		total := 1 + r.IntN(300)
		p := NewPool(total)
		var seats []Seat
		for range 2000 {
			if len(seats) > 0 && r.IntN(5) < 2 {
				i := r.IntN(len(seats))
				seats[i].Leave()
				seats[i].Leave() // a second time does nothing
				seats[i] = seats[len(seats)-1]
				seats = seats[:len(seats)-1]
				continue
			}
			level := PriorityLevel(r.IntN(int(levelCount)))
			name := fmt.Sprint("user-", r.IntN(1+r.IntN(20)))
			_, holds := p.flows[flow{level, name}]
			reserve := p.reserved[level] - p.taken[level]
			seat, ok := p.Take(level, name)
			if ok {
				seats = append(seats, seat)
			}
			if !ok && (level == Exempt || !holds && reserve > 0) {
				t.Fatalf("seed %d: %s gets no seat at %s, which has %d of its own", seed, name, level, reserve)
			}
			check(t, p, len(seats))
		}
		for i := range seats {
			seats[i].Leave()
		}
		if p.Taken() != 0 || len(p.flows) > 0 || p.committed != NewPool(total).committed {
			t.Fatalf("seed %d: %+v is left", seed, p)
		}
	}
}

func check(t *testing.T, p *Pool, seats int) {
	t.Helper()
	sum, committed := 0, 0
	for l := range levelCount {
		sum += p.taken[l]
		if l != Exempt {
			committed += max(p.taken[l], p.reserved[l])
		}
	}
	if sum != seats || committed != p.committed || committed > p.total {
		t.Fatalf("%d seats are taken, %d held; committed %d (%d) of %d", sum, seats, p.committed, committed, p.total)
	}
}

// However many seats one user asks for, half stay free for others; however many users a level has, the others keep theirs.
func TestGreed(t *testing.T) {
	p := NewPool(200)
	take := func(level PriorityLevel, user string, want int) (got int) {
		for range want {
			if _, ok := p.Take(level, user); ok {
				got++
			}
		}
		return got
	}
	if got := take(GlobalDefault, "greedy", 1000); got < 50 || got > 100 {
		t.Errorf("one user has %d of 200 seats", got)
	}
	if got := take(GlobalDefault, "second", 1000); got < 25 {
		t.Errorf("a second user has %d", got)
	}
	for i := range 1000 {
		take(GlobalDefault, fmt.Sprint("greedy-", i), 1000)
	}
	for level, least := range map[PriorityLevel]int{NodeHigh: 12, LeaderElection: 4, System: 8, WorkloadHigh: 8} {
		if got := take(level, "late", 1000); got < least {
			t.Errorf("%s has %d seats left", level, got)
		}
		if got := take(level, "later", 1); got != 1 {
			t.Errorf("a second user finds no seat at %s", level)
		}
	}
	if got := take(Exempt, "admin", 1000); got != 1000 {
		t.Errorf("who is exempt has %d seats of 1000", got)
	}
	unbounded := NewPool(-1)
	for range 1000 {
		if _, ok := unbounded.Take(CatchAll, "u"); !ok {
			t.Fatal("a pool without bound has one")
		}
	}
}

func BenchmarkTake(b *testing.B) {
	p := NewPool(200)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if s, ok := p.Take(GlobalDefault, "somebody"); ok {
				s.Leave()
			}
		}
	})
}
