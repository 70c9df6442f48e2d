package backups

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/wheelhouse-k8s/wheelhouse/registry"
	"github.com/wheelhouse-k8s/wheelhouse/store/backup"
	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
)

// TestDue goes through the days of a daily backup: on time, missed for days, failing, and well again.
func TestDue(t *testing.T) {
	schedule, err := cron.ParseStandard("0 3 * * *")
	if err != nil {
		t.Fatal(err)
	}
	at := func(day, hour, minute int) time.Time { return time.Date(2026, 3, day, hour, minute, 0, 0, time.Local) }
	k := &keeper{schedule: schedule, served: at(1, 12, 0)}
	want := func(what string, due time.Time) {
		t.Helper()
		if got := k.due(); !got.Equal(due) {
			t.Errorf("%s: due %v, expected %v", what, got, due)
		}
	}
	want("the first", at(2, 3, 0))
	k.ended(at(2, 3, 0), nil)
	want("the next day", at(3, 3, 0))
	// No master ran on the 3rd and 4th: what is due since the 3rd is made once.
	k.ended(at(5, 9, 30), nil)
	want("after missed days", at(6, 3, 0))
	failure := errors.New("the disk is full")
	begun := at(6, 3, 0)
	for _, pause := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		k.ended(begun, failure)
		want("after a failure", begun.Add(pause*time.Minute))
		begun = k.due()
	}
	k.ended(begun, nil)
	want("well again", at(7, 3, 0))
	// Tries that are further apart than the schedule keep to the schedule's next time that is not before.
	for range 10 {
		k.ended(at(6, 23, 59), failure)
	}
	want("failing for long", at(7, 3, 0))
}

func TestBackupsCheck(t *testing.T) {
	if err := (&Backups{}).Check(""); err != nil {
		t.Error(err)
	}
	if err := (&Plan{Schedule: "@daily"}).Check("/data"); err == nil {
		t.Error("a schedule without a place is accepted")
	}
	vault, err := backup.NewFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for schedule, good := range map[string]bool{
		"often": false, "@daily": true, "@every 6h": true, "@every 0s": false, "@every -1h": false, "0 3 30 2 *": false, "0 3 29 2 *": true,
	} {
		b := Plan{Schedule: schedule, Vaults: []backup.Vault{vault}, WithoutKeys: true}
		if err := b.Check("/data"); (err == nil) != good {
			t.Errorf("%q: %v", schedule, err)
		}
	}
}

// TestSetBack: a clock that was ahead and is set right does not stop the schedule.
func TestSetBack(t *testing.T) {
	schedule, err := cron.ParseStandard("0 3 * * *")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.Local)
	k := &keeper{schedule: schedule, served: now.AddDate(1, 0, 0), retry: now.AddDate(1, 0, 0)}
	k.setBack(now)
	if due := k.due(); due.After(now.Add(24 * time.Hour)) {
		t.Errorf("due %v", due)
	}
}

// memberSource is a source over a member.
type memberSource struct {
	backup.Source // for what is not asked here
	member        *etcd.Embedded
}

func (s memberSource) signer() *backup.Signer {
	signer, err := backup.NewSigner(make([]byte, 32))
	if err != nil {
		panic(err)
	}
	return signer
}

func (s memberSource) Origin(context.Context) (backup.Origin, error) {
	return backup.Origin{Cluster: "one", Version: "v1.37.2", Prefix: registry.Root, Signer: s.signer().Name()}, nil
}

func (s memberSource) Sign(_ context.Context, manifest []byte) (string, error) {
	return s.signer().Sign("one", manifest)
}

func (s memberSource) Snapshot(ctx context.Context) (io.ReadCloser, int64, error) {
	return s.member.Snapshot(ctx)
}

func (s memberSource) Count(context.Context, backup.Census) (backup.Counted, error) {
	return backup.Counted{Known: true, Objects: 1}, nil
}

// TestPartlyDone: while one vault takes nothing, the tries do not fill the other with new backups, which would drive out the old
// ones; when it takes something again it gets a copy.
func TestPartlyDone(t *testing.T) {
	member, err := etcd.Open(t.Context(), etcd.Options{Dir: filepath.Join(t.TempDir(), "etcd"), CompactionInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer member.Close()
	if _, err := member.Create(t.Context(), registry.Root+"configmaps/default/c", []byte(`{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"c"}}`), 0); err != nil {
		t.Fatal(err)
	}
	dirs := []string{filepath.Join(t.TempDir(), "works"), filepath.Join(t.TempDir(), "fails")}
	var vaults []backup.Vault
	for _, dir := range dirs {
		v, err := backup.NewFolder(dir)
		if err != nil {
			t.Fatal(err)
		}
		vaults = append(vaults, v)
	}
	if err := os.WriteFile(dirs[1], nil, 0o600); err != nil { // no folder
		t.Fatal(err)
	}
	schedule, err := cron.ParseStandard("@daily")
	if err != nil {
		t.Fatal(err)
	}
	k := &keeper{Backups: New(Options{DataDir: t.TempDir(), Plan: Plan{Vaults: vaults, WithoutKeys: true}}), schedule: schedule}
	begun := time.Now()
	first := ""
	for n := range 4 {
		if n == 3 {
			if err := os.Remove(dirs[1]); err != nil {
				t.Fatal(err)
			}
		}
		m, have, err := k.make(t.Context(), memberSource{member: member}, begun)
		if m == nil {
			t.Fatal(err)
		}
		if n == 0 {
			first = m.Name
		}
		if works := n == 3; m.Name != first || (err == nil) != works || len(have) != map[bool]int{false: 1, true: 2}[works] {
			t.Fatalf("try %d: %s in %v: %v", n, m.Name, have, err)
		}
	}
	for _, v := range vaults {
		if all, err := backup.List(t.Context(), v); err != nil || len(all) != 1 || all[0].State != backup.Good {
			t.Errorf("%s holds %+v: %v", v, all, err)
		}
	}
	// The next time of the schedule asks for a new one.
	if m, _, err := k.make(t.Context(), memberSource{member: member}, begun.AddDate(0, 0, 1)); err != nil || m.Name == first {
		t.Errorf("the next day: %+v, %v", m, err)
	}
}
