package masters

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/test/process"
)

// move renames what must be there.
func move(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// clusterStatus of a master's cluster.
func (m *master) clusterStatus() membership.Status {
	m.t.Helper()
	var s membership.Status
	if err := json.Unmarshal([]byte(m.command("status", "-o", "json").Stdout), &s); err != nil {
		m.t.Fatal(err)
	}
	return s
}

// storeID of a master's cluster.
func (m *master) storeID() string {
	m.t.Helper()
	s := m.clusterStatus()
	if s.Identity == nil || s.System == "" {
		m.t.Fatalf("the status tells no identity: %+v", s)
	}
	return s.Identity.ID
}

// TestStoreMissing: a master whose store is missing, or is another's, does not begin anew by itself, however it came to be missing.
func TestStoreMissing(t *testing.T) {
	dir := t.TempDir()
	a := start(t, filepath.Join(dir, "a"), 0)
	a.write("kept")
	first := a.storeID()
	other := start(t, filepath.Join(dir, "other"), 0)
	a.Kill()
	other.Kill()
	etcd, aside := filepath.Join(a.dir, "etcd"), filepath.Join(dir, "aside")
	refused := func(want string, args ...string) {
		t.Helper()
		before := snapshot(t, a.dir)
		fails(t, a.dir, want, args...)
		if after := snapshot(t, a.dir); after != before {
			t.Errorf("a refused start changed the folder:\n%s\nbefore:\n%s", after, before)
		}
	}
	move(t, etcd, aside)
	refused("is missing")
	refused("--new-cluster")
	if err := os.Mkdir(etcd, 0o700); err != nil { // where a disk is to be mounted
		t.Fatal(err)
	}
	refused("is missing")
	for _, gone := range []string{"store-identity"} { // as a version without it left the folder
		move(t, filepath.Join(a.dir, gone), filepath.Join(dir, gone))
		refused("is missing")
		move(t, filepath.Join(dir, gone), filepath.Join(a.dir, gone))
	}
	copyDir(t, filepath.Join(other.dir, "etcd"), etcd)
	refused("is not its own")
	if err := os.Remove(filepath.Join(a.dir, "store-identity")); err != nil {
		t.Fatal(err)
	}
	refused("is not its own")
	if err := os.RemoveAll(etcd); err != nil {
		t.Fatal(err)
	}

	// Given back, in a folder that an older version left, it is the same cluster, and nothing is said.
	move(t, aside, etcd)
	a = a.again()
	a.read("kept")
	if a.storeID() != first {
		t.Error("the store has another identity")
	}
	a.Kill()
	if err := os.Remove(filepath.Join(a.dir, "identity")); err != nil {
		t.Fatal(err)
	}
	a = a.again() // whose store it is says who it is
	a.read("kept")
	a.Kill()

	// A store without its log is not taken for a new one either.
	wal := filepath.Join(etcd, "member", "wal")
	move(t, wal, aside)
	refused("is incomplete")
	move(t, aside, wal)

	// Said by hand, it begins anew, once.
	move(t, etcd, aside)
	a = a.again("--new-cluster")
	if a.storeID() == first {
		t.Error("a new cluster has the old identity")
	}
	a.write("new")
	a.Kill()
	a = a.again("--new-cluster")
	a.read("new")
	if said := a.Log.String(); !strings.Contains(said, "--new-cluster is left aside") {
		t.Errorf("nothing is said about --new-cluster:\n%s", said)
	}
	a.Kill()
	if err := os.RemoveAll(etcd); err != nil {
		t.Fatal(err)
	}
	refused("works once", "--new-cluster")
}

// TestFirstStartAgain: a first start that failed is no master's that lost its store.
func TestFirstStartAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	fails(t, dir, "/nowhere", "--tls-cert-file", "/nowhere", "--tls-private-key-file", "/nowhere")
	if _, err := os.Stat(filepath.Join(dir, "pki", "ca.crt")); err != nil {
		t.Fatal(err)
	}
	a := start(t, dir, 0)
	a.write("well")
	if s := a.clusterStatus(); s.Identity.Origin != membership.OriginNew || s.Identity.Incarnation != 1 {
		t.Errorf("%+v", s.Identity)
	}
}

// restoreOnto backs a cluster up; the function that it gives restores that onto a folder.
func restoreOnto(t *testing.T, from *master) func(dir string) {
	t.Helper()
	dir := t.TempDir()
	key, vault := filepath.Join(dir, "key"), filepath.Join(dir, "backups")
	run := func(args ...string) {
		t.Helper()
		if r, err := process.Run(binary, patience, args...); err != nil || r.Code != 0 {
			t.Fatalf("%v: %v, exit code %d\n%s%s", args, err, r.Code, r.Stdout, r.Stderr)
		}
	}
	run("backup", "keygen", key)
	run("backup", "create", "--kubeconfig", from.kubeconfig(), "--backup-dir", vault, "--backup-key-file", key)
	return func(dir string) {
		t.Helper()
		run("backup", "restore", "--backup-dir", vault, "--backup-key-file", key, "--data-dir", dir, "--replace")
	}
}

