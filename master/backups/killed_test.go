package backups

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
)

// What a process that a test kills is told: where to restore from and to, whether the folder is a file system of its own, and after how many
// steps it ends.
const (
	killedSnapshot = "WHEELHOUSE_RESTORE_SNAPSHOT"
	killedDir      = "WHEELHOUSE_RESTORE_DIR"
	killedInside   = "WHEELHOUSE_RESTORE_INSIDE"
	killedAfter    = "WHEELHOUSE_RESTORE_AFTER"
)

func TestMain(m *testing.M) {
	if os.Getenv(killedDir) == "" {
		os.Exit(m.Run())
	}
	left, err := strconv.Atoi(os.Getenv(killedAfter))
	if err == nil {
		at = func(string) {
			if left--; left == 0 {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				time.Sleep(time.Hour)
			}
		}
		err = restoreTo(os.Getenv(killedDir), os.Getenv(killedSnapshot), os.Getenv(killedInside) != "")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// restoreTo restores over what is in a folder; inside has it taken for a file system of its own.
func restoreTo(dir, snapshot string, inside bool) error {
	defer func(f func(string) (bool, error)) { mounted = f }(mounted)
	mounted = func(of string) (bool, error) { return inside && of == dir, nil }
	_, err := Restore(context.Background(), RestoreOptions{
		Snapshot: snapshot, DataDir: dir, Replace: true,
		Keys: map[string][]byte{datafolder.EncryptionFile: []byte("new"), "pki/ca.crt": []byte("new")},
	})
	return err
}

const oldName = "old_00000000-0000-4000-8000-000000000000"

// oldFolder makes a master's data folder of before, with a backup in it.
func oldFolder(t *testing.T, dir string) {
	t.Helper()
	for name, text := range map[string]string{
		"identity": oldName, "encryption.yaml": "old", "pki/ca.crt": "old", "etcd/member/snap/db": "old", "backups/one": "backup", "lock": "",
	} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

// snapshotOf makes a snapshot of a store that holds a key.
func snapshotOf(t *testing.T) string {
	t.Helper()
	e, err := etcd.Open(t.Context(), etcd.Options{Dir: filepath.Join(t.TempDir(), "etcd")})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if _, err := e.Create(t.Context(), "/registry/configmaps/default/a", []byte(`{"kind":"ConfigMap","apiVersion":"v1"}`), 0); err != nil {
		t.Fatal(err)
	}
	from, _, err := e.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(from)
	file := filepath.Join(t.TempDir(), "snapshot.db")
	if err := errors.Join(err, from.Close(), os.WriteFile(file, data, 0o600)); err != nil {
		t.Fatal(err)
	}
	return file
}

// holding tells whose a folder is: "old" or "new" if it is whole, "none" if it is not there or empty, else "mixed".
func holding(dir string) string {
	found := map[string]bool{}
	for _, name := range []string{"encryption.yaml", "pki/ca.crt"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			data = []byte("none")
		}
		found[string(data)] = true
	}
	switch data, err := os.ReadFile(filepath.Join(dir, "identity")); {
	case err != nil:
		found["none"] = true
	case string(data) == oldName:
		found["old"] = true
	default:
		found["new"] = true
	}
	switch data, err := os.ReadFile(filepath.Join(dir, "etcd/member/snap/db")); {
	case err != nil:
		found["none"] = true
	case string(data) == "old":
		found["old"] = true
	default:
		found["new"] = true
	}
	if len(found) != 1 {
		return "mixed"
	}
	for whose := range found {
		return whose
	}
	return ""
}

// TestRestoreKilled kills a restore after each of its steps: on what it leaves no master starts but on the whole old data or the whole new,
// the old is never lost, and the next restore does what this one was to do.
func TestRestoreKilled(t *testing.T) {
	snapshot := snapshotOf(t)
	for _, inside := range []bool{false, true} {
		steps := 0
		for killed := true; killed; {
			steps++
			t.Run(fmt.Sprintf("inside=%v/%d", inside, steps), func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "data")
				oldFolder(t, dir)
				killed = killRestore(t, dir, snapshot, inside, steps)
				whose := holding(dir)
				lock, err := datafolder.Lock(dir, t.Logf)
				if err == nil {
					lock.Close()
				}
				switch {
				case !killed && (whose != "new" || err != nil):
					t.Errorf("after all steps the folder is %s: %v", whose, err)
				case whose != "old" && whose != "new" && (err == nil || !strings.Contains(err.Error(), "restore")):
					t.Errorf("a master would start on what is %s: %v", whose, err)
				}
				if killed {
					if err := restoreTo(dir, snapshot, inside); err != nil {
						t.Fatalf("the next restore: %v", err)
					}
				}
				checkRestored(t, dir)
			})
		}
		if want := map[bool]int{false: 6, true: 12}[inside]; steps < want {
			t.Errorf("inside=%v: it was killed in %d steps only", inside, steps-1)
		}
	}
}

// killRestore has another process restore, which kills itself after so many steps; false if it has less.
func killRestore(t *testing.T, dir, snapshot string, inside bool, steps int) bool {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0])
	c.Env = append(os.Environ(), killedDir+"="+dir, killedSnapshot+"="+snapshot, killedAfter+"="+strconv.Itoa(steps))
	if inside {
		c.Env = append(c.Env, killedInside+"=yes")
	}
	c.Stderr = os.Stderr
	err := c.Run()
	if err != nil && c.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatal(err)
	}
	return err != nil
}

// checkRestored: the new data is in place, the backups are where they were, and the old data lies aside, whole, though perhaps in more than one
// folder, each part once.
func checkRestored(t *testing.T, dir string) {
	t.Helper()
	if whose := holding(dir); whose != "new" {
		t.Errorf("the folder is %s", whose)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "backups/one")); err != nil || string(data) != "backup" {
		t.Errorf("the backups: %q, %v", data, err)
	}
	for _, name := range []string{"identity", "encryption.yaml", "pki/ca.crt", "etcd/member/snap/db"} {
		found := 0
		for _, pattern := range []string{dir + datafolder.MovedPrefix + "*", filepath.Join(dir, datafolder.MovedPrefix+"*")} {
			places, err := filepath.Glob(pattern)
			if err != nil {
				t.Fatal(err)
			}
			for _, place := range places {
				if data, err := os.ReadFile(filepath.Join(place, name)); err == nil && (string(data) == "old" || string(data) == oldName) {
					found++
				}
			}
		}
		if found != 1 {
			t.Errorf("the old %s is there %d times", name, found)
		}
	}
	if left, err := filepath.Glob(dir + datafolder.RestorePrefix + "*"); err != nil || len(left) != 0 {
		t.Errorf("%v, %v", left, err)
	}
}
