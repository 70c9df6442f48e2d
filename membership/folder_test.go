package membership

import (
	"os"
	"path/filepath"
	"testing"
)

// A master that is started again in another working folder still undoes what it wrote, and nothing else.
func TestUndoElsewhere(t *testing.T) {
	here, there := t.TempDir(), t.TempDir()
	for _, dir := range []string{here, there} {
		if err := os.MkdirAll(filepath.Join(dir, "data"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(here)
	if _, err := NewMark("data", "", filepath.Join("data", "pki")); err != nil {
		t.Fatal(err)
	}
	written, foreign := filepath.Join(here, "data", "pki", "ca.crt"), filepath.Join(there, "data", "photo")
	if err := os.MkdirAll(filepath.Dir(written), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{written, foreign} {
		if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(there)
	mark, err := ReadMark(filepath.Join(here, "data"))
	if err != nil || mark == nil {
		t.Fatal(mark, err)
	}
	if err := mark.Undo(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Dir(written)); !os.IsNotExist(err) {
		t.Errorf("what was written is still there: %v", err)
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Errorf("what belongs to others is gone: %v", err)
	}
}

// What was moved aside comes back, wherever undoing was cut off, and what the join had written goes.
func TestUndoPutsBack(t *testing.T) {
	dir := t.TempDir()
	aside := filepath.Join(dir, ".replaced-x")
	put := func(text string, path ...string) {
		t.Helper()
		file := filepath.Join(append([]string{dir}, path...)...)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	check := func(when string) {
		t.Helper()
		for _, path := range []string{"identity", "etcd/db", "pki/ca.crt"} {
			if text, err := os.ReadFile(filepath.Join(dir, path)); err != nil || string(text) != "old" {
				t.Errorf("%s: %s: %q, %v", when, path, text, err)
			}
		}
		for _, path := range []string{aside, filepath.Join(dir, MarkName), filepath.Join(dir, "store-identity")} {
			if _, err := os.Lstat(path); !os.IsNotExist(err) {
				t.Errorf("%s: %s is there: %v", when, path, err)
			}
		}
	}
	undo := func(when string) {
		t.Helper()
		mark, err := ReadMark(dir)
		if err != nil || mark == nil {
			t.Fatal(mark, err)
		}
		if err := mark.Undo(); err != nil {
			t.Fatal(err)
		}
		check(when)
	}
	put("old", ".replaced-x", "identity")
	put("old", ".replaced-x", "etcd", "db")
	put("old", ".replaced-x", "pki", "ca.crt")
	put("new", "identity")
	if _, err := NewMark(dir, aside); err != nil {
		t.Fatal(err)
	}
	put("new", "etcd", "db")
	put("new", "pki", "ca.crt")
	put("new", "store-identity")
	undo("after a join")
	// Cut off while things were moved, in either direction.
	if _, err := MarkMoving(dir, aside); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(aside, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "etcd"), filepath.Join(aside, "etcd")); err != nil {
		t.Fatal(err)
	}
	undo("while moving")
	if _, err := MarkMoving(dir, aside); err != nil {
		t.Fatal(err)
	}
	undo("before moving")
}
