package etcd

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDamage damages each file of a member; opening it is an error that names the file.
func TestDamage(t *testing.T) {
	original := filepath.Join(t.TempDir(), "etcd")
	s, err := Open(context.Background(), Options{Dir: original})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ files, want string }{
		{"member/snap/db", "snap/db is damaged"},
		{"member/wal/*.wal", "wal is damaged"},
	} {
		dir := filepath.Join(t.TempDir(), "etcd")
		if err := os.CopyFS(dir, os.DirFS(original)); err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(dir, test.files))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no such file (%v)", test.files, err)
		}
		for _, file := range files {
			if err := os.WriteFile(file, bytes.Repeat([]byte("garbage!"), 1<<16), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if s, err := Open(context.Background(), Options{Dir: dir}); err == nil {
			s.Close()
			t.Errorf("%s: opened", test.files)
		} else if !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.files, err)
		}
	}
}
