package datafolder

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What a crash, an editor or a file system leaves in a master's folder must not keep the master from starting again, and is not
// touched unless it is the master's own. A folder of something else is not taken.
func TestLock(t *testing.T) {
	for _, test := range []struct {
		left    string
		live    bool
		told    bool
		refused string
	}{
		{".new-123", false, false, ""},
		{"admin.kubeconfig", false, false, ""},
		{"lost+found", false, false, ""},
		{"photos", false, false, "is no master's, and holds photos"},
		{"photos", true, true, ""},
		{"encryption.yaml.bak", true, true, ""},
		{"identity~", true, true, ""},
		{".identity.swp", true, true, ""},
		{".new-123", true, false, ""},
		{"etcd/.new-123", true, false, ""},
	} {
		dir := t.TempDir()
		if test.live {
			if err := os.WriteFile(filepath.Join(dir, "identity"), []byte("host_1\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		file := filepath.Join(dir, test.left)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte("half a"), 0o600)); err != nil {
			t.Fatal(err)
		}
		told := false
		log := func(string, ...any) { told = true }
		held, err := Lock(dir, log)
		if test.refused != "" {
			if err == nil || !strings.Contains(err.Error(), test.refused) || strings.Contains(err.Error(), "empty") {
				t.Errorf("%s: %v", test.left, err)
			}
			continue
		}
		if err != nil || told != test.told {
			t.Errorf("%s: told %v, %v", test.left, told, err)
			continue
		}
		if _, err := Lock(dir, log); err == nil || !strings.Contains(err.Error(), "another process runs on the data folder") {
			t.Errorf("%s: the folder was taken twice: %v", test.left, err)
		}
		held.Close()
		if _, err := os.Stat(file); strings.Contains(test.left, ".new-") != os.IsNotExist(err) {
			t.Errorf("%s afterwards: %v", test.left, err)
		}
	}
}

// A folder that has the name of a file under way is not ours either.
func TestLockLeavesFolders(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "with [brackets]")
	stray := filepath.Join(dir, ".new-folder")
	if err := os.MkdirAll(stray, 0o700); err != nil {
		t.Fatal(err)
	}
	held, err := Lock(dir, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	held.Close()
	if _, err := os.Stat(stray); err != nil {
		t.Error(err)
	}
}
