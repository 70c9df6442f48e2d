package backup

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// files are all files of a backup, by name.
func files(t *testing.T, v Vault, name string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for _, file := range []string{ManifestFile, SnapshotFile, KeysFile} {
		data, err := readAll(t.Context(), v, name, file, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		out[file] = data
	}
	return out
}

// TestDamage changes, cuts and removes each file of a backup at many places. Each time verification fails, the backup is no
// longer good, and the older one is the latest; once the file is whole again, it is good again.
func TestDamage(t *testing.T) {
	vaults(t, func(t *testing.T, v Vault) {
		c, lock := newCluster(t), newLock(t)
		older := create(t, c, v, lock)
		newer := create(t, c, v, lock)
		if older.Name > newer.Name { // both of one second
			older, newer = newer, older
		}
		for file, data := range files(t, v, newer.Name) {
			for _, d := range damages(data) {
				t.Run(file+" "+d.what, func(t *testing.T) {
					damaged := d.data
					if damaged == nil {
						if err := v.Remove(t.Context(), newer.Name, file); err != nil {
							t.Fatal(err)
						}
					} else if err := v.Write(t.Context(), newer.Name, file, bytes.NewReader(damaged), int64(len(damaged))); err != nil {
						t.Fatal(err)
					}
					if done, err := verify(t, v, newer.Name, lock); err == nil {
						t.Fatalf("verified: %+v", done)
					} else if !errors.Is(err, ErrDamaged) && !strings.Contains(err.Error(), "unfinished") {
						t.Fatalf("error: %v", err)
					}
					all := list(t, v)
					if all[1].State == Good || all[1].Reason == "" {
						t.Fatalf("state after damage: %+v", all[1])
					}
					if latest, _, err := Latest(all, (*Backup).good); err != nil || latest.Name != older.Name {
						t.Fatalf("the latest good one is %v (%v)", latest, err)
					}
					if err := v.Write(t.Context(), newer.Name, file, bytes.NewReader(data), int64(len(data))); err != nil {
						t.Fatal(err)
					}
					if _, err := verify(t, v, newer.Name, lock); err != nil {
						t.Fatalf("whole again: %v", err)
					}
					if all := list(t, v); all[1].State != Good {
						t.Fatalf("whole again: %+v", all[1])
					}
				})
			}
		}
	})
}

type damaged struct {
	what string
	data []byte // nil: removed
}

// damages are ways in which a file can be wrong: a byte changed in each of several regions, cut off, longer, empty, gone.
func damages(data []byte) []damaged {
	all := []damaged{{"removed", nil}, {"emptied", []byte{}}, {"grown", append(slices.Clone(data), 'x')}}
	const regions = 4
	for i := range regions {
		at := (len(data) - 1) * i / (regions - 1)
		changed := slices.Clone(data)
		changed[at] ^= 0x01
		all = append(all, damaged{fmt.Sprintf("changed at %d", at), changed})
		if at > 0 {
			all = append(all, damaged{fmt.Sprintf("cut at %d", at), data[:at]})
		}
	}
	return all
}

// TestManifestChanged changes every single byte of a manifest.
func TestManifestChanged(t *testing.T) {
	m := Manifest{Format: format, Name: "n", Cluster: "one", Signer: signerOf("one").Name(), Vouchers: []string{"ab"},
		Files: map[string]File{SnapshotFile: {Size: 1, SHA256: strings.Repeat("a", 64)}}, Kinds: map[string]int64{"pods": 1}}
	data, err := m.plain()
	if err == nil {
		m.Signature, err = signerOf("one").Sign("one", data)
	}
	if err == nil {
		data, err = m.encode()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decodeManifest("n", data); err != nil {
		t.Fatal(err)
	}
	for i := range data {
		changed := slices.Clone(data)
		changed[i] ^= 0x01
		if got, err := decodeManifest("n", changed); err == nil {
			t.Errorf("byte %d changed: read as %+v", i, got)
		}
	}
	later := m
	later.Format = format + 1
	if data, err = later.encode(); err != nil {
		t.Fatal(err)
	}
	if _, err := decodeManifest("n", data); err == nil || errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "newer wheelhouse") {
		t.Errorf("a later format: %v", err)
	}
}

// TestBadSources: what does not come whole or is not what the cluster holds never becomes a backup, and leaves nothing.
