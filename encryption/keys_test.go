package encryption

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

var errBroken = errors.New("broken off")

// failing is a store, and a publisher, that fail at the n-th change that is asked of either of them, and from then on, until
// heal: as a master does that is killed there.
type failing struct {
	store.Store
	left atomic.Int64 // changes until it fails; negative never
	hit  atomic.Bool
}

func (f *failing) may() error {
	if f.left.Load() < 0 {
		return nil
	}
	if f.left.Load() == 0 {
		f.hit.Store(true)
		return errBroken
	}
	f.left.Add(-1)
	return nil
}

func (f *failing) Create(ctx context.Context, key string, value []byte, ttl time.Duration) (int64, error) {
	if err := f.may(); err != nil {
		return 0, err
	}
	return f.Store.Create(ctx, key, value, ttl)
}

func (f *failing) Update(ctx context.Context, key string, expect int64, value []byte, ttl time.Duration) (int64, error) {
	if err := f.may(); err != nil {
		return 0, err
	}
	return f.Store.Update(ctx, key, expect, value, ttl)
}

// cluster is two masters with managed keys on one store.
type cluster struct {
	t       *testing.T
	inner   *memory.Store
	failing *failing
	masters [2]*Store // the second goes past failing
}

func newCluster(t *testing.T) *cluster {
	c := &cluster{t: t, inner: memory.New()}
	c.failing = &failing{Store: c.inner}
	c.failing.left.Store(-1)
	dirs := [2]string{t.TempDir(), t.TempDir()}
	if made, err := Ensure(t.Context(), c.inner, filepath.Join(dirs[0], "encryption.yaml")); err != nil || !made {
		t.Fatal(made, err)
	}
	data, err := os.ReadFile(filepath.Join(dirs[0], "encryption.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	rewriteFile(t, filepath.Join(dirs[1], "encryption.yaml"), string(data))
	for n, s := range []store.Store{c.failing, c.inner} {
		c.masters[n] = c.open(s, filepath.Join(dirs[n], "encryption.yaml"))
	}
	return c
}

func (c *cluster) open(s store.Store, file string) *Store {
	c.t.Helper()
	if made, err := Ensure(c.t.Context(), s, file); err != nil || made {
		c.t.Fatalf("a master does not start again: made %v, %v", made, err)
	}
	m, err := New(c.t.Context(), Options{Store: s, Kinds: api.Kinds(), File: file, Reload: true, ID: file})
	if err != nil {
		c.t.Fatal(err)
	}
	return m
}

// publish brings a master's file to the other.
func (c *cluster) publish(from, to *Store) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := c.failing.may(); err != nil {
			return err
		}
		data, err := os.ReadFile(from.File())
		if err == nil {
			err = to.Install(ctx, data)
		}
		if err == nil {
			err = c.failing.may() // all have it, but the publisher does not learn that
		}
		return err
	}
}

func (c *cluster) keys(n int) *Keys {
	return &Keys{Store: c.masters[n], Publish: c.publish(c.masters[n], c.masters[1-n]), Report: func(string, Progress) {}}
}

// check: each master reads what any has written, before and now.
func (c *cluster) check(when string, names *[]string) {
	c.t.Helper()
	healthy := c.failing.left.Swap(-1)
	defer c.failing.left.Store(healthy)
	for n, m := range c.masters {
		name := fmt.Sprintf("%ssecrets/default/%s-%d-%d", root, strings.ReplaceAll(when, " ", "-"), n, len(*names))
		create(c.t, m, name, secret)
		*names = append(*names, name)
	}
	for n, m := range c.masters {
		for _, name := range *names {
			if e, _, err := m.Get(c.t.Context(), name, 0); err != nil || string(e.Value) != secret {
				c.t.Fatalf("%s: master %d reads %s: %v", when, n, name, err)
			}
		}
	}
}

// restart opens both masters as after a crash.
func (c *cluster) restart() {
	c.masters[0] = c.open(c.failing, c.masters[0].File())
	c.masters[1] = c.open(c.inner, c.masters[1].File())
}

// forms are the forms of all stored secrets.
func (c *cluster) forms() []string {
	var forms []string
	if err := c.masters[1].scan(c.t.Context(), secretsPrefix, func(e store.Entry) error {
		if f := FormOf(e.Value).String(); !slices.Contains(forms, f) {
			forms = append(forms, f)
		}
		return nil
	}); err != nil {
		c.t.Fatal(err)
	}
	slices.Sort(forms)
	return forms
}

