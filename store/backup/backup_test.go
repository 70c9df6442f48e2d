package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
	"github.com/wheelhouse-k8s/wheelhouse/test/process"
)

func TestMain(m *testing.M) {
	code, done, err := process.Isolate()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if !done {
		code = m.Run()
	}
	os.Exit(code)
}

// words is a Reader of values such as "pods:…": "enc:" is encrypted, and "bad" cannot be read.
type words struct{}

func (words) Kind(key string) string {
	rest, ok := strings.CutPrefix(key, "/registry/")
	if !ok {
		return Outside
	}
	kind, _, _ := strings.Cut(rest, "/")
	return kind
}

func (words) Read(_ string, value []byte) (bool, error) {
	if bytes.HasPrefix(value, []byte("bad")) {
		return false, errors.New("it is bad")
	}
	return bytes.HasPrefix(value, []byte("enc:")), nil
}

func readWords(string, map[string][]byte) (Reader, error) { return words{}, nil }

// cluster is a Source over a member; fields change how it behaves.
type cluster struct {
	member *etcd.Embedded
	// cut, if positive, ends the snapshot after so many bytes; flip changes the byte there.
	cut, flip int64
	count     func(*Counted)
	// rotations is how often the keys change, once at each question; asked counts the questions.
	rotations, asked int
}

func (c *cluster) Origin(context.Context) (Origin, error) {
	return Origin{Cluster: "one", Version: "v1.37.2", Prefix: "/registry/", Signer: signerOf("one").Name()}, nil
}

func (c *cluster) Sign(_ context.Context, manifest []byte) (string, error) {
	return signerOf("one").Sign("one", manifest)
}

// signerOf a cluster, whose secret is its name.
func signerOf(cluster string) *Signer {
	secret := sha256.Sum256([]byte(cluster))
	s, err := NewSigner(secret[:])
	if err != nil {
		panic(err)
	}
	return s
}

func (c *cluster) Keys(context.Context) (map[string][]byte, error) {
	c.asked++
	return map[string][]byte{"pki/ca.crt": fmt.Append(nil, "certificate ", min(c.asked, c.rotations)), "pki/ca.key": []byte("secret")}, nil
}

func (c *cluster) Snapshot(ctx context.Context) (io.ReadCloser, int64, error) {
	r, size, err := c.member.Snapshot(ctx)
	if err != nil {
		return nil, 0, err
	}
	if c.cut > 0 {
		return struct {
			io.Reader
			io.Closer
		}{io.LimitReader(r, c.cut), r}, size, nil
	}
	if c.flip > 0 {
		data, err := io.ReadAll(r)
		r.Close()
		data[c.flip]++
		return io.NopCloser(bytes.NewReader(data)), size, err
	}
	return r, size, nil
}

func (c *cluster) Count(ctx context.Context, q Census) (Counted, error) {
	page, err := c.member.List(ctx, "/registry/", store.ListOptions{Revision: q.Revision, CountOnly: true})
	if err != nil {
		return Counted{}, err
	}
	out := Counted{Known: true, Objects: page.Count, Hashes: map[string]string{}}
	for _, k := range q.Keys {
		e, _, err := c.member.Get(ctx, k, q.Revision)
		if err != nil {
			return Counted{}, err
		}
		sum := sha256.Sum256(e.Value)
		out.Hashes[k] = hex.EncodeToString(sum[:])
	}
	if c.count != nil {
		c.count(&out)
	}
	return out, nil
}

// newCluster holds three kinds, with history: objects that were changed, deleted, and made again.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	s, err := etcd.Open(t.Context(), etcd.Options{Dir: filepath.Join(t.TempDir(), "etcd"), CompactionInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	put := func(key, value string) {
		if _, err := s.Create(t.Context(), key, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		put(fmt.Sprintf("/registry/pods/default/p%02d", i), fmt.Sprintf("pod %d %s", i, strings.Repeat("x", 500*i)))
	}
	put("/registry/secrets/default/s", "enc:sealed")
	put("/registry/services/a", "service")
	put("/elsewhere", "of another program")
	for _, key := range []string{"/registry/pods/default/p03", "/registry/pods/default/p04"} {
		e, _, err := s.Get(t.Context(), key, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Delete(t.Context(), key, e.Revision); err != nil {
			t.Fatal(err)
		}
	}
	put("/registry/pods/default/p04", "pod made again")
	return &cluster{member: s}
}

