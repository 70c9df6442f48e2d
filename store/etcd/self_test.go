package etcd

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// written makes a member's folder, with what is written to it.
func written(t *testing.T, name string, write func(e *Embedded) error) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "a [folder]*?")
	e, err := Open(t.Context(), Options{Dir: dir, Name: name})
	if err != nil {
		t.Fatal(err)
	}
	if write != nil {
		err = write(e)
	}
	if err := errors.Join(err, e.Close()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestReadSelf: whose data a folder holds is read from its log. What is not there and what cannot be read are not the same.
func TestReadSelf(t *testing.T) {
	dir := written(t, "one", nil)
	self, err := ReadSelf(dir)
	if err != nil || self.Name != "one" || self.Member == 0 || self.Cluster == 0 || len(self.Members) != 1 || self.Members[0].ID != self.Member {
		t.Fatalf("%+v, %v", self, err)
	}
	if _, err := ReadSelf(t.TempDir()); !errors.Is(err, ErrNoMember) {
		t.Errorf("an empty folder: %v", err)
	}
	logs, err := filepath.Glob(filepath.Join(escapePattern(dir), "member", "wal", "*.wal"))
	if err != nil || len(logs) == 0 {
		t.Fatal(logs, err)
	}
	log := logs[len(logs)-1]
	whole, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for what, data := range map[string][]byte{
		"nothing": nil, "zeroes": make([]byte, 4096), "half a record": whole[:20], "noise": []byte(strings.Repeat("noise ", 1000)),
		"a length without an end": append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0}, whole...),
	} {
		if err := os.WriteFile(log, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if self, err := ReadSelf(dir); err == nil || errors.Is(err, ErrNoMember) || !strings.Contains(err.Error(), "is damaged") {
			t.Errorf("a log of %s: %+v, %v", what, self, err)
		}
	}
	if err := os.WriteFile(log, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if again, err := ReadSelf(dir); err != nil || again.Member != self.Member {
		t.Errorf("as it was: %+v, %v", again, err)
	}
	// The log names the member without the database, too: a database that was lost must not make a member nobody's.
	if err := os.Remove((&Options{Dir: dir}).databaseFile()); err != nil {
		t.Fatal(err)
	}
	if again, err := ReadSelf(dir); err != nil || again.Member != self.Member || again.Name != "" {
		t.Errorf("without a database: %+v, %v", again, err)
	}
}

// TestHoldsOnly: a store is made anew only over one in which nobody has written anything, ever.
func TestHoldsOnly(t *testing.T) {
	const own = "/own"
	put := func(keys ...string) func(e *Embedded) error {
		return func(e *Embedded) error {
			var failed error
			for _, key := range keys {
				_, err := e.Create(t.Context(), key, []byte("x"), 0)
				failed = errors.Join(failed, err)
			}
			return failed
		}
	}
	for name, c := range map[string]struct {
		write func(e *Embedded) error
		want  bool
	}{
		"nothing":     {nil, true},
		"its own key": {put(own), true},
		"another":     {put("/another"), false},
		"both":        {put(own, "/another"), false},
		"one after":   {put(own, "/own/more"), false},
		"one that is gone": {func(e *Embedded) error {
			if err := put(own, "/another")(e); err != nil {
				return err
			}
			page, err := e.List(t.Context(), "/another", store.ListOptions{})
			if err != nil || len(page.Entries) != 1 {
				return errors.Join(err, errors.New("it is not there"))
			}
			_, err = e.Delete(t.Context(), "/another", page.Entries[0].Revision)
			return err
		}, false},
	} {
		dir := written(t, "one", c.write)
		if only, err := HoldsOnly(dir, own); err != nil || only != c.want {
			t.Errorf("%s: %v, %v", name, only, err)
		}
		if name != "its own key" {
			continue
		}
		file := (&Options{Dir: dir}).databaseFile()
		if err := os.Truncate(file, int64(2*os.Getpagesize())); err != nil {
			t.Fatal(err)
		}
		if only, err := HoldsOnly(dir, own); only || err == nil {
			t.Errorf("the beginning of a database: %v, %v", only, err)
		}
		if err := os.WriteFile(file, []byte(strings.Repeat("noise ", 10000)), 0o600); err != nil {
			t.Fatal(err)
		}
		if only, err := HoldsOnly(dir, own); only || err == nil {
			t.Errorf("noise: %v, %v", only, err)
		}
		if err := os.Truncate(file, 0); err != nil {
			t.Fatal(err)
		}
		if only, err := HoldsOnly(dir, own); !only || err != nil {
			t.Errorf("a database that was never written: %v, %v", only, err)
		}
	}
	if only, err := HoldsOnly(t.TempDir(), own); !only || err != nil {
		t.Errorf("no database: %v, %v", only, err)
	}
}

// TestRestoreDrops: what a restored store is not to take over is deleted in it, in one revision after all others, and nothing else is.
func TestRestoreDrops(t *testing.T) {
	dir := written(t, "one", func(e *Embedded) error {
		var failed error
		for _, key := range []string{"/a", "/drop/1", "/drop/2", "/drop/gone", "/z"} {
			revision, err := e.Create(t.Context(), key, []byte("of "+key), 0)
			failed = errors.Join(failed, err)
			switch key {
			case "/drop/gone":
				_, err = e.Delete(t.Context(), key, revision)
			case "/drop/2", "/a":
				_, err = e.Update(t.Context(), key, revision, []byte("newer "+key), 0)
			}
			failed = errors.Join(failed, err)
		}
		return failed
	})
	before, err := ReadSelf(dir)
	if err != nil {
		t.Fatal(err)
	}
	next, shown := filepath.Join(t.TempDir(), "next"), map[string]string{}
	revision, err := Restore(RestoreOptions{
		Snapshot: (&Options{Dir: dir}).databaseFile(), Unhashed: true, Dir: next, Name: "two", Token: "t", Bump: 1000,
		Drop: func(key, value []byte) bool {
			if len(value) > 0 {
				shown[string(key)] = string(value)
			}
			return strings.HasPrefix(string(key), "/drop/")
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if shown["/drop/2"] != "newer /drop/2" || shown["/z"] != "of /z" {
		t.Errorf("shown last: %v", shown)
	}
	after, err := ReadSelf(next)
	if err != nil || after.Member == before.Member || after.Cluster == before.Cluster || after.Name != "two" {
		t.Errorf("the member is %+v, %v, and was %+v", after, err, before)
	}
	e, err := Open(t.Context(), Options{Dir: next, Name: "two"})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	page, err := e.List(t.Context(), "/", store.ListOptions{})
	if err != nil || len(page.Entries) != 2 || page.Entries[0].Key != "/a" || string(page.Entries[0].Value) != "newer /a" || page.Entries[1].Key != "/z" {
		t.Errorf("it holds %+v, %v", page.Entries, err)
	}
	if now, err := e.Revision(t.Context()); err != nil || now < revision || revision <= 1000 {
		t.Errorf("the revision is %d, %v, and was told as %d", now, err, revision)
	}
	if _, err := e.Create(t.Context(), "/drop/1", []byte("anew"), 0); err != nil {
		t.Errorf("a key that was dropped cannot be made anew: %v", err)
	}
}