// TestChangesBrokenOff breaks changes of keys off at every single write and publication, restarts both masters, and goes on, on
// the same master or the other. At every time each master reads what any writes; at the end everything is in the new form.
func TestChangesBrokenOff(t *testing.T) {
	rotate := func(k *Keys) error { return k.Rotate(k.Store.life) }
	decrypt := func(k *Keys) error { return k.Decrypt(k.Store.life) }
	for _, c := range []struct {
		name        string
		first, then func(*Keys) error
		want        []string // forms; key numbers depend on where it was broken off
	}{
		{"rotate", rotate, rotate, []string{"secretbox"}},
		{"decrypt", decrypt, decrypt, []string{"identity"}},
		{"rotate, then decrypt", rotate, decrypt, []string{"identity"}},
		{"decrypt, then rotate", decrypt, rotate, []string{"secretbox"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			steps := 0
			for at := 0; ; at++ {
				cl := newCluster(t)
				var names []string
				cl.check("before", &names)
				cl.check("before still", &names)
				cl.failing.left.Store(int64(at))
				err := c.first(cl.keys(0))
				cl.check("broken off", &names)
				if !cl.failing.hit.Load() {
					if err != nil {
						t.Fatal(err)
					}
					break
				}
				if !errors.Is(err, errBroken) {
					t.Fatalf("broken off at %d: %v", at, err)
				}
				steps++
				cl.failing.left.Store(-1)
				cl.restart()
				cl.check("restarted", &names)
				if err := c.then(cl.keys(at % 2)); err != nil {
					t.Fatalf("going on after %d: %v", at, err)
				}
				cl.check("after", &names)
				forms := cl.forms()
				if len(forms) != 1 || !strings.HasPrefix(forms[0], c.want[0]) {
					t.Errorf("broken off at %d: the end has the forms %v", at, forms)
				}
				a, _ := os.ReadFile(cl.masters[0].File())
				b, _ := os.ReadFile(cl.masters[1].File())
				managed, err := ParseManaged(a)
				if err != nil || !bytes.Equal(a, b) || managed.Unfinished() != "" || len(managed.keys()) > 1 {
					t.Errorf("broken off at %d: the files end as\n%s\n%s", at, a, b)
				}
			}
			if steps < 10 {
				t.Errorf("only %d places to break it off were found", steps)
			}
		})
	}
}

// TestRotateDropsTheOldKey: each rotation ends with one new key, and identity for what was never encrypted.
func TestRotateDropsTheOldKey(t *testing.T) {
	c := newCluster(t)
	var names []string
	c.check("before", &names)
	for n := 2; n < 5; n++ {
		if err := c.keys(n % 2).Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("secretbox:key%d", n)
		if forms := c.forms(); !slices.Equal(forms, []string{want}) {
			t.Errorf("stored as %v", forms)
		}
		sections := c.masters[0].Sections()
		if len(sections) != 1 || fmt.Sprint(sections[0].Forms) != "["+want+" identity]" {
			t.Errorf("configured: %v", sections)
		}
	}
	if err := c.keys(0).Decrypt(t.Context()); err != nil {
		t.Fatal(err)
	}
	if data, _ := os.ReadFile(c.masters[1].File()); bytes.Contains(data, []byte("secretbox")) || !slices.Equal(c.forms(), []string{"identity"}) {
		t.Errorf("after decrypt:\n%s%v", data, c.forms())
	}
	if err := c.keys(0).Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if forms := c.forms(); !slices.Equal(forms, []string{"secretbox:key5"}) {
		t.Errorf("encrypted again as %v: a name was used again", forms)
	}
	c.check("after", &names)
}

// TestChangesMeanwhile: a rewrite loses nothing of what others write, and does not touch what they delete.
func TestChangesMeanwhile(t *testing.T) {
	c := newCluster(t)
	revisions := map[string]int64{}
	name := func(n int) string { return fmt.Sprintf("%ssecrets/default/%03d", root, n) }
	for n := range 300 {
		revisions[name(n)] = create(t, c.inner, name(n), secret) // in plain
	}
	go func() {
		for n := range 300 {
			switch n % 3 {
			case 0:
				for {
					e, _, err := c.masters[1].Get(t.Context(), name(n), 0)
					if err != nil {
						return
					}
					if _, err := c.masters[1].Update(t.Context(), name(n), e.Revision, []byte(secret+"changed"), 0); err == nil {
						break
					}
				}
			case 1:
				for {
					e, _, err := c.inner.Get(t.Context(), name(n), 0)
					if err != nil {
						return
					}
					if _, err := c.inner.Delete(t.Context(), name(n), e.Revision); err == nil {
						break
					}
				}
			}
		}
	}()
	var last Progress
	if err := c.masters[0].Rewrite(t.Context(), func(p Progress) { last = p }); err != nil {
		t.Fatal(err)
	}
	for n := range 300 {
		want := secret
		if n%3 == 0 {
			want += "changed"
		}
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
			e, _, err := c.masters[0].Get(t.Context(), name(n), 0)
			if n%3 == 1 && errors.Is(err, store.ErrNotFound) || n%3 != 1 && err == nil && string(e.Value) == want && !e.Stale {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d: %q, %v", n, e.Value, err)
			}
		}
	}
	if last.Rewritten == 0 || last.Rewritten > 300 {
		t.Errorf("progress: %+v", last)
	}
}

