package etcd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// filled makes a member's folder with keys of all sizes, some changed, some deleted, some compacted away, and closes it. It gives what it
// must hold.
func filled(t *testing.T, dir string) map[string]string {
	t.Helper()
	s, err := Open(t.Context(), Options{Dir: dir, CompactionInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	holds := map[string]string{}
	revisions := map[string]int64{}
	write := func(key string, size int) {
		value := bytes.Repeat([]byte{byte('a' + random.IntN(26))}, size)
		var r int64
		var err error
		if old, ok := revisions[key]; ok {
			r, err = s.Update(t.Context(), key, old, value, 0)
		} else {
			r, err = s.Create(t.Context(), key, value, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
		revisions[key], holds[key] = r, string(value)
	}
	for i := range 120 {
		write(fmt.Sprintf("/registry/things/%03d", i), 1+random.IntN(900))
	}
	write("/registry/things/large", 20000)
	for i := range 30 {
		write(fmt.Sprintf("/registry/things/%03d", random.IntN(120)), 1+random.IntN(900))
		if i == 15 {
			if err := s.Compact(t.Context(), revisions["/registry/things/large"]); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := 100; i < 120; i++ {
		key := fmt.Sprintf("/registry/things/%03d", i)
		if _, err := s.Delete(t.Context(), key, revisions[key]); err != nil {
			t.Fatal(err)
		}
		delete(holds, key)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return holds
}

// copied is a folder like another; logs are mostly holes.
func copied(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "etcd")
	if out, err := exec.Command("cp", "-a", "--sparse=always", dir, to).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return to
}

// held is all that a folder serves, or why it does not.
func held(t *testing.T, dir string) (map[string]string, error) {
	t.Helper()
	s, err := Open(context.Background(), Options{Dir: dir, CompactionInterval: -1})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	page, err := s.List(t.Context(), "/registry/", store.ListOptions{})
	if err != nil {
		return nil, err
	}
	holds := map[string]string{}
	for _, e := range page.Entries {
		holds[e.Key] = string(e.Value)
	}
	return holds, nil
}

// flip changes one bit of a file and gives what changes it back.
func flip(t *testing.T, file string, bit int64) (back func()) {
	t.Helper()
	change := func() {
		f, err := os.OpenFile(file, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		b := make([]byte, 1)
		if _, err := f.ReadAt(b, bit/8); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 1 << (bit % 8)
		if _, err := f.WriteAt(b, bit/8); err != nil {
			t.Fatal(err)
		}
	}
	change()
	return change
}

// damagesNothing: with a bit changed, a folder is either refused in a line that names the file, or serves just what it held.
func damagesNothing(t *testing.T, dir, file string, bit int64, holds map[string]string) (refused bool) {
	t.Helper()
	back := flip(t, filepath.Join(dir, file), bit)
	_, err := Examine(dir)
	if err == nil {
		damaged := copied(t, dir)
		defer os.RemoveAll(filepath.Dir(damaged))
		back()
		var got map[string]string
		if got, err = held(t, damaged); err == nil {
			if !maps.Equal(got, holds) {
				t.Errorf("bit %d of %s: wrong data are served", bit, file)
			}
			return false
		}
	} else {
		back()
	}
	if !errors.Is(err, ErrDamaged) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "goroutine") {
		t.Errorf("bit %d of %s: %v", bit, file, err)
	}
	return true
}

// TestFlippedBitsOfDatabase flips a bit in the head of every page, and one anywhere in it.
func TestFlippedBitsOfDatabase(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	holds := filled(t, dir)
	file := filepath.Join("member", "snap", "db")
	b, err := openBolt(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	b.close()
	random := rand.New(rand.NewPCG(3, 4))
	page := b.pageSize * 8
	refused, tried := 0, 0
	for at := int64(0); at < int64(b.pages)*page; at += page {
		for _, bit := range []int64{at + random.Int64N(16*8), at + random.Int64N(page)} {
			tried++
			if damagesNothing(t, dir, file, bit, holds) {
				refused++
			}
		}
	}
	t.Logf("%d of %d were refused", refused, tried)
	if refused < tried/5 {
		t.Errorf("only %d of %d changes were found", refused, tried)
	}
}

// TestFlippedBitsOfValues flips bits of what is stored, which no structure of the file can tell.
func TestFlippedBitsOfValues(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	holds := filled(t, dir)
	file := filepath.Join("member", "snap", "db")
	data, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"/registry/things/007", "/registry/things/large", "/registry/things/050"} {
		value := []byte(holds[key])
		at := bytes.Index(data, append([]byte(key), 0x10)) // the field behind the key
		if at < 0 {
			t.Fatalf("%s is not in the file", key)
		}
		at += bytes.Index(data[at:], value[:min(len(value), 4)])
		back := flip(t, filepath.Join(dir, file), int64(at)*8+3)
		_, err := Examine(dir)
		back()
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("a bit of the value of %s: %v", key, err)
		}
	}
	if x, err := Examine(dir); err != nil || x.Keys != len(holds) || !x.Ledger || x.Revision != x.LedgerRevision {
		t.Errorf("the folder as it was: %+v, %v", x, err)
	}
}

// TestFlippedBitsOfLog flips bits anywhere in the log, and more of them near its end, where a damaged entry looks like one that a crash has
// cut off.
func TestFlippedBitsOfLog(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	holds := filled(t, dir)
	files, err := filepath.Glob(filepath.Join(dir, "member", "wal", "*.wal"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	end := int64(len(bytes.TrimRight(data, "\x00")))
	file := filepath.Join("member", "wal", filepath.Base(files[0]))
	random := rand.New(rand.NewPCG(5, 6))
	refused := 0
	for i := range 60 {
		from := int64(0)
		if i%3 == 0 {
			from = end - 2000
		}
		if damagesNothing(t, dir, file, from*8+random.Int64N((end-from)*8), holds) {
			refused++
		}
	}
	if refused < 30 {
		t.Errorf("only %d of 60 changes were found", refused)
	}
	// A log that ends early is like one whose last entries a crash has cut off, but these had been acknowledged.
	cut := copied(t, dir)
	whole, err := os.ReadFile(filepath.Join(cut, file))
	if err != nil {
		t.Fatal(err)
	}
	clear(whole[end-1500:])
	if err := os.WriteFile(filepath.Join(cut, file), whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := held(t, cut); !errors.Is(err, ErrDamaged) {
		t.Errorf("a log without its end: %v", err)
	}
}

// TestCutDatabase: a file that is cut off, empty or gone.
func TestCutDatabase(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	filled(t, dir)
	file := filepath.Join(dir, "member", "snap", "db")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b, err := openBolt(file)
	if err != nil {
		t.Fatal(err)
	}
	b.close()
	used := int(b.pages) * int(b.pageSize) // the rest of the file is room to grow
	for _, size := range []int{0, 1, 4096, 4097, 8192, used / 2, used - 1} {
		if err := os.WriteFile(file, data[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := held(t, dir); !errors.Is(err, ErrDamaged) {
			t.Errorf("the first %d bytes: %v", size, err)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := held(t, dir); !errors.Is(err, ErrDamaged) {
		t.Errorf("without the file: %v", err)
	}
}

// TestLedgerSurvivesCrashes: a folder as a killed process leaves it, at any moment, is whole; the ledger's own damage is none of the data's.
func TestLedgerSurvivesCrashes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	s, err := Open(t.Context(), Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	holds := map[string]string{}
	for round := range 6 {
		for i := range 40 {
			key := fmt.Sprintf("/registry/things/%d-%d", round, i)
			if _, err := s.Create(t.Context(), key, []byte(key), 0); err != nil {
				t.Fatal(err)
			}
			holds[key] = key
		}
		if round%2 == 0 {
			s.ledger.flush()
		}
		snapshot := copied(t, dir) // as if the process ended here
		if round == 3 {
			flip(t, ledgerFile(snapshot), 5000)
		}
		if round == 4 {
			f, err := os.OpenFile(ledgerFile(snapshot), os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			f.Write(make([]byte, 45)) // half of what was being appended
			f.Close()
		}
		got, err := held(t, snapshot)
		if err != nil || !maps.Equal(got, holds) {
			t.Fatalf("round %d: %d keys of %d, %v", round, len(got), len(holds), err)
		}
	}
}

// TestLedgerIsRewritten: the file does not grow with the number of changes.
func TestLedgerIsRewritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	s, err := Open(t.Context(), Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	s.ledger.mu.Lock()
	s.ledger.rewrites = 50
	s.ledger.mu.Unlock()
	r, err := s.Create(t.Context(), "/registry/a", []byte("0"), 0)
	for i := 0; i < 60 && err == nil; i++ {
		r, err = s.Update(t.Context(), "/registry/a", r, fmt.Append(nil, i), 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.ledger.await(r)
	s.ledger.flush()
	if info, err := os.Stat(ledgerFile(dir)); err != nil || info.Size() > 10*recordLength {
		t.Errorf("%v, %v", info.Size(), err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := held(t, dir); err != nil || got["/registry/a"] != "59" {
		t.Errorf("%v, %v", got, err)
	}
}
