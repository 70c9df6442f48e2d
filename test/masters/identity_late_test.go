package masters

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestJoinBeforeTheNamed: the line to join is given while the restored master does not run yet. The others' old data, a majority, come
// to life; they end when the master that was named answers, and nothing is taken from them.
func TestJoinBeforeTheNamed(t *testing.T) {
	a, b, c := three(t)
	a.write("saved")
	restore, join := restoreOnto(t, a), a.joinFlags()
	for _, m := range []*master{a, b, c} {
		m.Kill()
	}
	restore(a.dir)
	b, c = b.begin(join...), c.begin(join...)
	for _, m := range []*master{b, c} {
		if err := m.AwaitReady(); err != nil {
			t.Fatal(err)
		}
	}
	a = a.again()
	for _, m := range []*master{b, c} {
		if said := m.ends(); !strings.Contains(said, "does not belong to the cluster that --join names") {
			t.Errorf("it said:\n%s", said)
		}
	}
	b = rejoins(t, b.dir, a, "does not belong to the cluster that --join names")
	b.read("saved")
}

// TestToldWhileWaiting: a master whose store was given up while it could ask nobody, and that waits for a majority, ends when it is
// told, and what it was told is not forgotten.
func TestToldWhileWaiting(t *testing.T) {
	a, b, c := three(t)
	for _, m := range []*master{a, b, c} {
		m.Kill()
	}
	a = a.again("--recover-quorum", "--yes-forget-other-masters")
	a.Kill()
	b = b.begin()
	eventually(t, "it waits for the others", func() bool { return strings.Contains(b.Log.String(), "waits") })
	a = a.again()
	if said := b.ends(); !strings.Contains(said, "given up") {
		t.Errorf("it said:\n%s", said)
	}
	a.Kill()
	fails(t, b.dir, "given up") // nobody is there to tell it again
}

// TestCopyOfAMember: a copy of a running master's folder does not start beside it, and takes neither its address nor its vote.
func TestCopyOfAMember(t *testing.T) {
	dir := t.TempDir()
	a := start(t, filepath.Join(dir, "a"), 0)
	b := start(t, filepath.Join(dir, "b"), 0, a.joinFlags()...)
	copied := filepath.Join(dir, "copy")
	copyDir(t, b.dir, copied)
	if err := os.Remove(filepath.Join(copied, "peer-port")); err != nil { // it is another host
		t.Fatal(err)
	}
	fails(t, copied, "runs already")
	b.write("after")
	b.Kill()
	b = b.again()
	b.read("after")
}

// TestReplaceCutOff: when a join with --replace was cut off after the old data were moved aside, a start without --join is none of
// a new cluster.
func TestReplaceCutOff(t *testing.T) {
	dir := t.TempDir()
	a := start(t, filepath.Join(dir, "a"), 0)
	a.Kill()
	left := filepath.Join(dir, "left")
	if err := os.Mkdir(left, 0o700); err != nil {
		t.Fatal(err)
	}
	move(t, a.dir, filepath.Join(left, ".replaced-20260101T000000.000Z"))
	fails(t, left, "is missing")
}
