package backups

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
)

// TestSwap: new data takes the place of old data, which is moved aside whole; what an interruption leaves is never old data under a
// name that the next restore removes.
func TestSwap(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	write := func(path, text string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	holds := func(path, text string) {
		t.Helper()
		if data, err := os.ReadFile(path); err != nil || string(data) != text {
			t.Errorf("%s holds %q: %v", path, data, err)
		}
	}
	const old = "old_00000000-0000-4000-8000-000000000000"
	write(dir+"/identity", old)
	write(dir+"/backups/one", "backup")
	write(dir+datafolder.RestorePrefix+"before/identity", "of a restore that was interrupted")
	p := &replacement{dir: dir}
	if _, err := p.take(false); err == nil {
		t.Fatal("data was taken that is not to be replaced")
	}
	release, err := p.take(true)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if err := p.begin(); err != nil {
		t.Fatal(err)
	}
	write(p.next+"/identity", "new")
	moved, err := p.swap()
	if err != nil {
		t.Fatal(err)
	}
	holds(dir+"/identity", "new")
	holds(dir+"/backups/one", "backup")
	holds(moved+"/identity", old)
	// Whatever fails from here on, the old data stays.
	if err := p.undo(); err != nil {
		t.Fatal(err)
	}
	if err := (&replacement{dir: dir, stamp: "later"}).begin(); err != nil {
		t.Fatal(err)
	}
	holds(moved+"/identity", old)
}

// TestSwapFails: when the backups cannot be kept in place, the old data is not removed with what a failed restore tidies up.
func TestSwapFails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	p := &replacement{dir: dir, next: dir + datafolder.RestorePrefix + "1", stamp: "1", old: true}
	if err := errors.Join(os.MkdirAll(dir+"/backups", 0o700), os.MkdirAll(p.next+"/backups/in-the-way", 0o700)); err != nil {
		t.Fatal(err)
	}
	moved, err := p.swap()
	if err == nil {
		t.Fatal("the backups took the place of others")
	}
	if err := p.undo(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(moved + "/backups"); err != nil {
		t.Errorf("the old data is gone: %v", err)
	}
}

// TestMark: two restores within a second do not take the same names.
func TestMark(t *testing.T) {
	p := &replacement{dir: filepath.Join(t.TempDir(), "data")}
	if err := errors.Join(os.MkdirAll(p.dir+datafolder.MovedPrefix+"1", 0o700), os.MkdirAll(filepath.Join(p.dir, datafolder.MovedPrefix+"1-2"), 0o700)); err != nil {
		t.Fatal(err)
	}
	if p.mark("1"); p.stamp != "1-3" {
		t.Errorf("the name ends with %q", p.stamp)
	}
}
