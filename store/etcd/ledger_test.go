package etcd

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// TestLedgerLeftBehind: a ledger that a member did not go on with, because a version without ledgers ran meanwhile or because a start
// ended before it began one, is true of what it knows, and says nothing against what came after it.
func TestLedgerLeftBehind(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	holds := filled(t, dir)
	left, err := os.ReadFile(ledgerFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		s, err := Open(t.Context(), Options{Dir: dir, CompactionInterval: -1})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if round == 1 { // in round 0 only the log grows
			key := "/registry/things/005"
			e, _, err := s.Get(t.Context(), key, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Delete(t.Context(), key, e.Revision); err != nil {
				t.Fatal(err)
			}
			delete(holds, key)
			r, err := s.Create(t.Context(), "/registry/things/new", []byte("new"), 0)
			if err != nil {
				t.Fatal(err)
			}
			holds["/registry/things/new"] = "new"
			if err := s.Compact(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(ledgerFile(dir), left, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := held(t, dir); err != nil || !maps.Equal(got, holds) {
		t.Fatalf("%d keys of %d, %v", len(got), len(holds), err)
	}
}

// TestFlippedBitsOfLedger: whatever bit of the ledger falls over, the data are whole.
func TestFlippedBitsOfLedger(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	filled(t, dir)
	info, err := os.Stat(ledgerFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(7, 8))
	bits := []int64{}
	for bit := range int64(8 * 64) {
		bits = append(bits, bit, info.Size()*8-1-bit)
	}
	for range 200 {
		bits = append(bits, random.Int64N(info.Size()*8))
	}
	for _, bit := range bits {
		back := flip(t, ledgerFile(dir), bit)
		if _, err := Examine(dir); err != nil {
			t.Errorf("bit %d: %v", bit, err)
		}
		back()
	}
}

// TestLedgerJudgesNothingTooEarly kills a member of a model at any moment: what is in the database, which is behind what was applied, is
// never taken for damage, however far behind it or ahead of it the ledger is.
func TestLedgerJudgesNothingTooEarly(t *testing.T) {
	for seed := range uint64(300) {
		if err := killedMember(rand.New(rand.NewPCG(seed, 1))); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// killedMember applies changes, compactions, commits of the database and writes of the ledger in any order, and gives what the ledger
// then says of the database.
func killedMember(random *rand.Rand) error {
	salt := newSalt()
	applied, committed := &contents{latest: map[uint64]record{}, newest: 1}, &contents{latest: map[uint64]record{}, newest: 1}
	seen := &ledger{latest: map[uint64]record{}, revision: 1} // what the ledger has taken up
	marked := &ledger{latest: map[uint64]record{}, revision: 1}
	for range 20 + random.IntN(60) {
		switch random.IntN(10) {
		default:
			applied.newest++
			kv := &mvccpb.KeyValue{Key: fmt.Append(nil, random.IntN(6)), ModRevision: applied.newest, Value: []byte{byte(random.IntN(4))}}
			r := salt.recordOf(kv, applied.newest, applied.latest[salt.hash(kv.Key)].kind == recordPut && random.IntN(2) == 0)
			applied.latest[r.key], seen.latest[r.key], seen.revision = r, r, r.revision
		case 0: // a compaction drops what is deleted
			applied.compacted = max(applied.compacted, applied.newest-int64(random.IntN(3)))
			maps.DeleteFunc(applied.latest, func(_ uint64, r record) bool { return r.kind == recordDelete && r.revision <= applied.compacted })
		case 1:
			committed = &contents{latest: maps.Clone(applied.latest), newest: applied.newest, compacted: applied.compacted}
		case 2:
			marked = &ledger{latest: maps.Clone(seen.latest), revision: seen.revision}
		case 3: // it is written anew
			maps.DeleteFunc(seen.latest, func(_ uint64, r record) bool { return r.kind == recordDelete })
			marked = &ledger{latest: maps.Clone(seen.latest), revision: seen.revision}
		}
	}
	return marked.check(committed, func(uint64) string { return "" })
}

// TestLedgerThatCannotBeWritten leaves no half of a file behind.
func TestLedgerThatCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), ledgerName)
	if err := os.MkdirAll(filepath.Join(file, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := writeLedger(file, newSalt(), nil, 1); err == nil {
		t.Fatal("a folder was written over")
	}
	if left, _ := filepath.Glob(file + "?*"); len(left) > 0 {
		t.Errorf("left behind: %s", strings.Join(left, " "))
	}
}
