package backup

import (
	"errors"
	"strings"
	"testing"
)

func TestBadSources(t *testing.T) {
	vaults(t, func(t *testing.T, v Vault) {
		c, lock := newCluster(t), newLock(t)
		good := create(t, c, v, lock)
		for _, test := range []struct {
			name, want string
			change     func(*cluster)
		}{
			{"cut", "broke off after 5000 bytes", func(c *cluster) { c.cut = 5000 }},
			{"cut before the hash", "broke off", func(c *cluster) { c.cut = good.Files[SnapshotFile].Size - 32 }},
			{"changed", "its hash is another", func(c *cluster) { c.flip = 9000 }},
			{"fewer objects", "the snapshot holds 21 objects, the cluster at that revision 22", func(c *cluster) { c.count = func(n *Counted) { n.Objects++ } }},
		} {
			t.Run(test.name, func(t *testing.T) {
				changed := *c
				test.change(&changed)
				_, err := Create(t.Context(), &changed, v, CreateOptions{Lock: lock, Reader: readWords, Temporary: t.TempDir()})
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("error: %v", err)
				}
				if all := list(t, v); len(all) != 1 || all[0].Name != good.Name || all[0].State != Good {
					t.Errorf("left: %+v", all)
				}
			})
		}
	})
}

// TestUnreadable: a value that cannot be read is accepted if it is so in the cluster, and only then.
func TestUnreadable(t *testing.T) {
	v, err := NewFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c, lock := newCluster(t), newLock(t)
	if _, err := c.member.Create(t.Context(), "/registry/odd/a", []byte("bad"), 0); err != nil {
		t.Fatal(err)
	}
	m := create(t, c, v, lock)
	if m.Unreadable["odd"] != 1 {
		t.Errorf("manifest: %+v", m)
	}
	if _, err := verify(t, v, m.Name, lock); err != nil {
		t.Error(err)
	}
	for name, count := range map[string]func(*Counted){
		"another value": func(n *Counted) { n.Hashes["/registry/odd/a"] = strings.Repeat("0", 64) },
		"compacted":     func(n *Counted) { *n = Counted{} },
	} {
		c.count = count
		if _, err := Create(t.Context(), c, v, CreateOptions{Lock: lock, Reader: readWords}); err == nil || !strings.Contains(err.Error(), "/registry/odd/a") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNoLock: keys are sealed or left out on purpose.
func TestNoLock(t *testing.T) {
	v, err := NewFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := newCluster(t)
	if _, err := Create(t.Context(), c, v, CreateOptions{Reader: readWords}); !errors.Is(err, ErrNoLock) {
		t.Errorf("without a lock: %v", err)
	}
	if all := list(t, v); len(all) != 0 {
		t.Errorf("left: %v", all)
	}
	m, err := Create(t.Context(), c, v, CreateOptions{WithoutKeys: true, Reader: readWords})
	if err != nil || m.HasKeys() {
		t.Fatalf("%+v, %v", m, err)
	}
	b, err := Find(t.Context(), v, "latest")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKeys(t.Context(), v, b, newLock(t)); err == nil || !strings.Contains(err.Error(), "the authority is not inside") {
		t.Errorf("keys of a backup without: %v", err)
	}
}

// TestChangingKeys: the keys in a backup are those of the snapshot's time.
func TestChangingKeys(t *testing.T) {
	v, err := NewFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c, lock := newCluster(t), newLock(t)
	c.rotations = 3
	m := create(t, c, v, lock)
	keys, err := OpenKeys(t.Context(), v, &list(t, v)[0], lock)
	if err != nil || string(keys["pki/ca.crt"]) != "certificate 3" {
		t.Errorf("backup %s holds %q, %v", m.Name, keys["pki/ca.crt"], err)
	}
	c.rotations, c.asked = 1000, 0
	if _, err := Create(t.Context(), c, v, CreateOptions{Lock: lock, Reader: readWords}); err == nil || !strings.Contains(err.Error(), "keys are being changed") {
		t.Errorf("keys that change for ever: %v", err)
	}
}
