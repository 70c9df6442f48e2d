package masters

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestStrays: what others leave in a living master's folder keeps it from nothing, and stays where it is.
func TestStrays(t *testing.T) {
	a := start(t, filepath.Join(t.TempDir(), "a"), 0)
	a.write("kept")
	a.Kill()
	var strays []string
	for _, dir := range []string{".", "pki", "etcd", "etcd/member", "etcd/member/wal", "etcd/member/snap"} {
		for _, name := range []string{"encryption.yaml.bak", "lost+found/", "ca.crt~", ".db.swp", "4913", "copy of db", "old/", "x.tmp"} {
			path := filepath.Join(a.dir, dir, name)
			if strings.HasSuffix(name, "/") {
				path = filepath.Join(path, "inside")
			}
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte("not yours\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			strays = append(strays, path)
		}
	}
	for range 2 {
		a = a.again()
		a.read("kept")
		if said := a.Log.String(); !strings.Contains(said, "encryption.yaml.bak") || strings.Contains(said, "empty folder") {
			t.Errorf("it said:\n%s", said)
		}
		a.Kill()
	}
	for _, path := range strays {
		if data, err := os.ReadFile(path); err != nil || string(data) != "not yours\n" {
			// etcd removes its own half-written copies of the database by their names' end.
			if filepath.Base(path) != "x.tmp" || !strings.Contains(path, "snap") {
				t.Errorf("%s: %q, %v", path, data, err)
			}
		}
	}
}
