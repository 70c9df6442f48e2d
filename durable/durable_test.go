package durable

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestReplace: what fails leaves the file as it was, and nothing beside it.
func TestReplace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	broken := errors.New("broken")
	for _, c := range []struct {
		what, want string
		mode       os.FileMode
		do         func() error
		err        error
	}{
		{"a new file", "one", 0o644, func() error { return Replace(path, []byte("one"), 0o644) }, nil},
		{"another in its place", "two", 0o600, func() error { return Replace(path, []byte("two"), 0o600) }, nil},
		{"one that breaks off", "two", 0o600, func() error {
			return ReplaceWith(path, 0o644, func(w io.Writer) error {
				_, err := w.Write([]byte("half"))
				return errors.Join(err, broken)
			})
		}, broken},
		{"a name that is taken", "two", 0o600, func() error { return Create(path, []byte("three"), 0o644) }, fs.ErrExist},
	} {
		if err := c.do(); !errors.Is(err, c.err) {
			t.Errorf("%s: %v", c.what, err)
		}
		data, err := os.ReadFile(path)
		if err != nil || string(data) != c.want {
			t.Errorf("%s: %q, %v", c.what, data, err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode() != c.mode {
			t.Errorf("%s: %v, %v", c.what, info, err)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Errorf("%s: %v, %v", c.what, entries, err)
		}
	}
	if err := Replace(filepath.Join(dir, "none", "file"), nil, 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a folder: %v", err)
	}
	if err := errors.Join(Create(filepath.Join(dir, "other"), []byte("other"), 0o600), SyncTree(dir)); err != nil {
		t.Error(err)
	}
}