// rejoins checks that a folder with old data neither starts nor joins, and with --replace joins as a new master that has the
// cluster's data; what it had is still there.
func rejoins(t *testing.T, dir string, to *master, want string) *master {
	t.Helper()
	join := to.joinFlags()
	before := snapshot(t, dir)
	fails(t, dir, want, join...)
	if after := snapshot(t, dir); after != before {
		t.Errorf("a refused join changed the folder:\n%s\nbefore:\n%s", after, before)
	}
	joined := start(t, dir, 0, append(join, "--replace")...)
	if joined.storeID() != to.storeID() {
		t.Error("it joined another store")
	}
	if old, err := filepath.Glob(filepath.Join(dir, ".replaced-*", "etcd", "member", "snap", "db")); err != nil || len(old) != 1 {
		t.Errorf("the old data: %v, %v", old, err)
	}
	return joined
}

// TestJoinAfterRestore: three masters, of which the first is restored from a backup; the others' old data do not come to life
// beside it.
func TestJoinAfterRestore(t *testing.T) {
	a, b, c := three(t)
	a.write("saved")
	restore := restoreOnto(t, a)
	a.write("lost")
	old := a.storeID()
	for _, m := range []*master{a, b, c} {
		m.Kill()
	}
	restore(a.dir)
	a = a.again()
	a.read("saved")
	if s := a.clusterStatus(); s.Identity.ID == old || s.Identity.Succeeds != old || s.Identity.Incarnation != 2 || s.Identity.Origin != membership.OriginRestored {
		t.Errorf("after the restore: %+v", s.Identity)
	}
	b = rejoins(t, b.dir, a, "does not belong to the cluster that --join names")
	c = rejoins(t, c.dir, a, "does not belong to the cluster that --join names")
	eventually(t, "three masters vote", func() bool { return a.roles() == "1 leader, 2 voter, 0 learner" })
	c.write("after")
	b.read("after")
	// From here on the line, left in place, is no hindrance.
	b.Kill()
	b = b.again(append(a.joinFlags(), "--replace")...)
	if said := b.Log.String(); !strings.Contains(said, "--join is left aside: this is a master of that cluster already") {
		t.Errorf("it said:\n%s", said)
	}
	b.read("after")
}

// TestJoinRestoredFolder: a folder that was restored from a cluster's backup is not a part of that cluster.
func TestJoinRestoredFolder(t *testing.T) {
	dir := t.TempDir()
	a := start(t, filepath.Join(dir, "a"), 0)
	a.write("saved")
	copied := filepath.Join(dir, "copy")
	restoreOnto(t, a)(copied)
	a.write("since")
	joined := rejoins(t, copied, a, "does not belong to the cluster that --join names")
	joined.read("since")
	if n := len(a.members()); n != 2 {
		t.Errorf("members: %d", n)
	}
}

// TestJoinAfterRecovery: five masters, of which one goes on alone; the old data of three others, a majority, neither join it nor
// come to life beside it.
func TestJoinAfterRecovery(t *testing.T) {
	all := five(t)
	all[0].write("kept")
	old := all[0].storeID()
	for _, m := range all {
		m.read("kept")
	}
	for _, m := range all {
		m.Kill()
	}
	a := all[0].again("--recover-quorum", "--yes-forget-other-masters")
	a.read("kept")
	a.write("after")
	if s := a.clusterStatus(); s.Identity.Succeeds != old || s.Identity.Incarnation != 2 || s.Identity.Origin != membership.OriginRecovered {
		t.Errorf("after the recovery: %+v", s.Identity)
	}
	// Told to join, and told nothing at all: an old majority asks first where this master was.
	for _, m := range all[1:4] {
		fails(t, m.dir, "given up", a.joinFlags()...)
	}
	for _, m := range all[1:4] {
		fails(t, m.dir, "given up")
		fails(t, m.dir, "given up", "--join", "https://127.0.0.1:1", "--token", "abcdef.0123456789abcdef", "--discovery-token-ca-cert-hash", hashOf(t, a))
		fails(t, m.dir, "given up", "--recover-quorum", "--yes-forget-other-masters")
	}
	b := start(t, all[1].dir, 0, append(a.joinFlags(), "--replace")...)
	b.read("after")
	if out := a.must("status"); !strings.Contains(out, "identity: store "+a.storeID()) {
		t.Errorf("status:\n%s", out)
	}
}

// five starts five masters that vote.
func five(t *testing.T) []*master {
	t.Helper()
	a, b, c := three(t)
	all := []*master{a, b, c}
	for _, name := range []string{"d", "e"} {
		all = append(all, start(t, filepath.Join(filepath.Dir(a.dir), name), 0, a.joinFlags()...))
	}
	eventually(t, "five masters vote", func() bool { return a.roles() == "1 leader, 4 voter, 0 learner" })
	return all
}

