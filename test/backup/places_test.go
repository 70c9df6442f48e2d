package backup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/test/process"
)

// TestFileSystem restores into a data folder that is a file system of its own, which cannot be renamed, also after a restore
// that was interrupted there.
func TestFileSystem(t *testing.T) {
	o := newOperator(t)
	if err := os.Mkdir(o.data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("data", o.data, "tmpfs", 0, "size=512m"); err != nil {
		t.Fatalf("this test mounts a file system: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(o.data, unix.MNT_DETACH) })
	o.start()
	fill(t, o.clients(), 0, 3)
	o.create()
	fill(t, o.clients(), 3, 4)
	o.server.Kill()
	mark := o.data + "/restoring"
	if err := os.WriteFile(mark, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	o.refuse("was interrupted", "server", "--data-dir", o.data, "--secure-port", "0", "--bind-address", "127.0.0.1")
	if said := o.restore("--replace"); !strings.Contains(said, "the old data is in "+o.data+"/.replaced-") {
		t.Errorf("restore said %q", said)
	}
	if old := must(filepath.Glob(o.data + "/.replaced-*/etcd/member/snap/db"))(t); len(old) != 1 {
		t.Errorf("the old data is in %v", old)
	}
	o.start()
	if _, err := o.clients().CoreV1().Secrets("default").Get(t.Context(), "o002", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	if s, err := o.clients().CoreV1().Secrets("default").Get(t.Context(), "o003", metav1.GetOptions{}); err == nil {
		t.Errorf("%s is of after the backup", s.Name)
	}
}

// TestStandAlone backs up a cluster whose etcd runs by itself, with TLS, and is shared with others.
func TestStandAlone(t *testing.T) {
	etcd := must(process.StartEtcd(t.TempDir(), 1, true))(t)
	t.Cleanup(etcd.Close)
	must(etcd.Ctl("put", "/others/key", "value"))(t)
	o := newOperator(t)
	o.start(etcd.Flags()...)
	fill(t, o.clients(), 0, 3)
	o.create()
	o.server.Kill()
	said := o.run("backup", "verify", "--backup-dir", o.backups, "--backup-key-file", o.keys)
	if !strings.Contains(said, "is good") {
		t.Errorf("verify said %q", said)
	}
	o.data = filepath.Join(t.TempDir(), "data")
	o.restore() // into a master that keeps its data itself
	o.start()
	if s := must(o.clients().CoreV1().Secrets("default").Get(t.Context(), "o001", metav1.GetOptions{}))(t); string(s.Data["k"]) != "o001" {
		t.Errorf("the secret holds %q", s.Data["k"])
	}
	leads(t, o.clients())
	o.server.Kill()

	other := newOperator(t)
	other.start(append(etcd.Flags(), "--etcd-prefix", "/another")...)
	must(other.clients().CoreV1().Secrets("default").Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}}, metav1.CreateOptions{}))(t)
	other.create()
	other.run("backup", "verify", "--backup-dir", other.backups, "--backup-key-file", other.keys)
	other.refuse("--etcd-prefix", "backup", "restore", "--backup-dir", other.backups, "--backup-key-file", other.keys, "--data-dir", filepath.Join(t.TempDir(), "data"))
}
