package durable

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What a process that a test kills is told: what to do, where, and after which step it ends.
const (
	killedDo   = "WHEELHOUSE_DURABLE_DO"
	killedPath = "WHEELHOUSE_DURABLE_PATH"
	killedAt   = "WHEELHOUSE_DURABLE_AT"
)

// before and after are contents of the file; after is longer than what any file system writes at once.
var before, after = []byte("as it was\n"), bytes.Repeat([]byte("whole "), 64<<10)

var deeds = map[string]func(path string) error{
	"create":  func(path string) error { return Create(path, after, 0o644) },
	"replace": func(path string) error { return Replace(path, after, 0o644) },
	"create by link": func(path string) error {
		renameNew = func(string, string) error { return unix.EINVAL }
		return Create(path, after, 0o644)
	},
}

func TestMain(m *testing.M) {
	if deed := deeds[os.Getenv(killedDo)]; deed != nil {
		at = func(step string) {
			if step == os.Getenv(killedAt) {
				unix.Kill(os.Getpid(), unix.SIGKILL)
				time.Sleep(time.Hour)
			}
		}
		if err := deed(os.Getenv(killedPath)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestKilled: a process that is killed at any step leaves the file whole, or as it was, and beside it nothing but what Temporary names.
func TestKilled(t *testing.T) {
	for deed, steps := range map[string][]string{
		"create":         {"made", "written", "synced", "renamed", "synced folder"},
		"create by link": {"made", "written", "synced", "linked", "synced folder"},
		"replace":        {"made", "written", "synced", "renamed", "synced folder"},
	} {
		for n, step := range steps {
			t.Run(deed+" "+step, func(t *testing.T) {
				dir := t.TempDir()
				path := filepath.Join(dir, "file")
				if deed == "replace" {
					if err := os.WriteFile(path, before, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				killAt(t, deed, path, step)
				data, err := os.ReadFile(path)
				switch placed := n >= 3; {
				case placed && (err != nil || !bytes.Equal(data, after)):
					t.Errorf("in place are %d bytes: %v", len(data), err)
				case !placed && deed == "replace" && (err != nil || !bytes.Equal(data, before)):
					t.Errorf("the old file has %d bytes: %v", len(data), err)
				case !placed && deed != "replace" && !errors.Is(err, fs.ErrNotExist):
					t.Errorf("a file is there: %d bytes: %v", len(data), err)
				}
				entries, err := os.ReadDir(dir)
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range entries {
					if e.Name() != "file" && !strings.HasPrefix(e.Name(), TemporaryPrefix) {
						t.Errorf("%s is left", e.Name())
					}
				}
				if err := Create(path, after, 0o644); err != nil && !errors.Is(err, fs.ErrExist) {
					t.Errorf("the next try: %v", err)
				}
				if data, err = os.ReadFile(path); err != nil || !bytes.Equal(data, after) && !bytes.Equal(data, before) {
					t.Errorf("after the next try there are %d bytes: %v", len(data), err)
				}
			})
		}
	}
}

// killAt has another process do something, which kills itself when it has come to a step.
func killAt(t *testing.T, deed, path, step string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0])
	c.Env = append(os.Environ(), killedDo+"="+deed, killedPath+"="+path, killedAt+"="+step)
	c.Stderr = os.Stderr
	if err := c.Run(); err == nil || c.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("it did not come to %q: %v", step, err)
	}
}

// TestOrder: a name never comes before the content is on the disk, and nothing returns before the folder is.
func TestOrder(t *testing.T) {
	defer func() { at = func(string) {} }()
	defer func(f func(string, string) error) { renameNew = f }(renameNew)
	for deed, want := range map[string][]string{
		"create":         {"made", "written", "synced", "renamed", "synced folder"},
		"replace":        {"made", "written", "synced", "renamed", "synced folder"},
		"create by link": {"made", "written", "synced", "linked", "synced folder"},
	} {
		var steps []string
		at = func(step string) { steps = append(steps, step) }
		keep := renameNew
		err := deeds[deed](filepath.Join(t.TempDir(), "file"))
		renameNew = keep
		if err != nil || !slices.Equal(steps, want) {
			t.Errorf("%s: %q, %v", deed, steps, err)
		}
	}
}

// TestCreateTaken: whoever comes between the look and the name has it, and keeps it.
func TestCreateTaken(t *testing.T) {
	defer func() { at = func(string) {} }()
	defer func(f func(string, string) error) { renameNew = f }(renameNew)
	for _, deed := range []string{"create", "create by link"} {
		dir := t.TempDir()
		path := filepath.Join(dir, "file")
		at = func(step string) {
			if step == "synced" {
				if err := os.WriteFile(path, before, 0o600); err != nil {
					t.Error(err)
				}
			}
		}
		if err := deeds[deed](path); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: %v", deed, err)
		}
		if data, err := os.ReadFile(path); err != nil || !bytes.Equal(data, before) {
			t.Errorf("%s: %d bytes, %v", deed, len(data), err)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Errorf("%s: %v, %v", deed, entries, err)
		}
	}
}

// TestFolders: what is moved, removed and made is there, and every folder whose names changed is synced.
func TestFolders(t *testing.T) {
	defer func() { at = func(string) {} }()
	dir := t.TempDir()
	synced := 0
	at = func(step string) {
		if step == "synced folder" {
			synced++
		}
	}
	deep := filepath.Join(dir, "a", "b", "c")
	for _, c := range []struct {
		what   string
		do     func() error
		synced int
	}{
		{"making three folders", func() error { return MakeFolder(deep, 0o700) }, 3},
		{"making what is there", func() error { return MakeFolder(deep, 0o700) }, 0},
		{"a file", func() error { return Create(filepath.Join(deep, "one"), before, 0o600) }, 1},
		{"another name", func() error { return Rename(filepath.Join(deep, "one"), filepath.Join(deep, "two")) }, 1},
		{"another folder", func() error { return Rename(filepath.Join(deep, "two"), filepath.Join(dir, "three")) }, 2},
		{"several", func() error {
			return MoveAll(deep, filepath.Dir(deep), make4(t, deep), func(string) {})
		}, 2},
		{"several, one of which is not there", func() error {
			if err := MoveAll(filepath.Dir(deep), deep, []string{"1", "2", "none", "3"}, func(string) {}); !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("moved what is not there: %w", err)
			}
			return MoveAll(deep, dir, []string{"1", "2"}, func(string) {})
		}, 4},
		{"removing it", func() error { return Remove(filepath.Join(dir, "three")) }, 1},
		{"removing what a crash may bring back", func() error { return Remove(filepath.Join(dir, "three")) }, 1},
		{"removing a folder", func() error { return Remove(deep) }, 1},
		{"removing what has no folder", func() error { return Remove(filepath.Join(deep, "none")) }, 0},
	} {
		synced = 0
		if err := c.do(); err != nil || synced != c.synced {
			t.Errorf("%s: %d folders synced, %v", c.what, synced, err)
		}
	}
	for _, name := range []string{"1", "2", "a/b/3", "a/b/4"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	if entries, err := os.ReadDir(filepath.Dir(deep)); err != nil || len(entries) != 2 {
		t.Errorf("%v, %v", entries, err)
	}
	if err := Remove(dir); err == nil {
		t.Error("a folder that is not empty was removed")
	}
	if err := Rename(filepath.Join(dir, "none"), filepath.Join(dir, "one")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// make4 makes four files in a folder, and gives their names.
func make4(t *testing.T, dir string) []string {
	t.Helper()
	names := []string{"1", "2", "3", "4"}
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), before, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return names
}
