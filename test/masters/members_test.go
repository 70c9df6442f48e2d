package masters

import (
	"encoding/json"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/membership"
)

// TestMembership: three masters join and serve alike; one is removed and joins anew; leadership moves; a stop hands it over.
func TestMembership(t *testing.T) {
	a, b, c := three(t)
	for _, m := range []*master{a, b, c} {
		m.write("by-" + filepath.Base(m.dir))
	}
	for _, m := range []*master{a, b, c} {
		for _, name := range []string{"by-a", "by-b", "by-c"} {
			m.read(name)
		}
		if out := m.must("status"); !strings.Contains(out, "all is well") {
			t.Errorf("status of three masters:\n%s", out)
		}
		if line := m.must("token", "create"); strings.Count(line, "https://127.0.0.1:") != 3 {
			t.Errorf("the join line does not name all masters: %s", line)
		}
	}

	if said := a.must("certs", "renew", "--all"); strings.Count(said, " were renewed\n") != 3 || !strings.Contains(said, "certificates of "+c.name()+" were renewed") {
		t.Errorf("it is not said which masters got new certificates:\n%s", said)
	}
	a.must("encryption", "status")

	// Leadership goes where it is sent, whoever is asked.
	b.must("member", "move-leader", c.name())
	eventually(t, "c leads", func() bool { return a.members()[c.name()].Role == membership.RoleLeader })
	if code, err := c.Stop(patience); code != 0 || err != nil {
		t.Errorf("clean stop: %d, %v", code, err)
	}
	if left := a.members()[c.name()]; left.Role == membership.RoleLeader {
		t.Errorf("the leader stopped without handing over: %+v", left)
	}
	a.write("while-c-is-away")
	if r := a.command("status"); r.Code != 1 || !strings.Contains(r.Stdout, c.name()+" does not answer") {
		t.Errorf("status with one master away: exit code %d\n%s", r.Code, r.Stdout)
	}
	a.refused("master "+c.name()+" does not answer", "encryption", "status")
	a.refused("master "+c.name()+" does not answer", "certs", "renew", "--all")
	a.refused("127.0.0.1 stands for several masters", "member", "remove", "127.0.0.1")
	a.refused("there is no master nobody-of-that-name", "member", "remove", "nobody-of-that-name")
	// With c away, a and b are a bare majority: neither may go.
	a.refused("voting masters answer", "member", "remove", b.name())
	c = c.again()
	c.read("while-c-is-away")

	// A removed master ends, and never comes back with its old data; it may join anew.
	place := a.members()[b.name()].PeerURL
	eventually(t, "b can be removed", func() bool { return a.command("member", "remove", place).Code == 0 })
	if said := b.ends(); !strings.Contains(said, "removed") {
		t.Errorf("a removed master did not say why it ended:\n%s", said)
	}
	fails(t, b.dir, "removed from its cluster")
	fails(t, b.dir, "removed from its cluster", a.joinFlags()...)
	fresh := start(t, filepath.Join(t.TempDir(), "fresh"), 0, c.joinFlags()...)
	eventually(t, "the new one votes", func() bool { return a.members()[fresh.name()].Role == membership.RoleVoter })
	fresh.read("by-b")

	// A restart needs no --join, and is not confused by one that is left in place.
	fresh.Kill()
	fresh = fresh.again("--join", "https://127.0.0.1:1", "--token", "abcdef.0123456789abcdef", "--discovery-token-ca-cert-hash", hashOf(t, a))
	if !strings.Contains(fresh.Log.String(), "--join is left aside") {
		t.Errorf("nothing is said about --join:\n%s", fresh.Log)
	}
	fresh.write("after-a-restart")

	// A master that is reached elsewhere after a restart tells the others.
	fresh.Kill()
	port := freePort(t)
	fresh = fresh.again("--peer-port", port)
	eventually(t, "the others know the new address", func() bool {
		return a.members()[fresh.name()].PeerURL == "https://127.0.0.1:"+port
	})
	a.must("defragment")
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func hashOf(t *testing.T, m *master) string {
	t.Helper()
	flags := m.joinFlags()
	return flags[len(flags)-1]
}

// TestLast: the only master cannot be removed, nor one of two promoted; the first of two can be.
func TestLast(t *testing.T) {
	dir := t.TempDir()
	a := start(t, filepath.Join(dir, "a"), 0)
	a.refused("the last master", "member", "remove", a.name())
	b := start(t, filepath.Join(dir, "b"), 0, a.joinFlags()...)
	a.refused("stands by", "member", "promote", b.name())
	a.refused("no other voting master", "member", "move-leader")
	b.write("kept")
	b.must("member", "remove", a.name())
	a.ends()
	b.read("kept")
	eventually(t, "b leads alone", func() bool { return b.roles() == "1 leader, 0 voter, 0 learner" })
	b.write("alone")
}

// aloneInStatus: right after a recovery, status names nobody who was forgotten.
func (m *master) aloneInStatus() {
	m.t.Helper()
	begun := time.Now()
	r := m.command("status", "-o", "json")
	if took := time.Since(begun); took > statusMax {
		m.t.Errorf("status took %v", took)
	}
	var s membership.Status
	if err := json.Unmarshal([]byte(r.Stdout), &s); err != nil || len(s.Masters) != 1 || s.Masters[0].Name != m.name() || s.Quorum != nil && s.Quorum.Lost {
		m.t.Errorf("status after the recovery: %v\n%s%s", err, r.Stdout, r.Stderr)
	}
	for lease, holder := range s.Leaders {
		if holder != "" && holder != m.name() {
			m.t.Errorf("%s is led by %s, which is forgotten", lease, holder)
		}
	}
}

// TestRecoverQuorum: one of three goes on alone, only if told to twice, and without those that it forgot.
func TestRecoverQuorum(t *testing.T) {
	a, b, c := three(t)
	a.write("kept")
	c.read("kept")
	c.Kill()
	before := snapshot(t, c.dir)
	fails(t, c.dir, "can be reached", "--recover-quorum", "--yes-forget-other-masters")
	a.Kill()
	b.Kill()
	fails(t, c.dir, "--yes-forget-other-masters", "--recover-quorum")
	if after := snapshot(t, c.dir); after != before {
		t.Errorf("an unconfirmed recovery changed the folder:\n%s\nbefore:\n%s", after, before)
	}
	c = c.again("--recover-quorum", "--yes-forget-other-masters")
	c.aloneInStatus()
	c.read("kept")
	c.write("after")
	if roles := c.roles(); roles != "1 leader, 0 voter, 0 learner" {
		t.Errorf("after the recovery: %s", roles)
	}
	if aside, err := filepath.Glob(filepath.Join(c.dir, "etcd.before-recovery-*", "member", "snap", "db")); err != nil || len(aside) != 1 {
		t.Errorf("copies of the store: %v, %v", aside, err)
	}
	// Others join; flags that were left in place forget nobody again.
	fresh := start(t, filepath.Join(t.TempDir(), "fresh"), 0, c.joinFlags()...)
	fresh.read("after")
	c.Kill()
	c = c.again("--recover-quorum", "--yes-forget-other-masters")
	if !strings.Contains(c.Log.String(), "recovered already") {
		t.Errorf("the flag worked twice:\n%s", c.Log)
	}
	if len(c.members()) != 2 {
		t.Errorf("members: %v", c.members())
	}
}
