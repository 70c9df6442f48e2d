package failures

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/test/process"
)

// command runs a command against a master and expects it to succeed.
func command(t *testing.T, m *process.Master, args ...string) string {
	t.Helper()
	r, err := m.Command(args...)
	if err != nil {
		t.Fatal(err)
	}
	if r.Code != 0 {
		t.Fatalf("%s: %s", strings.Join(args, " "), r.Stderr)
	}
	return r.Stdout
}

// identity is the name of a master among the members.
func identity(t *testing.T, m *process.Master) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(m.Dir, "identity"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

// roles are the roles of all members, by name.
func roles(t *testing.T, m *process.Master) map[string]string {
	t.Helper()
	var list struct {
		Members []struct{ Name, Role string }
	}
	if err := json.Unmarshal([]byte(command(t, m, "member", "list", "-o", "json")), &list); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, one := range list.Members {
		out[one.Name] = one.Role
	}
	return out
}

// leader is the master that leads the store, and the others.
func leader(t *testing.T, m *process.Masters) (*process.Master, []*process.Master) {
	t.Helper()
	var leads *process.Master
	var others []*process.Master
	eventually(t, "a leader", func() error {
		leads, others = nil, nil
		all := roles(t, m.Living()[0])
		for _, one := range m.Living() {
			if all[identity(t, one)] == "leader" {
				leads = one
			} else {
				others = append(others, one)
			}
		}
		if leads == nil {
			return fmt.Errorf("%v", all)
		}
		return nil
	})
	return leads, others
}

// TestMembers lets masters join and leave, and the leader change, under load.
func TestMembers(t *testing.T) {
	t.Parallel()
	if !isolated(t) {
		return
	}
	m, err := process.NewMasters(binary, t.TempDir(), 5, noAgents)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := m.Add(); err != nil {
		t.Fatal(err)
	}
	l := startLoad(t, m)
	l.progress(50)
	for range 3 {
		next, err := m.Add()
		if err != nil {
			t.Fatal(err)
		}
		l.ask(next)
		l.progress(50)
	}
	for range 3 {
		before, others := leader(t, m)
		command(t, before, "member", "move-leader")
		l.progress(20)
		if after, _ := leader(t, m); after == before {
			t.Errorf("%s still leads", identity(t, before))
		}
		command(t, others[0], "member", "move-leader", identity(t, before))
		l.progress(20)
	}
	leads, others := leader(t, m)
	for _, gone := range []*process.Master{others[0], leads} {
		l.forget(gone)
		command(t, others[1], "member", "remove", identity(t, gone))
		select {
		case <-gone.Exited():
		case <-time.After(patience):
			t.Fatalf("%s was removed and still runs:\n%s", identity(t, gone), gone.Log)
		}
		l.progress(50)
		if err := gone.Begin(); err != nil {
			t.Fatal(err)
		}
		if err := gone.AwaitReady(); err == nil {
			t.Errorf("%s was removed and came back with its old data", identity(t, gone))
			gone.Kill()
		}
	}
	next, err := m.Add()
	if err != nil {
		t.Fatal(err)
	}
	l.ask(next)
	l.progress(50)
	l.verify()
}

// TestFrozenLeader stops the process that leads for longer than any lease and lets it go on: what it still had in mind
// must not happen.
func TestFrozenLeader(t *testing.T) {
	t.Parallel()
	if !isolated(t) {
		return
	}
	m := masters(t, 3)
	addNode(t, m)
	l := startLoad(t, m)
	frozen := 12 * time.Second
	if *long {
		frozen = 30 * time.Second
	}
	leads, others := leader(t, m)
	clients := connectTo(t, others[0])
	deploy(t, clients)
	scale(t, clients, 4)
	if err := leads.Freeze(); err != nil {
		t.Fatal(err)
	}
	thaw := time.After(frozen)
	l.progress(50)
	scale(t, clients, 2)
	podsOf(t, clients, 2)
	<-thaw
	if err := leads.Thaw(); err != nil {
		t.Fatal(err)
	}
	l.progress(100)
	awaitReady(t, m)
	podsOf(t, clients, 2)
	l.verify()
}

// TestClocks runs masters with clocks that are wrong by minutes, one way and the other, and moves leadership between
// them. They are less than five minutes apart: by so much certificates begin before they are made.
func TestClocks(t *testing.T) {
	if skewed == "" || !isolated(t) {
		t.Log("the long form builds what this needs")
		return
	}
	m, err := process.NewMasters(skewed, t.TempDir(), 3, noAgents)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, seconds := range []int{0, -120, 120} {
		next, err := m.Next()
		if err != nil {
			t.Fatal(err)
		}
		next.Env = []string{fmt.Sprintf("%s=%d", process.SkewVariable, seconds)}
		if err := m.Start(next); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.AwaitVotes(); err != nil {
		t.Fatal(err)
	}
	addNode(t, m)
	l := startLoad(t, m)
	for i, one := range m.All {
		l.progress(50)
		if leads, _ := leader(t, m); leads != one {
			command(t, one, "member", "move-leader", identity(t, one))
		}
		begun := time.Now()
		name := fmt.Sprintf("clock-%d", i)
		if err := replicated(connectAll(t, m), name); err != nil {
			t.Error(err)
		}
		t.Logf("controllers acted %s after leadership had moved", time.Since(begun).Round(time.Millisecond))
		one.Kill()
		l.progress(50)
		if err := replicated(connectAll(t, m), name+"-killed"); err != nil {
			t.Error(err)
		}
		if err := one.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	l.verify()
}

// TestSoak does one harm after the other for a long time.
func TestSoak(t *testing.T) {
	if *duration == 0 || !isolated(t) {
		t.Log("-duration says how long")
		return
	}
	m := masters(t, 3)
	random := rand.New(rand.NewSource(*seed))
	for until := time.Now().Add(*duration); time.Now().Before(until); {
		l := startLoad(t, m) // a history of its own, so that judging it ends
		for range 5 {
			h := harms[random.Intn(len(harms))]
			t.Logf("%s: %s", time.Now().Format(time.TimeOnly), h.name)
			h.do(t, m, l)
			l.progress(50)
		}
		l.verify()
		if t.Failed() {
			return
		}
		awaitReady(t, m)
	}
}

// TestExternal kills masters, and members of the etcd cluster that they share.
func TestExternal(t *testing.T) {
	t.Parallel()
	etcd, err := process.StartEtcd(t.TempDir(), 3, true)
	if err != nil {
		t.Fatal(err)
	}
	defer etcd.Close()
	m, err := process.NewLocalMasters(binary, t.TempDir(), 2, append(etcd.Flags(), noAgents)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	for range 2 {
		if _, err := m.Add(); err != nil {
			t.Fatal(err)
		}
	}
	l := startLoad(t, m)
	for i := range 2 {
		l.progress(50)
		etcd.Kill(i)
		l.progress(50)
		if err := etcd.Restart(i); err != nil {
			t.Fatal(err)
		}
		victim := m.All[i%2]
		victim.Kill()
		l.progress(50)
		if err := victim.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	l.verify()
}
