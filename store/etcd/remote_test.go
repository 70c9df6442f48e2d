package etcd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/storetest"
	"github.com/wheelhouse-k8s/wheelhouse/test/process"
)

// servers starts an etcd of n servers.
func servers(t *testing.T, n int, encrypted bool) *process.Etcd {
	t.Helper()
	e, err := process.StartEtcd(t.TempDir(), n, encrypted)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

func external(e *process.Etcd, prefix string) External {
	x := External{Servers: e.Servers, Prefix: prefix, Root: "/"}
	if c := e.Certificates; c != nil {
		x.CAFile, x.CertFile, x.KeyFile = c.CAFile, c.CertFile, c.KeyFile
	}
	return x
}

func dial(t *testing.T, x External) *Remote {
	t.Helper()
	r, err := Dial(t.Context(), x)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// The suite runs over a real server with mutual TLS; each store has a prefix of its own, and one of them none.
func TestRemoteStore(t *testing.T) {
	e := servers(t, 1, true)
	n := 0
	storetest.Run(t, func(t *testing.T) store.Store {
		n++
		return dial(t, external(e, fmt.Sprintf("/cluster%d/registry", n)))
	})
}

func TestRemoteStoreWithoutEncryption(t *testing.T) {
	e := servers(t, 1, false)
	storetest.Run(t, func(t *testing.T) store.Store {
		if _, err := e.Ctl("del", "", "--prefix"); err != nil {
			t.Fatal(err)
		}
		return dial(t, external(e, "/"))
	})
}

// What stands beside the prefix, also where a name only begins with it, is neither seen nor touched.
func TestPrefix(t *testing.T) {
	e := servers(t, 1, true)
	foreign := []string{"/shared", "/shared0", "/shared/a", "/shared/ab/x", "/other/key", "zzz"}
	for _, key := range foreign {
		if _, err := e.Ctl("put", key, "foreign"); err != nil {
			t.Fatal(err)
		}
	}
	x := external(e, "shared/a/") // a path, however it is written
	x.Root = "/registry/"
	r := dial(t, x)
	ctx := t.Context()
	w := r.Watch(ctx, "/registry/", store.WatchOptions{From: 1})
	revision, err := r.Create(ctx, "/registry/pods/x", []byte("1"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := e.Ctl("get", "/shared/a/pods/x", "--print-value-only"); err != nil || out != "1\n" {
		t.Fatalf("in etcd: %q, %v", out, err)
	}
	if _, err := e.Ctl("put", "/other/key", "again"); err != nil {
		t.Fatal(err)
	}
	page, err := r.List(ctx, "/registry/", store.ListOptions{})
	if err != nil || len(page.Entries) != 1 || page.Entries[0].Key != "/registry/pods/x" {
		t.Fatalf("list: %+v, %v", page, err)
	}
	past, err := r.List(ctx, "/registry/", store.ListOptions{From: "/zoo"})
	if err != nil || len(past.Entries) != 0 || past.Count != 0 {
		t.Fatalf("list from past the end: %+v, %v", past, err)
	}
	var got []string
	for reached := false; !reached; {
		if err := w.Progress(ctx); err != nil {
			t.Fatal(err)
		}
		select {
		case b, ok := <-w.C():
			if !ok {
				t.Fatal(w.Err())
			}
			for _, event := range b.Events {
				got = append(got, event.Key)
			}
			reached = b.Revision > revision // the foreign change after it is known of, and not seen
		case <-time.After(20 * time.Millisecond):
		}
	}
	if len(got) != 1 || got[0] != "/registry/pods/x" {
		t.Fatalf("watched %v", got)
	}
	// A fence stands under the prefix as well.
	fenced := store.WithFence(ctx, store.Fence{Key: "/registry/pods/x", Revision: revision})
	if _, err := r.Create(fenced, "/registry/pods/y", nil, 0); err != nil {
		t.Fatal(err)
	}
	for _, key := range foreign {
		if out, err := e.Ctl("get", key, "--print-value-only"); err != nil || !strings.HasPrefix(out, "foreign") && !strings.HasPrefix(out, "again") {
			t.Errorf("foreign key %s: %q, %v", key, out, err)
		}
	}
}

// Each mistake in the settings is told, with what to do, and at once.
func TestDialErrors(t *testing.T) {
	e, plain := servers(t, 1, true), servers(t, 1, false)
	others, err := process.NewCertificates(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	right := external(e, "/x")
	for name, test := range map[string]struct {
		change func(*External)
		want   string
	}{
		"no server":              {func(x *External) { x.Servers = nil }, "no etcd server"},
		"no URL":                 {func(x *External) { x.Servers = []string{"localhost"} }, `"localhost" is not an address`},
		"a path":                 {func(x *External) { x.Servers = []string{"https://a:1/v3"} }, "is not a URL"},
		"another scheme":         {func(x *External) { x.Servers = []string{"ftp://a:1"} }, "is not a URL"},
		"http and https":         {func(x *External) { x.Servers = append([]string{"http://a:1"}, e.Servers...) }, "all be https or all http"},
		"key without cert":       {func(x *External) { x.CertFile = "" }, "must be given together"},
		"no such file":           {func(x *External) { x.CAFile = "/none" }, "/none"},
		"an authority without":   {func(x *External) { x.CAFile = x.KeyFile }, "holds no certificate"},
		"a key of another":       {func(x *External) { x.KeyFile = others.KeyFile }, "private key does not match"},
		"http with certificates": {func(x *External) { x.Servers = plain.Servers }, "without encryption"},
		"another authority":      {func(x *External) { x.CAFile = others.CAFile }, "not signed by the authority in --etcd-cafile"},
		"a certificate of another authority": {func(x *External) {
			x.CertFile, x.KeyFile = others.CertFile, others.KeyFile
		}, "does not accept the certificate in --etcd-certfile"},
		"no client certificate": {func(x *External) { x.CertFile, x.KeyFile = "", "" }, "asks for a client certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			x := right
			test.change(&x)
			began := time.Now()
			r, err := Dial(t.Context(), x)
			if err == nil {
				r.Close()
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error: %v", err)
			}
			if took := time.Since(began); took > dialWait/2 {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// Encryption on one side only looks like a server that is going away, so it is waited for; the error tells of it.
func TestDialSchemes(t *testing.T) {
	e, plain := servers(t, 1, true), servers(t, 1, false)
	encrypted := external(e, "/x")
	encrypted.Servers = []string{strings.Replace(plain.Servers[0], "http:", "https:", 1)}
	for want, x := range map[string]External{
		"does it want http://?":  encrypted,
		"does it want https://?": {Servers: []string{strings.Replace(e.Servers[0], "https:", "http:", 1)}, Root: "/"},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		x.Warn = func(string) { cancel() } // it has been tried in vain
		if _, err := Dial(ctx, x); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
		cancel()
	}
}

// A server that is not there yet is waited for; the operator is told, and the end of the wait says why.
func TestDialWaits(t *testing.T) {
	e := servers(t, 1, true)
	e.Kill(0)
	x := external(e, "/x")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := Dial(ctx, x); err == nil || !strings.Contains(err.Error(), "nothing listens there") || !strings.Contains(err.Error(), e.Servers[0]) {
		t.Fatalf("error: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	told, done := make(chan string, 100), make(chan error, 1)
	// One that has served before is waited for without an end.
	known := x
	known.Known, known.Warn = true, func(message string) { told <- message }
	go func() {
		r, err := Dial(ctx, known)
		if err == nil {
			r.Close()
		}
		done <- err
	}()
	if message := <-told; !strings.Contains(message, "nothing listens there") {
		t.Errorf("told: %s", message)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("a start that is stopped while it waits: %v", err)
	}
	go func() {
		r, err := Dial(t.Context(), x)
		if err == nil {
			r.Close()
		}
		done <- err
	}()
	if err := e.Restart(0); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// New certificates in the files are used for the next connection.
func TestCertificatesAreReadAgain(t *testing.T) {
	e := servers(t, 1, true)
	right := external(e, "/x")
	dir := t.TempDir()
	x := right
	x.CAFile, x.CertFile, x.KeyFile = filepath.Join(dir, "ca.crt"), filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	install := func(from External) {
		for to, file := range map[string]string{x.CAFile: from.CAFile, x.CertFile: from.CertFile, x.KeyFile: from.KeyFile} {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(to, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	install(right)
	r := dial(t, x)
	others, err := process.NewCertificates(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	wrong := x
	wrong.CAFile, wrong.CertFile, wrong.KeyFile = others.CAFile, others.CertFile, others.KeyFile
	install(wrong)
	e.Kill(0)
	if err := e.Restart(0); err != nil {
		t.Fatal(err)
	}
	for told := ""; !strings.Contains(told, "certificate"); {
		s := r.Servers(t.Context())
		if s[0].Err == nil {
			t.Fatal("a new connection used the old certificate")
		}
		told = s[0].Err.Error()
	}
	install(right)
	if _, err := r.Revision(t.Context()); err != nil {
		t.Fatalf("with the right certificate again: %v", err)
	}
	if s := r.Servers(t.Context()); s[0].Err != nil || s[0].Version != "3.7.3" {
		t.Fatalf("servers: %+v", s)
	}
}

// Servers are killed and stopped while clients write and watch: what was acknowledged is there, and the watch,
// taken up where it ended, misses nothing and repeats nothing.
func TestServersFail(t *testing.T) {
	e := servers(t, 3, true)
	r := dial(t, external(e, "/x"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	acknowledged := map[string]int64{}
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(acknowledged)
	}
	var writers sync.WaitGroup
	for writer := range 4 {
		writers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				key := fmt.Sprintf("/load/%d/%d", writer, n)
				revision, err := r.Create(t.Context(), key, []byte(key), 0)
				if err != nil && !errors.Is(err, store.ErrUnavailable) {
					t.Errorf("create: %v", err)
					return
				}
				if err == nil {
					mu.Lock()
					acknowledged[key] = revision
					mu.Unlock()
				}
			}
		})
	}
	more := func(n int) {
		t.Helper()
		for until, deadline := count()+n, time.Now().Add(30*time.Second); count() < until; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("no write succeeds any more")
			}
		}
	}
	seen := make(chan map[string]int64)
	go func() { seen <- watchAll(t, r, "/load/") }()
	more(100)
	e.Kill(0)
	more(100)
	if err := e.Restart(0); err != nil {
		t.Fatal(err)
	}
	more(100)
	if err := e.Signal(1, syscall.SIGSTOP); err != nil { // it keeps its connections and says nothing
		t.Fatal(err)
	}
	more(100)
	if err := e.Signal(1, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	more(100)
	cancel()
	writers.Wait()
	if _, err := r.Create(t.Context(), "/load/end", nil, 0); err != nil {
		t.Fatal(err)
	}
	watched := <-seen
	for key, revision := range acknowledged {
		entry, _, err := r.Get(t.Context(), key, 0)
		if err != nil || string(entry.Value) != key || entry.Revision != revision {
			t.Fatalf("%s was acknowledged at %d: %+v, %v", key, revision, entry, err)
		}
		if watched[key] != revision {
			t.Fatalf("%s was written at %d and watched at %d", key, revision, watched[key])
		}
	}
	t.Logf("%d writes acknowledged", len(acknowledged))
}

// watchAll watches from the beginning until the key "end", going on after each end of the watch.
func watchAll(t *testing.T, s store.Store, prefix string) map[string]int64 {
	seen := map[string]int64{}
	for next := int64(1); ; {
		w := s.Watch(t.Context(), prefix, store.WatchOptions{From: next})
		for b := range w.C() {
			for _, e := range b.Events {
				if e.Revision < next || seen[e.Key] != 0 {
					t.Errorf("%s at %d was delivered again", e.Key, e.Revision)
				}
				seen[e.Key] = e.Revision
			}
			next = max(next, b.Revision+1)
			if seen[prefix+"end"] != 0 {
				return seen
			}
		}
		if err := w.Err(); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("the watch ended: %v", err)
			return seen
		}
	}
}

// One of several servers compacts, in upstream's way; a store over another connection sees it.
func TestRemoteCompaction(t *testing.T) {
	e := servers(t, 1, true)
	x := external(e, "/x")
	x.CompactionInterval = 50 * time.Millisecond
	r := dial(t, x)
	first, err := r.Create(t.Context(), "/a", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		_, err := r.List(t.Context(), "/", store.ListOptions{Revision: first})
		if errors.Is(err, store.ErrCompacted) {
			break
		}
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("not compacted: %v", err)
		}
		if _, err := r.Create(t.Context(), fmt.Sprint("/n", time.Now().UnixNano()), nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := e.Ctl("get", compactionKey, "--print-value-only"); err != nil || strings.TrimSpace(out) == "" {
		t.Fatalf("the agreement: %q, %v", out, err)
	}
}

// With etcd's access control a master needs rights on its prefix alone. Without them, or when it is to end history, which
// needs more, the error says what to do.
func TestLimitedRights(t *testing.T) {
	e := servers(t, 1, true)
	allow := func(commands ...string) {
		t.Helper()
		for _, command := range commands {
			if _, err := e.Ctl(strings.Fields(command)...); err != nil {
				t.Fatal(err)
			}
		}
	}
	// The common name of the tests' certificate is test.
	allow("role add limited", "role grant-permission limited readwrite /x/ --prefix=true",
		"user add test --no-password", "user grant-role test limited", "user add root:secret", "user grant-role root root", "auth enable")
	x := external(e, "/x")
	x.CompactionInterval = 20 * time.Millisecond
	warned := make(chan string, 1)
	x.Warn = func(message string) {
		select {
		case warned <- message:
		default:
		}
	}
	r := dial(t, x)
	ctx := t.Context()
	w := r.Watch(ctx, "/", store.WatchOptions{Previous: true})
	first, err := r.Create(ctx, "/a", nil, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Update(store.WithFence(ctx, store.Fence{Key: "/a", Revision: first}), "/a", first, []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	for seen := false; !seen; {
		if err := w.Progress(ctx); err != nil {
			t.Fatal(err)
		}
		select {
		case b, ok := <-w.C():
			if !ok {
				t.Fatal(w.Err())
			}
			seen = b.Revision > first
		case <-time.After(20 * time.Millisecond):
		}
	}
	if message := <-warned; !strings.Contains(message, "--etcd-compaction-interval=0") {
		t.Errorf("warning: %s", message)
	}
	if r, err := Dial(ctx, external(e, "/y")); err == nil {
		r.Close()
		t.Fatal("a prefix without rights was served")
	} else if !strings.Contains(err.Error(), "all rights on the keys that begin with /y/") {
		t.Fatalf("error: %v", err)
	}
}
