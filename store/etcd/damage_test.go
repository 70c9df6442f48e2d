package etcd

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
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

// TestNotDamaged: what the system refuses says nothing about the data, and nobody must be told to move them away for it.
func TestNotDamaged(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	filled(t, dir)
	for _, text := range []string{
		"failed to commit tx: write " + dir + "/member/snap/db: no space left on device", "open x: too many open files",
		"open x: permission denied", "write x: read-only file system", "write x: disk quota exceeded",
	} {
		if err := whyPanic(filepath.Join(dir, "member", "wal"), text); errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), text) ||
			strings.Contains(err.Error(), "restore a backup") {
			t.Errorf("%s: %v", text, err)
		}
	}
	if err := whyPanic(filepath.Join(dir, "member", "wal"), "a page is odd"); !errors.Is(err, ErrDamaged) {
		t.Errorf("another panic: %v", err)
	}
	denied := &fs.PathError{Op: "open", Path: dir, Err: syscall.EACCES}
	if err := damaged(dir, denied); errors.Is(err, ErrDamaged) || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("files that may not be read: %v", err)
	}
}