// TestSuperseded: masters that run while another recovers where they cannot reach it stop when they meet it, with those of them
// that it does not meet, and do not start again.
func TestSuperseded(t *testing.T) {
	a, b, c := three(t)
	a.write("kept")
	c.read("kept")
	c.Kill()
	// Here c finds nobody, since it looks for them at addresses that are none; it is as if it were cut off from a and b.
	apart := filepath.Join(t.TempDir(), "c")
	copyDir(t, c.dir, apart)
	a.Kill()
	b.Kill()
	port := freePort(t)
	recovered := start(t, apart, 0, "--recover-quorum", "--yes-forget-other-masters", "--peer-port", port)
	recovered.Kill()
	// b is reached elsewhere than the one that recovers knows: it hears of it from a, by their store.
	a, b = a.begin(), b.begin("--peer-port", freePort(t))
	if err := a.AwaitReady(); err != nil {
		t.Fatal(err)
	}
	if err := b.AwaitReady(); err != nil {
		t.Fatal(err)
	}
	a.write("beside")
	recovered = recovered.again("--peer-port", port)
	for _, m := range []*master{a, b} {
		if said := m.ends(); !strings.Contains(said, "given up for store "+recovered.storeID()) {
			t.Errorf("it said:\n%s", said)
		}
		fails(t, m.dir, "given up")
	}
	recovered.read("kept")
	recovered.write("after")
}

// begin restarts a master without waiting for it.
func (m *master) begin(args ...string) *master {
	m.t.Helper()
	s, err := process.Launch{Binary: binary, Dir: m.dir, Port: m.port, Args: append([]string{"--peer-port", "0"}, args...)}.Begin()
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(s.Kill)
	return &master{Server: s, t: m.t, dir: m.dir, port: m.port}
}

// metrics of a master, as text.
func (m *master) metrics() string {
	m.t.Helper()
	config, err := m.Config()
	if err != nil {
		m.t.Fatal(err)
	}
	c, err := rest.HTTPClientFor(config)
	if err != nil {
		m.t.Fatal(err)
	}
	r, err := c.Get(config.Host + "/metrics")
	if err != nil || r.StatusCode != http.StatusOK {
		m.t.Fatal(err, r)
	}
	defer r.Body.Close()
	data, err := io.ReadAll(r.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	return string(data)
}

// TestSplitBrainIsSeen: a restored cluster and the one that it was restored from say that there are two, wherever they meet.
func TestSplitBrainIsSeen(t *testing.T) {
	a, b, _ := three(t)
	a.write("saved")
	copied := filepath.Join(t.TempDir(), "copy")
	restoreOnto(t, a)(copied)
	other := start(t, copied, 0)
	for _, pair := range [][2]*master{{other, a}, {other, b}, {a, other}} {
		m, met := pair[0], pair[1]
		eventually(t, "split brain is seen", func() bool {
			for _, f := range m.clusterStatus().Foreign {
				if f.Master == met.name() && f.Store.ID == met.storeID() && f.System == met.clusterStatus().System && f.Member == met.clusterStatus().Masters[0].ID ||
					f.Master == met.name() && f.Store.ID == met.storeID() && f.Member != "" {
					return true
				}
			}
			return false
		})
		r := m.command("status")
		if r.Code != 1 || !strings.Contains(r.Stdout, "split brain: "+met.name()) || !strings.Contains(r.Stdout, met.storeID()) {
			t.Errorf("status: exit code %d\n%s", r.Code, r.Stdout)
		}
		if said := m.Log.String(); !strings.Contains(said, "split brain: "+met.name()) {
			t.Errorf("log:\n%s", said)
		}
		if text := m.metrics(); !strings.Contains(text, `wheelhouse_foreign_masters{relation="split"}`) || strings.Contains(text, `wheelhouse_foreign_masters{relation="split"} 0`) {
			t.Error("the metric does not count it")
		}
		eventually(t, "there is an event", func() bool {
			events, err := m.client().CoreV1().Events("kube-system").List(t.Context(), metav1.ListOptions{FieldSelector: "reason=ForeignStoreMet"})
			return err == nil && len(events.Items) > 0
		})
	}
	// Neither stops for it: a restored copy may be an exercise.
	a.write("a-goes-on")
	other.write("other-goes-on")

	// A client whose data folder is the other's is told, and so is the master.
	r, err := process.Run(binary, patience, "member", "list", "--kubeconfig", a.kubeconfig(), "--server", other.url())
	if err != nil || r.Code != 0 || !strings.Contains(r.Stderr, "warning: ") || !strings.Contains(r.Stderr, other.storeID()) {
		t.Errorf("%v, exit code %d: %s", err, r.Code, r.Stderr)
	}
	eventually(t, "the client was seen", func() bool {
		for _, f := range other.clusterStatus().Foreign {
			if f.Master == "" && f.Store.ID == a.storeID() {
				return true
			}
		}
		return false
	})
}

func (m *master) url() string {
	m.t.Helper()
	config, err := m.Config()
	if err != nil {
		m.t.Fatal(err)
	}
	return config.Host
}
