package masters

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/wheelhouse-k8s/wheelhouse/test/process"
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

// TestFirstStartKilled: a first start that is killed at any step is begun anew by the next start: nobody was told of anything in it. What
// someone else has put into such a folder stays.
func TestFirstStartKilled(t *testing.T) {
	dir := t.TempDir()
	made := start(t, filepath.Join(dir, "made"), 0)
	made.write("precious")
	made.stops()
	put := func(path, data string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(data), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	log := func(folder string, data []byte) {
		t.Helper()
		w, err := wal.Create(zap.NewNop(), filepath.Join(folder, "etcd", "member", "wal"), data)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	whose, err := proto.Marshal(&etcdserverpb.Metadata{NodeID: new(uint64(7)), ClusterID: new(uint64(8))})
	if err != nil {
		t.Fatal(err)
	}
	for name, leave := range map[string]func(folder string){
		"nothing": func(string) {},
		"a log of no file": func(folder string) {
			put(filepath.Join(folder, "etcd", "member", "wal", "x"), "")
			if err := os.Remove(filepath.Join(folder, "etcd", "member", "wal", "x")); err != nil {
				t.Fatal(err)
			}
		},
		"an empty log": func(folder string) {
			put(filepath.Join(folder, "etcd", "member", "wal", "0000000000000000-0000000000000000.wal"), "")
		},
		"a log that names no member": func(folder string) { log(folder, whose) },
		"an empty database": func(folder string) {
			log(folder, whose)
			put(filepath.Join(folder, "etcd", "member", "snap", "db"), "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			folder := filepath.Join(t.TempDir(), "data")
			copyDir(t, made.dir, folder)
			for _, file := range []string{"etcd", "store-identity"} {
				if err := os.RemoveAll(filepath.Join(folder, file)); err != nil {
					t.Fatal(err)
				}
			}
			put(filepath.Join(folder, "first-start"), "")
			leave(folder)
			r, err := process.Run(binary, patience, "doctor", folder)
			if err != nil || !strings.Contains(r.Stdout, "start it again") {
				t.Errorf("doctor: %v\n%s%s", err, r.Stdout, r.Stderr)
			}
			m := start(t, folder, 0)
			if m.has("precious") {
				t.Error("the test begins with data")
			}
			m.write("new")
			m.stops()
			if isThere(folder, "first-start")() {
				t.Error("it still takes its start for the first")
			}
			m = m.again()
			m.read("new")
		})
	}
	t.Run("another's data", func(t *testing.T) {
		if err := os.Remove(filepath.Join(made.dir, "store-identity")); err != nil {
			t.Fatal(err)
		}
		put(filepath.Join(made.dir, "first-start"), "")
		made.again().read("precious")
	})
	for _, step := range [][]string{{"first-start"}, {"etcd", "member", "wal*"}, {"etcd", "member", "wal", "*.wal"}, {"etcd", "member", "snap", "db"}, {"store-identity"}} {
		t.Run("killed at "+step[len(step)-1], func(t *testing.T) {
			folder := filepath.Join(t.TempDir(), "data")
			m := (&master{t: t, dir: folder, Server: made.Server}).killWhen(isThere(folder, step...))
			start(t, m.dir, 0).write("new")
		})
	}
}
