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
	if _, err := NewMark("data", filepath.Join("data", "pki")); err != nil {
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