// TestRewriteEnds: an ended rewrite is gone on with by another, and a rewrite says what it cannot read.
func TestRewriteEnds(t *testing.T) {
	c := newCluster(t)
	for n := range 20 {
		create(t, c.inner, fmt.Sprintf("%ssecrets/default/%03d", root, n), secret)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := c.masters[0].Rewrite(ctx, func(p Progress) {
		if p.Rewritten == 5 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || len(c.forms()) != 2 {
		t.Fatalf("ended with %v, forms %v", err, c.forms())
	}
	create(t, c.inner, root+"secrets/default/010x", "k8s:enc:secretbox:v1:lost:value")
	if err := c.masters[0].Rewrite(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "1 objects cannot be decrypted") {
		t.Errorf("unreadable: %v", err)
	}
	if forms := c.forms(); !slices.Equal(forms, []string{"secretbox:key1", "secretbox:lost"}) {
		t.Errorf("forms %v", forms)
	}
}

// TestEnsure: a key is made once, and never where another is in use.
func TestEnsure(t *testing.T) {
	inner := memory.New()
	file := filepath.Join(t.TempDir(), "encryption.yaml")
	create(t, inner, root+"secrets/default/before", secret)
	made, err := Ensure(t.Context(), inner, file)
	if err != nil || !made {
		t.Fatal(made, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if made, err = Ensure(t.Context(), inner, file); err != nil || made {
		t.Errorf("again: %v, %v", made, err)
	}
	other := filepath.Join(t.TempDir(), "encryption.yaml")
	if _, err := Ensure(t.Context(), inner, other); err == nil || !strings.Contains(err.Error(), other) {
		t.Errorf("without the file: %v", err)
	}
	if _, err := os.Stat(other); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a second key was made")
	}
	if _, err := Ensure(t.Context(), memory.New(), other); err != nil {
		t.Fatal(err)
	}
	if _, err := Ensure(t.Context(), inner, other); err == nil || !strings.Contains(err.Error(), "not those of the cluster") {
		t.Errorf("with the file of another cluster: %v", err)
	}
	foreign := memory.New()
	create(t, foreign, secretKey, "k8s:enc:aescbc:v1:k:value")
	third := filepath.Join(t.TempDir(), "encryption.yaml")
	if _, err := Ensure(t.Context(), foreign, third); err == nil || !strings.Contains(err.Error(), "--encryption-provider-config") {
		t.Errorf("with secrets of somebody else: %v", err)
	}
	rewriteFile(t, third, config("secrets, configmaps", "identity"))
	if _, err := Ensure(t.Context(), memory.New(), third); err == nil || !strings.Contains(err.Error(), third) {
		t.Errorf("with a file of somebody else: %v", err)
	}
}

// racing creates the record in the place of another master when it is first asked for.
type racing struct {
	store.Store
	other string
}

func (r *racing) Create(ctx context.Context, key string, value []byte, ttl time.Duration) (int64, error) {
	if r.other != "" {
		other := r.other
		r.other = ""
		if _, err := Ensure(ctx, r.Store, other); err != nil {
			return 0, err
		}
	}
	return r.Store.Create(ctx, key, value, ttl)
}

// TestFirstStartsAtOnce: of two masters that start at once on one store, one makes the key; the other says what to do.
func TestFirstStartsAtOnce(t *testing.T) {
	mine, others := filepath.Join(t.TempDir(), "encryption.yaml"), filepath.Join(t.TempDir(), "encryption.yaml")
	inner := memory.New()
	if _, err := Ensure(t.Context(), &racing{inner, others}, mine); err == nil {
		t.Fatal("both made a key")
	}
	if _, err := os.Stat(mine); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the slower one's key is still there")
	}
	if _, err := Ensure(t.Context(), inner, others); err != nil {
		t.Error(err)
	}
}