func newLock(t *testing.T) *Lock {
	t.Helper()
	data, _, err := NewKey(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	l, err := ParseKey(data)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// vaults are the vaults that every test of a vault runs against.
func vaults(t *testing.T, test func(t *testing.T, v Vault)) {
	t.Run("folder", func(t *testing.T) {
		v, err := NewFolder(filepath.Join(t.TempDir(), "backups"))
		if err != nil {
			t.Fatal(err)
		}
		test(t, v)
	})
	t.Run("bucket", func(t *testing.T) { test(t, newBucket(t)) })
}

func create(t *testing.T, c *cluster, v Vault, l *Lock) *Manifest {
	t.Helper()
	m, err := Create(t.Context(), c, v, CreateOptions{Lock: l, Reader: readWords, Temporary: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func list(t *testing.T, v Vault) []Backup {
	t.Helper()
	all, err := List(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func verify(t *testing.T, v Vault, name string, l *Lock) (*Verified, error) {
	t.Helper()
	b, err := Find(t.Context(), v, name)
	if err != nil {
		t.Fatal(err)
	}
	return Verify(t.Context(), v, b, VerifyOptions{Lock: l, Reader: readWords, Temporary: t.TempDir()})
}

// TestCreate makes backups, verifies them, opens their keys, and restores one into a member of another cluster.
func TestCreate(t *testing.T) {
	vaults(t, func(t *testing.T, v Vault) {
		if all, err := List(t.Context(), v); len(all) != 0 || err != nil && !errors.Is(err, ErrNoFolder) {
			t.Fatalf("an empty vault holds %v: %v", all, err)
		}
		c, lock := newCluster(t), newLock(t)
		m := create(t, c, v, lock)
		want := map[string]int64{"pods": 19, "secrets": 1, "services": 1, Outside: 1}
		if m.Objects != 22 || fmt.Sprint(m.Kinds) != fmt.Sprint(want) || m.Encrypted != 1 || m.Cluster != "one" || m.Unreadable != nil {
			t.Fatalf("manifest: %+v", m)
		}
		now, err := c.member.Revision(t.Context())
		if err != nil || m.Revision != now {
			t.Fatalf("revision %d, the cluster is at %d (%v)", m.Revision, now, err)
		}
		done, err := verify(t, v, m.Name, lock)
		if err != nil || !done.KeysOpened {
			t.Fatalf("verified: %+v, %v", done, err)
		}
		if done, err = verify(t, v, "latest", nil); err != nil || done.KeysOpened {
			t.Fatalf("verified without a key: %+v, %v", done, err)
		}
		b, err := Find(t.Context(), v, m.Name[:18])
		if err != nil {
			t.Fatal(err)
		}
		keys, err := OpenKeys(t.Context(), v, b, lock)
		if err != nil || string(keys["pki/ca.key"]) != "secret" || len(keys) != 2 {
			t.Fatalf("keys: %v, %v", keys, err)
		}
		if _, err := OpenKeys(t.Context(), v, b, newLock(t)); !errors.Is(err, ErrWrongKey) {
			t.Fatalf("opened with another key: %v", err)
		}
		if _, err := verify(t, v, m.Name, newLock(t)); !errors.Is(err, ErrWrongKey) {
			t.Fatalf("verified with another key: %v", err)
		}
		if all := list(t, v); len(all) != 1 || all[0].State != Good {
			t.Fatalf("a wrong key has changed the state: %+v", all)
		}
		restored(t, c, v, b)
	})
}

// restored restores a backup and compares every key.
func restored(t *testing.T, c *cluster, v Vault, b *Backup) {
	t.Helper()
	file, release, err := Fetch(t.Context(), v, b, t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	dir := filepath.Join(t.TempDir(), "etcd")
	const bump = 1000
	at, err := etcd.Restore(etcd.RestoreOptions{Snapshot: file, Dir: dir, Name: "new", Token: "new", Bump: bump,
		Drop: func(key, _ []byte) bool {
			return bytes.HasPrefix(key, []byte("/registry/pods/default/p04")) || string(key) == "/registry/pods/default/p03"
		}})
	if err != nil {
		t.Fatal(err)
	}
	if at != b.Manifest.Revision+bump {
		t.Errorf("restored at revision %d, the backup has %d", at, b.Manifest.Revision)
	}
	s, err := etcd.Open(t.Context(), etcd.Options{Dir: dir, Name: "new", CompactionInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	before, err := c.member.List(t.Context(), "/", store.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	after, err := s.List(t.Context(), "/", store.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	kept := slices.DeleteFunc(slices.Clone(before.Entries), func(e store.Entry) bool { return e.Key == "/registry/pods/default/p04" })
	if fmt.Sprint(after.Entries) != fmt.Sprint(kept) {
		t.Errorf("%d entries restored, %d expected", len(after.Entries), len(kept))
	}
	w := s.Watch(t.Context(), "/", store.WatchOptions{From: b.Manifest.Revision})
	for range w.C() {
	}
	if !errors.Is(w.Err(), store.ErrCompacted) {
		t.Errorf("a watch from the past ended with %v", w.Err())
	}
	written, err := s.Create(t.Context(), "/registry/pods/default/p04", []byte("new"), 0)
	if err != nil || written <= at {
		t.Errorf("the first write is at revision %d after %d: %v", written, at, err)
	}
}

// TestPassphrase seals and opens with a passphrase.
func TestPassphrase(t *testing.T) {
	if _, err := NewPassphrase("short\n"); err == nil {
		t.Error("a short passphrase is accepted")
	}
	l, err := NewPassphrase("correct horse battery\n")
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := l.seal(map[string][]byte{"a": []byte("b")})
	if err != nil {
		t.Fatal(err)
	}
	if files, err := l.open(&Manifest{}, sealed); err != nil || string(files["a"]) != "b" {
		t.Errorf("%v, %v", files, err)
	}
	other, err := NewPassphrase("another horse battery")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.open(&Manifest{}, sealed); !errors.Is(err, ErrWrongKey) {
		t.Errorf("another passphrase: %v", err)
	}
	_, recipient, err := NewKey(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	sealing, err := ParseKey([]byte(recipient + "\n"))
	if err != nil || sealing.Opens() {
		t.Fatalf("a recipient: %v", err)
	}
	for _, text := range []string{"", "# nothing\n", "not a key\n", "AGE-SECRET-KEY-1XX\n"} {
		if _, err := ParseKey([]byte(text)); err == nil {
			t.Errorf("key file %q is accepted", text)
		}
	}
}

// breaking fails after so many operations, and then in everything, as a process that was killed.
type breaking struct {
	Vault
	left int
}

var errKilled = errors.New("killed")

func (b *breaking) step() error {
	if b.left--; b.left < 0 {
		return errKilled
	}
	return nil
}

func (b *breaking) Write(ctx context.Context, name, file string, from io.Reader, size int64) error {
	if err := b.step(); err != nil {
		return err
	}
	return b.Vault.Write(ctx, name, file, from, size)
}

func (b *breaking) Remove(ctx context.Context, name, file string) error {
	if err := b.step(); err != nil {
		return err
	}
	return b.Vault.Remove(ctx, name, file)
}

func (b *breaking) Clear(ctx context.Context, name string) error {
	if err := b.step(); err != nil {
		return err
	}
	return b.Vault.Clear(ctx, name)
}

func (b *breaking) Open(ctx context.Context, name, file string) (io.ReadCloser, int64, error) {
	if err := b.step(); err != nil {
		return nil, 0, err
	}
	return b.Vault.Open(ctx, name, file)
}

// TestKilled ends a creation at each of its steps, without any tidying: there is never a new good backup before all is
// done, the old one stays, and what is left is pruned when it is old.
func TestKilled(t *testing.T) {
	vaults(t, func(t *testing.T, v Vault) {
		c, lock := newCluster(t), newLock(t)
		old := create(t, c, v, lock)
		finished := false
		for steps := 0; !finished; steps++ {
			_, err := Create(t.Context(), c, &breaking{v, steps}, CreateOptions{Lock: lock, Reader: readWords, Temporary: t.TempDir()})
			finished = err == nil
			var good, unfinished []string
			for _, b := range list(t, v) {
				switch b.State {
				case Good:
					good = append(good, b.Name)
				case Unfinished:
					unfinished = append(unfinished, b.Name)
				default:
					t.Fatalf("after %d steps: %+v", steps, b)
				}
			}
			if !slices.Contains(good, old.Name) {
				t.Fatalf("after %d steps the old backup is gone", steps)
			}
			// The manifest is read back after it was written: then the backup is good though its maker did not learn it.
			if !finished && len(good) > 1 && steps < 5 {
				t.Fatalf("after %d steps there are %v", steps, good)
			}
			kept, err := Prune(t.Context(), v, PruneOptions{})
			if err != nil || len(kept) > 0 {
				t.Fatalf("young left-overs were pruned: %v, %v", kept, err)
			}
			removed, err := Prune(t.Context(), v, PruneOptions{Now: func() time.Time { return time.Now().Add(UnfinishedAge + time.Hour) }})
			if err != nil || len(removed) != len(unfinished) {
				t.Fatalf("pruned %v of %v: %v", removed, unfinished, err)
			}
			if steps > 50 {
				t.Fatal("the creation does not end")
			}
		}
	})
}

// TestFullDisk fills the folder's file system: the error says so, nothing new is left, and what was there stays.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("small", dir, "tmpfs", 0, "size=1500k"); err != nil {
		t.Fatalf("this test mounts a small file system: %v", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	v, err := NewFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	c, lock := newCluster(t), newLock(t)
	good := create(t, c, v, lock)
	for i := range 6 { // more than fits
		key, value := fmt.Sprintf("/registry/big/%d", i), bytes.Repeat([]byte("large "), 1<<16)
		if _, err := c.member.Create(t.Context(), key, value, 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Create(t.Context(), c, v, CreateOptions{Lock: lock, Reader: readWords}); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("error: %v", err)
	}
	if all := list(t, v); len(all) != 1 || all[0].Name != good.Name || all[0].State != Good {
		t.Fatalf("left: %+v", all)
	}
	if _, err := verify(t, v, good.Name, lock); err != nil {
		t.Fatal(err)
	}
}

// TestCopies: two places each get the backup; one that fails does not take it from the other.
func TestCopies(t *testing.T) {
	c, lock := newCluster(t), newLock(t)
	one, err := NewFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	two := newBucket(t)
	o := CreateOptions{Lock: lock, Reader: readWords, Temporary: t.TempDir()}
	m, have, err := CreateIn(t.Context(), c, []Vault{one, two}, o)
	if err != nil || len(have) != 2 {
		t.Fatalf("%v, %v", have, err)
	}
	for _, v := range have {
		if _, err := verify(t, v, m.Name, lock); err != nil {
			t.Error(err)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	bad, err := NewFolder(file)
	if err != nil {
		t.Fatal(err)
	}
	if m, have, err = CreateIn(t.Context(), c, []Vault{bad, two}, o); err == nil || len(have) != 1 || m == nil {
		t.Fatalf("%v, %v", have, err)
	}
	if _, err := verify(t, two, m.Name, lock); err != nil {
		t.Error(err)
	}
}

// TestProgress: phases are told, and end where they should.
func TestProgress(t *testing.T) {
	v, err := NewFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	last := map[string]int64{}
	m, err := Create(t.Context(), newCluster(t), v, CreateOptions{WithoutKeys: true, Reader: readWords, Progress: func(phase string, done, total int64) {
		if done < last[phase] {
			t.Errorf("%s went back from %d to %d", phase, last[phase], done)
		}
		last[phase] = done
	}})
	if err != nil {
		t.Fatal(err)
	}
	if size := m.Files[SnapshotFile].Size; last["write"] != size || last["verify"] != size {
		t.Errorf("%v, the snapshot has %d bytes", last, size)
	}
	data, err := json.Marshal(m)
	if err != nil || !bytes.Contains(data, []byte(`"cluster":"one"`)) {
		t.Errorf("%s, %v", data, err)
	}
}
