package pki

import (
	"crypto/tls"
	"errors"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// quick are options with which nothing is forced to the disk.
func quick() Options {
	o := options()
	o.fault = func(string) error { return nil }
	return o
}

// mustEnsure loads a folder.
func mustEnsure(t *testing.T, dir string, o Options) *Authority {
	t.Helper()
	a, err := Ensure(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// sound checks that all certificates of an authority belong together, and that the folder holds what is in use.
func sound(t *testing.T, a *Authority, dir string) {
	t.Helper()
	for _, l := range leaves {
		p, issuer := a.now.Load().leaves[l.name], a.now.Load().trust(l.issuer)
		if p == nil {
			t.Errorf("%s is missing", l.name)
			continue
		}
		if _, current := issuer.issued(p.Certificate); !current {
			t.Errorf("%s is not of the present authority", l.name)
		}
		if !samePublic(p.Certificate.PublicKey, p.Key.Public()) {
			t.Errorf("%s has another's key", l.name)
		}
	}
	for name, data := range a.now.Load().files {
		have, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(have) != string(data) {
			t.Errorf("%s on disk is not what is in use (%v)", name, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, journalName)); err == nil {
		t.Error("the journal is still there")
	}
}

func sameFiles(a, b map[string][]byte) bool {
	return maps.EqualFunc(a, b, func(x, y []byte) bool { return string(x) == string(y) })
}

func TestInstall(t *testing.T) {
	first := mustEnsure(t, t.TempDir(), options())
	dir := t.TempDir()
	second := mustEnsure(t, dir, options())
	changed := second.Changed()
	if err := second.Install(first.Shared()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	default:
		t.Error("the change was not told")
	}
	if !sameFiles(first.Shared(), second.Shared()) {
		t.Error("the shared files differ")
	}
	sound(t, second, dir)
	sound(t, mustEnsure(t, dir, quick()), dir)
	before, pool := snapshot(t, dir), second.ClientPool()
	if err := second.Install(first.Shared()); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(before, snapshot(t, dir)) || second.ClientPool() != pool {
		t.Error("installing the same again changed something")
	}
}

func TestInstallRefuses(t *testing.T) {
	dir := t.TempDir()
	a := mustEnsure(t, dir, options())
	before := snapshot(t, dir)
	other := mustEnsure(t, t.TempDir(), options()).Shared()
	for name, c := range map[string]struct {
		change func(map[string][]byte)
		want   string
	}{
		"foreign key":    {func(f map[string][]byte) { f["ca.key"] = a.Shared()["ca.key"] }, "do not belong together"},
		"garbage":        {func(f map[string][]byte) { f["etcd/ca.crt"] = []byte("x") }, "holds no PEM certificate"},
		"unknown file":   {func(f map[string][]byte) { f["../passwd"] = []byte("x") }, "there is no shared file"},
		"no authority":   {func(f map[string][]byte) { delete(f, "ca.crt") }, "ca.crt is missing"},
		"empty":          {func(f map[string][]byte) { f["sa.pub"] = nil }, "sa.pub is empty"},
		"without a key":  {func(f map[string][]byte) { delete(f, "ca.key") }, "do not belong together"},
		"not a CA":       {func(f map[string][]byte) { f["ca.crt"], f["ca.key"] = a.Server().CertPEM, a.Server().KeyPEM }, "not the certificate of an authority"},
		"half a rotated": {func(f map[string][]byte) { f["ca-next.crt"] = f["ca.crt"] }, "must be there together"},
	} {
		t.Run(name, func(t *testing.T) {
			files := maps.Clone(other)
			c.change(files)
			err := a.Install(files)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error: %v", err)
			}
			if !maps.Equal(before, snapshot(t, dir)) {
				t.Error("files were changed")
			}
		})
	}
}

// broken fails the operation number fail, counted from 1, and, if dead, all that follow.
type broken struct {
	mu        sync.Mutex
	fail, n   int
	dead, off bool
}

var errBroken = errors.New("broken")

func (b *broken) fault(string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.off {
		return nil
	}
	b.n++
	if b.n == b.fail || b.dead && b.n > b.fail && b.fail > 0 {
		return errBroken
	}
	return nil
}

// inMemory is a folder for tests with thousands of files, in memory where there is such a file system.
func inMemory(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "pki")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// crashes runs change on a copy of a folder, once for each operation on a file, which fails: as the last thing that the
// process does (dead), or as one failure among successes.
func crashes(t *testing.T, origin string, change func(*Authority) error, check func(t *testing.T, a *Authority, dir string, dead bool, err error)) {
	// Failures among successes are alike for many files, so that every fourth does.
	for dead, step := range map[bool]int{true: 1, false: 4} {
		for n := 1; ; n += step {
			dir := filepath.Join(inMemory(t), "pki")
			if err := os.CopyFS(dir, os.DirFS(origin)); err != nil {
				t.Fatal(err)
			}
			b := &broken{off: true}
			o := options()
			o.fault = b.fault
			a := mustEnsure(t, dir, o)
			b.fail, b.dead, b.off = n, dead, false
			err := change(a)
			b.off = true
			if b.n < n {
				if err != nil {
					t.Fatal(err)
				}
				if n < 5 {
					t.Fatalf("only %d operations on files", n)
				}
				break
			}
			check(t, a, dir, dead, err)
		}
	}
}

// TestInstallSurvivesCrashes fails each single operation of an Install: a restart finds the old set or the new one, whole.
func TestInstallSurvivesCrashes(t *testing.T) {
	origin := t.TempDir()
	old := mustEnsure(t, origin, options()).Shared()
	rotated := mustEnsure(t, t.TempDir(), options())
	if err := rotated.Prepare(); err != nil {
		t.Fatal(err)
	}
	wanted := rotated.Shared()
	crashes(t, origin, func(a *Authority) error { return a.Install(wanted) },
		func(t *testing.T, a *Authority, dir string, dead bool, err error) {
			if !dead {
				// The process goes on. What it uses is one set or the other, and trying again completes the new one.
				if have := a.Shared(); !sameFiles(have, old) && !sameFiles(have, wanted) {
					t.Fatal("a mixture is in use")
				}
				if err == nil {
					t.Error("the failure was not told")
				}
				if err := a.Install(wanted); err != nil {
					t.Fatal(err)
				}
				sound(t, a, dir)
			}
			again := mustEnsure(t, dir, quick())
			have := again.Shared()
			if !sameFiles(have, old) && !sameFiles(have, wanted) {
				t.Fatal("a mixture is left on disk")
			}
			if !dead && !sameFiles(have, wanted) {
				t.Fatal("what was installed is not on disk")
			}
			sound(t, again, dir)
		})
}

// TestEnsureSurvivesCrashes fails each single operation of a first start: the next one completes it.
func TestEnsureSurvivesCrashes(t *testing.T) {
	for n := 1; ; n++ {
		dir := filepath.Join(inMemory(t), "pki")
		b := &broken{fail: n, dead: true}
		o := options()
		o.fault = b.fault
		_, err := Ensure(dir, o)
		if b.n < n {
			break
		}
		if err == nil {
			t.Fatal("the failure was not told")
		}
		sound(t, mustEnsure(t, dir, quick()), dir)
	}
}

// shake connects two peers, as etcd would: the client with what its files hold, verified by pool.
func shake(server, client *Authority) error {
	cert, key, _ := client.PeerFiles()
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return err
	}
	return shakeWith(server, &tls.Config{ServerName: "m1", RootCAs: client.EtcdCA().Pool(), Certificates: []tls.Certificate{pair}})
}

func shakeWith(server *Authority, client *tls.Config) error {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	served := make(chan error, 1)
	go func() {
		c := tls.Server(far, server.PeerTLS())
		err := c.Handshake()
		if err == nil {
			_, err = c.Write([]byte("x"))
		}
		far.Close()
		served <- err
	}()
	c := tls.Client(near, client)
	_, err := c.Read(make([]byte, 1))
	near.Close()
	return errors.Join(err, <-served)
}

func TestPeers(t *testing.T) {
	a, b := mustEnsure(t, t.TempDir(), options()), mustEnsure(t, t.TempDir(), options())
	if err := a.EtcdReady(); err != nil {
		t.Error(err)
	}
	if shake(a, b) == nil {
		t.Error("a peer of another cluster is let in")
	}
	if err := b.Install(a.Shared()); err != nil {
		t.Fatal(err)
	}
	if err := shake(a, b); err != nil {
		t.Error(err)
	}
	if err := shakeWith(a, &tls.Config{ServerName: "m1", RootCAs: b.EtcdCA().Pool()}); err == nil {
		t.Error("a peer without a certificate is let in")
	}
	if err := shakeWith(a, &tls.Config{ServerName: "m1", RootCAs: b.EtcdCA().Pool(), Certificates: []tls.Certificate{*b.KubeletClient().TLS()}}); err == nil {
		t.Error("a client of the cluster's authority is let in as a peer")
	}
	inMemory, err := New(options())
	if err != nil {
		t.Fatal(err)
	}
	if inMemory.EtcdReady() == nil || inMemory.EtcdCA() != nil {
		t.Error("a master in memory has etcd's authority")
	}
}
