package etcd

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/storetest"
)

func open(t *testing.T, o Options) *Embedded {
	t.Helper()
	if o.Dir == "" {
		o.Dir = filepath.Join(t.TempDir(), "etcd")
	}
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, Options{}) })
}

func TestDataSurvivesRestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	s := open(t, Options{Dir: dir})
	r, err := s.Create(t.Context(), "/a", []byte("1"), 0)
	if err != nil {
		t.Fatal(err)
	}
	// A crash may leave the probe of the folder behind.
	if err := os.WriteFile(filepath.Join(dir, probeName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = open(t, Options{Dir: dir})
	e, _, err := s.Get(t.Context(), "/a", 0)
	if err != nil || string(e.Value) != "1" || e.Revision != r {
		t.Fatalf("after the restart: %+v, %v", e, err)
	}
}

// What lies beside a member's data is left alone.
func TestStraysAreLeftAlone(t *testing.T) {
	dir := t.TempDir()
	stray := filepath.Join(dir, "letters.txt")
	if err := os.WriteFile(stray, []byte("dear"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if data, err := os.ReadFile(stray); err != nil || string(data) != "dear" {
		t.Errorf("%q, %v", data, err)
	}
}

// Each turn compacts what was the present revision one turn before, and of two servers one compacts in a turn.
func TestCompactionTurns(t *testing.T) {
	s := open(t, Options{CompactionInterval: -1})
	ctx := t.Context()
	mine, other := compaction{call: s.call}, compaction{call: s.call}
	put := func(i int) int64 {
		r, err := s.Create(ctx, fmt.Sprintf("/k%d", i), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first := put(1)
	if err := mine.take(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.List(ctx, "/", store.ListOptions{Revision: first}); err != nil {
		t.Fatalf("the first turn compacted: %v", err)
	}
	put(2)
	if err := mine.take(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.List(ctx, "/", store.ListOptions{Revision: first}); !errors.Is(err, store.ErrCompacted) {
		t.Fatalf("the second turn did not compact: %v", err)
	}
	kept := put(3)
	if err := other.take(ctx); err != nil { // joins late: must only learn where the agreement stands
		t.Fatal(err)
	}
	if _, err := s.List(ctx, "/", store.ListOptions{Revision: kept}); err != nil {
		t.Fatalf("the late server compacted: %v", err)
	}
}

// When the quota is used up writes fail clearly, deletions work, and space brings writes back.
func TestQuota(t *testing.T) {
	s := open(t, Options{Quota: 20 << 20, CompactionInterval: -1, checkEvery: 50 * time.Millisecond})
	ctx := t.Context()
	value := bytes.Repeat([]byte("x"), 1<<20)
	var last int64
	var n int
	const attempts = 200 // etcd counts pages on disk, some time after they were written
	for n = range attempts {
		r, err := s.Create(ctx, fmt.Sprintf("/k%d", n), value, 0)
		if err != nil {
			if !errors.Is(err, store.ErrNoSpace) {
				t.Fatal(err)
			}
			break
		}
		last = r
	}
	if n == attempts-1 {
		t.Fatalf("%d MiB fit into a quota of 20 MiB", n)
	}
	if _, err := s.Delete(ctx, fmt.Sprintf("/k%d", n-1), last); err != nil {
		t.Fatalf("deletion without space: %v", err)
	}
	for i := range n - 1 {
		key := fmt.Sprintf("/k%d", i)
		e, _, err := s.Get(ctx, key, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Delete(ctx, key, e.Revision); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		_, err := s.Create(ctx, "/again", []byte("x"), 0)
		if err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
		if time.Now().After(deadline) {
			t.Fatalf("no write after space was made: %v", err)
		}
	}
}

// A lease that keys share may be revoked by others; that must not fail the next write.
func TestRevokedLease(t *testing.T) {
	s := open(t, Options{})
	ctx := t.Context()
	if _, err := s.Create(ctx, "/a", nil, time.Hour); err != nil {
		t.Fatal(err)
	}
	id := s.leases.byTTL[time.Hour].id
	if _, err := s.gate.member().server.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: id}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(ctx, "/b", nil, time.Hour); err != nil {
		t.Fatal(err)
	}
	if now := s.leases.byTTL[time.Hour].id; now == id {
		t.Fatal("the revoked lease is still handed out")
	}
}
