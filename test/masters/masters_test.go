// Package masters runs several masters as processes on one host: joining, refusals to join, membership, and the recovery of
// a lost majority.
package masters

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/test/process"
)

// patience is how long what must happen may take on a busy machine.
const patience = 60 * time.Second

var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "masters")
	if err == nil {
		binary, err = process.Build("../..", dir)
	}
	code := 1
	if err == nil {
		code = m.Run()
	} else {
		fmt.Fprintln(os.Stderr, err)
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// master is one process and its data folder.
type master struct {
	*process.Server
	t    *testing.T
	dir  string
	port int
}

// start runs a master on a new or given data folder.
func start(t *testing.T, dir string, port int, args ...string) *master {
	t.Helper()
	s, err := process.Start(binary, dir, port, append([]string{"--peer-port", "0"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	m := &master{Server: s, t: t, dir: dir}
	if m.port, err = s.Port(); err != nil {
		t.Fatal(err)
	}
	return m
}

// again restarts a master that has ended, as it was.
func (m *master) again(args ...string) *master {
	m.t.Helper()
	return start(m.t, m.dir, m.port, args...)
}

func (m *master) kubeconfig() string { return filepath.Join(m.dir, "admin.kubeconfig") }

// command runs a wheelhouse command against the master.
func (m *master) command(args ...string) process.Result {
	m.t.Helper()
	r, err := process.Run(binary, patience, append(args, "--kubeconfig", m.kubeconfig())...)
	if err != nil {
		m.t.Fatal(err)
	}
	return r
}

// must runs a command that has to succeed, and gives its output.
func (m *master) must(args ...string) string {
	m.t.Helper()
	r := m.command(args...)
	if r.Code != 0 {
		m.t.Fatalf("%v: exit code %d\n%s%s", args, r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// refused runs a command that must be refused with a text.
func (m *master) refused(want string, args ...string) {
	m.t.Helper()
	if r := m.command(args...); r.Code != 1 || !strings.Contains(r.Stderr, want) {
		m.t.Errorf("%v: exit code %d, want 1 and %q\n%s%s", args, r.Code, want, r.Stdout, r.Stderr)
	}
}

// joinFlags are those that a new token's line gives.
func (m *master) joinFlags() []string {
	m.t.Helper()
	_, flags, ok := strings.Cut(strings.TrimSpace(m.must("token", "create")), "wheelhouse server ")
	if !ok {
		m.t.Fatal("token create printed no join line")
	}
	return strings.Fields(flags)
}

// members lists the masters by name.
func (m *master) members() map[string]membership.MasterStatus {
	m.t.Helper()
	var list struct{ Members []membership.MasterStatus }
	if err := json.Unmarshal([]byte(m.must("member", "list", "-o", "json")), &list); err != nil {
		m.t.Fatal(err)
	}
	all := map[string]membership.MasterStatus{}
	for _, one := range list.Members {
		all[one.Name] = one
	}
	return all
}

// name of the master.
func (m *master) name() string {
	m.t.Helper()
	data, err := os.ReadFile(filepath.Join(m.dir, "identity"))
	if err != nil {
		m.t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

// roles counts the members by role.
func (m *master) roles() string {
	count := map[string]int{}
	for _, one := range m.members() {
		count[one.Role]++
	}
	return fmt.Sprintf("%d leader, %d voter, %d learner", count[membership.RoleLeader], count[membership.RoleVoter], count[membership.RoleLearner])
}

func (m *master) client() *kubernetes.Clientset {
	m.t.Helper()
	config, err := m.Config()
	if err != nil {
		m.t.Fatal(err)
	}
	api, err := kubernetes.NewForConfig(config)
	if err != nil {
		m.t.Fatal(err)
	}
	return api
}

// write makes a Secret through a master, and read asks another for it.
func (m *master) write(name string) {
	m.t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: map[string]string{"name": name}}
	if _, err := m.client().CoreV1().Secrets("default").Create(m.t.Context(), secret, metav1.CreateOptions{}); err != nil {
		m.t.Fatalf("write of %s through %s: %v", name, m.dir, err)
	}
}

// tryWrite makes a Secret that may not be there yet, or tells that it cannot.
func (m *master) tryWrite(name string) bool {
	m.t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: map[string]string{"name": name}}
	_, err := m.client().CoreV1().Secrets("default").Create(m.t.Context(), secret, metav1.CreateOptions{})
	return err == nil || apierrors.IsAlreadyExists(err)
}

// has tells whether a master knows a Secret.
func (m *master) has(name string) bool {
	m.t.Helper()
	_, err := m.client().CoreV1().Secrets("default").Get(m.t.Context(), name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		m.t.Fatal(err)
	}
	return err == nil
}

func (m *master) read(name string) {
	m.t.Helper()
	s, err := m.client().CoreV1().Secrets("default").Get(m.t.Context(), name, metav1.GetOptions{})
	if err != nil || string(s.Data["name"]) != name {
		m.t.Fatalf("read of %s from %s: %v", name, m.dir, err)
	}
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-ctx.Done():
			t.Fatalf("this did not come to be: %s", what)
		case <-tick.C:
		}
	}
}

// three starts three masters that vote.
func three(t *testing.T) (a, b, c *master) {
	t.Helper()
	dir := t.TempDir()
	a = start(t, filepath.Join(dir, "a"), 0)
	b = start(t, filepath.Join(dir, "b"), 0, a.joinFlags()...)
	if roles := b.roles(); roles != "1 leader, 0 voter, 1 learner" {
		t.Errorf("two masters: %s", roles)
	}
	c = start(t, filepath.Join(dir, "c"), 0, a.joinFlags()...)
	eventually(t, "three masters vote", func() bool { return a.roles() == "1 leader, 2 voter, 0 learner" })
	return a, b, c
}

// ends waits for the end of a process and gives what it said.
func (m *master) ends() string {
	m.t.Helper()
	select {
	case <-m.Exited():
	case <-time.After(patience):
		m.t.Fatalf("the process did not end:\n%s", m.Log)
	}
	return m.Log.String()
}

// stops asks the master to stop.
func (m *master) stops() {
	m.t.Helper()
	if code, err := m.Stop(patience); code != 0 || err != nil {
		m.t.Fatalf("it stopped with code %d: %v\n%s", code, err, m.Log)
	}
}

// fails runs "wheelhouse server" on a folder, which must end by itself with code 1.
func fails(t *testing.T, dir, want string, args ...string) {
	t.Helper()
	failsWith(t, 1, dir, want, args...)
}

func failsWith(t *testing.T, code int, dir, want string, args ...string) {
	t.Helper()
	args = append([]string{"server", "--data-dir", dir, "--bind-address", "127.0.0.1", "--secure-port", "0", "--peer-port", "0"}, args...)
	r, err := process.Run(binary, patience, args...)
	if err != nil {
		t.Error(err)
		return
	}
	if r.Code != code || !strings.Contains(r.Stderr, want) {
		t.Errorf("exit code %d, want %d and %q\n%s", r.Code, code, want, r.Stderr)
	}
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	// A process that was killed leaves its socket.
	if err := os.Remove(filepath.Join(from, "control.sock")); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// snapshot of a folder: the names in it and their sizes.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && entry.Name() != "lock" && entry.Name() != "identity" && entry.Name() != "peer-port" && entry.Name() != membership.KeyName {
			info, err := entry.Info()
			if err != nil {
				return err
			}
			fmt.Fprintf(&all, "%s %d\n", path, info.Size())
		}
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return all.String()
}
