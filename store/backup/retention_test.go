package backup

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestParseRetention(t *testing.T) {
	day := 24 * time.Hour
	for text, want := range map[string]Retention{
		"": {}, "7": {Last: 7}, "keep=3": {Last: 3}, "14d": {Within: 14 * day}, "2w, keep=3": {Last: 3, Within: 14 * day}, "36h": {Within: 36 * time.Hour},
	} {
		if got, err := ParseRetention(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"0", "-1", "seven", "14d,7d", "3,4", "keep=", "-3d", "0h", "999999d", "99999w"} {
		if got, err := ParseRetention(text); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

// TestExpired: each line is a vault, oldest first, one backup a day up to today: G good, D damaged, U unfinished, O good of
// another cluster, F good and signed by somebody else, N good and signed by nobody. What is removed is in lower case. With a ! the
// cluster's signer is known.
func TestExpired(t *testing.T) {
	for _, test := range []struct{ rules, want string }{
		{"", "GGG"},
		{"2", "gGG"},
		{"1", "ggG"},
		{"2", "gGDG"},  // damaged ones do not count
		{"1", "gdG"},   // one that is damaged goes when it would go if it were good
		{"1", "gGDDD"}, // and never the last good one
		{"1", "DD"},
		{"3d", "ggGGG"},
		{"3d", "gGUUU"}, // the newest good one stays whatever its age
		{"1d,2", "ggGG"},
		{"3d,1", "gGGG"},
		{"1", "gOG"}, // clusters are judged by themselves
		{"1", "oOG"},
		{"", "uUG"},               // left-overs of interrupted writes go after a day
		{"1", "GFFF"[:1] + "ffF"}, // what others sign makes no room
		{"1", "GNNN"},
		{"1!", "GFFF"},
		{"1!", "GNN"},
		{"1!", "gfnG"}, // but goes when it is old
		{"2!", "fGGF"},
		{"1!", "gdGD"},
	} {
		rules, known := strings.CutSuffix(test.rules, "!")
		var signers []string
		if known {
			signers = []string{"ours"}
		}
		r, err := ParseRetention(rules)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Date(2026, 1, 30, 12, 0, 0, 0, time.UTC)
		var all []Backup
		for i, c := range test.want {
			at := now.Add(-time.Duration(len(test.want)-1-i)*24*time.Hour - time.Hour)
			b := Backup{Name: fmt.Sprint(i), Time: at, changed: at, State: Good, Manifest: &Manifest{Cluster: "one", Signer: "ours"}}
			switch c {
			case 'D', 'd':
				b.State = Damaged
			case 'U', 'u':
				b.State, b.Manifest = Unfinished, nil
			case 'O', 'o':
				b.Manifest.Cluster = "two"
			case 'F', 'f':
				b.Manifest.Signer = "another"
			case 'N', 'n':
				b.Manifest.Signer = ""
			}
			all = append(all, b)
		}
		got := []byte(strings.ToUpper(test.want))
		unfinished := 36 * time.Hour
		if strings.Contains(test.want, "u") {
			unfinished = 48 * time.Hour
		}
		if test.want == "gGUUU" {
			unfinished = 1000 * time.Hour
		}
		for _, b := range r.expired(all, signers, now, unfinished) {
			var i int
			fmt.Sscan(b.Name, &i)
			got[i] |= 0x20
		}
		if string(got) != test.want {
			t.Errorf("%q: %s, expected %s", test.rules, got, test.want)
		}
	}
}

// TestPrune: before backups go, the newest is read; if it is damaged the others stay.
func TestPrune(t *testing.T) {
	vaults(t, func(t *testing.T, v Vault) {
		c, lock := newCluster(t), newLock(t)
		at := time.Now()
		var names []string
		for range 3 {
			at = at.Add(time.Minute)
			m, err := Create(t.Context(), c, v, CreateOptions{Lock: lock, Reader: readWords, Temporary: t.TempDir(), Now: func() time.Time { return at }})
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, m.Name)
		}
		dry, err := Prune(t.Context(), v, PruneOptions{Retention: Retention{Last: 1}, DryRun: true})
		if err != nil || len(dry) != 2 || len(list(t, v)) != 3 {
			t.Fatalf("%v, %v", dry, err)
		}
		data := files(t, v, names[2])[SnapshotFile]
		data[len(data)/2] ^= 1
		if err := v.Write(t.Context(), names[2], SnapshotFile, bytes.NewReader(data), int64(len(data))); err != nil {
			t.Fatal(err)
		}
		removed, err := Prune(t.Context(), v, PruneOptions{Retention: Retention{Last: 1}})
		if err != nil {
			t.Fatal(err)
		}
		all := list(t, v)
		if len(removed) != 1 || removed[0].Name != names[0] || len(all) != 2 || all[0].State != Good || all[1].State != Damaged {
			t.Fatalf("removed %v, left %+v", removed, all)
		}
		// The newest by its name is of a clock that was ahead: the one that was just made stays.
		removed, err = Prune(t.Context(), v, PruneOptions{Retention: Retention{Last: 1}, Trusted: create(t, c, v, lock).Name})
		if left := list(t, v); err != nil || len(removed) != 0 || len(left) != 3 {
			t.Fatalf("removed %v, left %+v: %v", removed, left, err)
		}
		if other, err := Prune(t.Context(), v, PruneOptions{Retention: Retention{Last: 1}, Cluster: "two"}); err != nil || len(other) != 0 {
			t.Fatalf("another cluster's were pruned: %v, %v", other, err)
		}
	})
}
