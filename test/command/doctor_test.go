package command

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wheelhouse-k8s/wheelhouse/test/process"
)

// TestDoctor reads the folder of a master that runs, of one that was stopped, and of one that was harmed in some ways.
func TestDoctor(t *testing.T) {
	original := filepath.Join(t.TempDir(), "data")
	server, err := process.Start(binary, original, 0, "--components", "apiserver")
	if err != nil {
		t.Fatal(err)
	}
	doctor := func(dir string, code int, want ...string) {
		t.Helper()
		r, err := process.Run(binary, patience, "doctor", dir)
		if err != nil {
			t.Fatal(err)
		}
		text := r.Stdout + r.Stderr
		if r.Code != code || strings.Contains(text, "goroutine") {
			t.Errorf("exit code %d, want %d:\n%s", r.Code, code, text)
		}
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("it does not say %q:\n%s", w, text)
			}
		}
	}
	doctor(original, failed, "a master runs on "+original, "wheelhouse status")
	if code, err := server.Stop(patience); err != nil || code != 0 {
		t.Fatalf("code %d, %v", code, err)
	}
	identity, err := os.ReadFile(filepath.Join(original, "identity"))
	if err != nil {
		t.Fatal(err)
	}
	before := tree(t, original)
	doctor(original, 0, strings.TrimSpace(string(identity)), "incarnation 1", "member ", "whole: all values", "keys of secrets:", "apiserver ", "all is well")
	if after := tree(t, original); !bytes.Equal(before, after) {
		t.Error("it has changed the folder")
	}
	doctor(t.TempDir(), failed, "is no data folder of a master")
	doctor(filepath.Join(t.TempDir(), "none"), failed, "no such file")

	harm := func(change func(dir string) error, want ...string) {
		t.Helper()
		dir := filepath.Join(t.TempDir(), "data")
		if err := os.CopyFS(dir, os.DirFS(original)); err != nil {
			t.Fatal(err)
		}
		if err := change(dir); err != nil {
			t.Fatal(err)
		}
		doctor(dir, failed, append(want, "not all is well")...)
	}
	harm(func(dir string) error { return os.RemoveAll(filepath.Join(dir, "etcd")) }, "its etcd/ is missing", "restore a backup")
	harm(func(dir string) error { return os.Truncate(filepath.Join(dir, "etcd", "member", "snap", "db"), 16<<10) },
		"snap/db is damaged", "state:", "damaged\n", "restore a backup")
	harm(func(dir string) error { return os.Remove(filepath.Join(dir, "pki", "ca.crt")) }, "problem: ", "authority")
	harm(func(dir string) error {
		return os.WriteFile(filepath.Join(dir, "encryption.yaml"), []byte("{}"), 0o600)
	}, "encryption.yaml", "restore it from a backup")
	harm(func(dir string) error { return os.WriteFile(filepath.Join(dir, "joining"), nil, 0o600) }, "whose joining was cut off: start it with --join again")
	harm(func(dir string) error { return os.WriteFile(filepath.Join(dir, "store-identity"), []byte("{"), 0o600) }, "store-identity cannot be read")
	for _, name := range []string{"etcd/member/wal/*.wal"} {
		harm(func(dir string) error {
			files, err := filepath.Glob(filepath.Join(dir, name))
			for _, f := range files {
				err = os.Truncate(f, 100)
			}
			return err
		}, "wal is damaged")
	}
}

// tree is all that a folder holds, as far as a reader could have changed it.
func tree(t *testing.T, dir string) []byte {
	t.Helper()
	var b bytes.Buffer
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil {
			b.WriteString(path + " " + info.Mode().String() + " " + info.ModTime().String() + "\n")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
