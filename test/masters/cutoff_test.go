package masters

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// killWhen kills a start on a folder as soon as something is so. It tells whether the process still ran: a start that is done before
// is none that was cut off.
func (m *master) killWhen(so func() bool, args ...string) *master {
	m.t.Helper()
	n := m.begin(args...)
	for until := time.Now().Add(patience); !so() && n.lives(); {
		if time.Now().After(until) {
			m.t.Fatalf("this start did not come as far:\n%s", n.Log)
		}
		runtime.Gosched()
	}
	n.Kill()
	return n
}

// isThere tells whether a pattern of paths below a folder is met.
func isThere(dir string, pattern ...string) func() bool {
	return func() bool {
		found, err := filepath.Glob(filepath.Join(append([]string{dir}, pattern...)...))
		return err == nil && len(found) > 0
	}
}

// TestReplaceKilled: a join with --replace that is killed at any step goes on or back when the same line is started again: to a master of
// the cluster that has joined, or to the old data when the cluster is not there any more.
func TestReplaceKilled(t *testing.T) {
	dir := t.TempDir()
	a := start(t, filepath.Join(dir, "a"), 0)
	a.write("theirs")
	old := start(t, filepath.Join(dir, "old"), 0)
	old.write("ours")
	old.Kill()
	flags := append(a.joinFlags(), "--replace")
	steps := []struct {
		name    string
		pattern []string
	}{
		{"the mark is set", []string{"joining"}},
		{"the data are moved", []string{".replaced-*", "etcd"}},
		{"all is moved", []string{".replaced-*", "identity"}},
		{"it has the files of others", []string{"pki", "ca.crt"}},
		{"its member begins", []string{"etcd", "member"}},
		{"its member has a log", []string{"etcd", "member", "wal", "*.wal"}},
		{"it knows its store", []string{"store-identity"}},
	}
	var last *master
	for i, step := range steps {
		folder := filepath.Join(dir, "step", string(rune('a'+i)))
		copyDir(t, old.dir, folder)
		if err := os.Remove(filepath.Join(folder, "peer-port")); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		m := &master{t: t, dir: folder, Server: old.Server}
		there := isThere(folder, step.pattern...)
		if i >= 3 { // what is there before is not what is meant
			moved := isThere(folder, ".replaced-*", "identity")
			there = func() bool { return moved() && isThere(folder, step.pattern...)() }
		}
		m = m.killWhen(there, flags...)
		t.Logf("killed when %s", step.name)
		m = start(t, folder, 0, flags...)
		m.read("theirs")
		if m.storeID() != a.storeID() {
			t.Errorf("%s: it has another store", step.name)
		}
		if kept, err := filepath.Glob(filepath.Join(folder, ".replaced-*")); err != nil || len(kept) != 1 || !isThere(kept[0], "etcd", "member", "snap", "db")() {
			t.Errorf("%s: the old data: %v, %v", step.name, kept, err)
		}
		if last = m; i+1 < len(steps) {
			a.must("member", "remove", m.name())
			m.ends()
			flags = append(a.joinFlags(), "--replace")
		}
	}
	last.Kill()

	// The cluster has gone when the same line is started again.
	folder := filepath.Join(dir, "gone")
	copyDir(t, old.dir, folder)
	before := snapshot(t, folder)
	a.must("member", "remove", last.name())
	flags = append(a.joinFlags(), "--replace")
	m := (&master{t: t, dir: folder, Server: old.Server}).killWhen(isThere(folder, ".replaced-*", "identity"), flags...)
	a.Kill()
	fails(t, folder, "", flags...)
	if after := snapshot(t, folder); after != before {
		t.Errorf("the old data are not back:\n%s\nbefore:\n%s", after, before)
	}
	m = start(t, m.dir, 0)
	m.read("ours")
}

// TestWrongOneRecovered: a master went on alone that lacked what others had acknowledged. One of those goes on in its place, with what
// it has; the first, and whoever followed it, is given up in turn.
func TestWrongOneRecovered(t *testing.T) {
	a, b, c := three(t)
	a.Kill()
	eventually(t, "b and c go on", func() bool {
		r := b.command("status", "-o", "json")
		return strings.Contains(r.Stdout, `"leader"`)
	})
	eventually(t, "a write is acknowledged", func() bool { return b.tryWrite("precious") })
	c.read("precious")
	b.Kill()
	c.Kill()
	wrong := a.again("--recover-quorum", "--yes-forget-other-masters")
	if wrong.has("precious") {
		t.Fatal("the wrong one is not wrong")
	}
	wrong.write("since")
	fails(t, b.dir, "given up") // it has heard
	other := wrong.storeID()
	take := []string{"--recover-quorum", "--yes-forget-other-masters", "--yes-forget-store", other}
	fails(t, b.dir, "can be reached", take...)
	wrong.Kill()
	fails(t, b.dir, "--yes-forget-store "+other, "--recover-quorum", "--yes-forget-other-masters")
	fails(t, b.dir, "given up", "--recover-quorum", "--yes-forget-other-masters", "--yes-forget-store", "0123456789abcdef")
	failsWith(t, 2, b.dir, "only for --recover-quorum", "--yes-forget-store", other)
	b = b.again(take...)
	b.read("precious")
	if s := b.clusterStatus(); s.Identity.Incarnation != 3 || s.Identity.ID == other {
		t.Errorf("%+v", s.Identity)
	}
	// The first comes back, and the flags that it was started with are still there; and one that has heard of nothing.
	for _, m := range []*master{wrong, c} {
		fails(t, m.dir, "given up for store "+b.storeID())
		fails(t, m.dir, "given up", "--recover-quorum", "--yes-forget-other-masters")
	}
	b.Kill()
	b = b.again(take...) // left in place
	b.read("precious")
	wrong = start(t, wrong.dir, 0, append(b.joinFlags(), "--replace")...)
	wrong.read("precious")
	if !isThere(wrong.dir, ".replaced-*", "etcd", "member", "snap", "db")() {
		t.Error("what the first had written is gone")
	}
}
