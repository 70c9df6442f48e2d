package master

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What a crash leaves in the data folder must not keep the master from starting again; what is foreign must.
func TestLock(t *testing.T) {
	for _, test := range []struct{ left, refused string }{
		{".new-123", ""},
		{"admin.kubeconfig", ""},
		{"lost+found", ""},
		{"photos", "holds photos, which no master wrote"},
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, test.left)
		if err := os.WriteFile(file, []byte("half a"), 0o600); err != nil {
			t.Fatal(err)
		}
		held, err := lock(dir)
		if test.refused != "" {
			if err == nil || !strings.Contains(err.Error(), test.refused) {
				t.Errorf("%s: %v", test.left, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.left, err)
			continue
		}
		if _, err := lock(dir); err == nil || !strings.Contains(err.Error(), "another process runs on the data folder") {
			t.Errorf("%s: the folder was taken twice: %v", test.left, err)
		}
		held.Close()
		if _, err := os.Stat(file); strings.HasPrefix(test.left, ".new-") != os.IsNotExist(err) {
			t.Errorf("%s afterwards: %v", test.left, err)
		}
	}
}
