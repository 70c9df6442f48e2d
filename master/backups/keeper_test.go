package backups

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/robfig/cron/v3"
	"k8s.io/client-go/rest"

	"github.com/wheelhouse-k8s/wheelhouse/admin"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/metrics"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/pki"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
	"github.com/wheelhouse-k8s/wheelhouse/registry/notes"
	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/backup"
	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

// newBackups are those of a master whose store holds one object; the vaults are folders, some of which may be gone.
func newBackups(t *testing.T, vaults ...string) *Backups {
	t.Helper()
	dir := t.TempDir()
	member, err := etcd.Open(t.Context(), etcd.Options{Dir: filepath.Join(dir, "etcd"), CompactionInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { member.Close() })
	if _, err := member.Create(t.Context(), registry.Root+"configmaps/default/c", []byte(`{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"c"}}`), 0); err != nil {
		t.Fatal(err)
	}
	authority, err := pki.New(pki.Options{Hostname: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	plan := Plan{Schedule: "@daily", WithoutKeys: true, Retention: backup.Retention{Last: 1}}
	for _, vault := range vaults {
		v, err := backup.NewFolder(vault)
		if err != nil {
			t.Fatal(err)
		}
		plan.Vaults = append(plan.Vaults, v)
	}
	return New(Options{
		Plan: plan, DataDir: dir, Self: "one", Store: member, Raw: member, Authority: authority, Metrics: metrics.New(metrics.Options{Catalog: kind.NewCatalog(nil)}).Backups,
		KeysFile: filepath.Join(dir, datafolder.EncryptionFile), KeysName: datafolder.EncryptionFile,
		System: func() (string, error) { return "uid", nil }, Log: t.Logf, Warn: t.Logf,
	})
}

// TestKeeper: a term makes what is due, notes it, and goes on where the last one ended; what fails is noted, tried again, and drives out
// nothing that is good.
func TestKeeper(t *testing.T) {
	vault := filepath.Join(t.TempDir(), "vault")
	b := newBackups(t, vault)
	schedule, err := cron.ParseStandard(b.Schedule)
	if err != nil {
		t.Fatal(err)
	}
	term := func() *keeper {
		return &keeper{Backups: b, schedule: schedule, events: client.NewRecorder(nil, "test")}
	}
	good := func() (names []string) {
		all, err := backup.List(t.Context(), b.Vaults[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range all {
			if one.State == backup.Good {
				names = append(names, one.Name)
			}
		}
		return names
	}
	record := func() *backup.Record {
		r, _, err := b.readRecord(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first := term()
	if wait := first.step(t.Context()); wait <= 0 || record().Served.IsZero() {
		t.Errorf("a schedule that begins waits %v, served %v", wait, record().Served)
	}
	first.served = time.Now().AddDate(0, 0, -3)
	if first.step(t.Context()); len(good()) != 1 || record().Success == nil || record().Success.Name != good()[0] {
		t.Fatalf("there are %v, and noted is %+v", good(), record())
	}
	// The next term knows that it is done.
	if wait := term().step(t.Context()); wait <= 0 || len(good()) != 1 {
		t.Errorf("the next term waits %v, and there are %v", wait, good())
	}
	// A vault that is gone fails the next one; the store's copy of the record may be torn meanwhile.
	kept := good()[0]
	if err := errors.Join(os.Rename(vault, vault+"-gone"), os.WriteFile(vault, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	second := term()
	second.step(t.Context())
	second.served = time.Now().AddDate(0, 0, -1)
	if second.step(t.Context()); record().Failure == nil || second.retry.IsZero() {
		t.Errorf("without a vault: %+v", record())
	}
	e, _, err := b.Store.Get(t.Context(), notes.Backup, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Store.Update(t.Context(), notes.Backup, e.Revision, []byte(`{"succ`), 0); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(vault), os.Rename(vault+"-gone", vault)); err != nil {
		t.Fatal(err)
	}
	second.retry = time.Now()
	if second.step(t.Context()); record().Success == nil || record().Success.Name == kept || !slices.Contains(good(), record().Success.Name) {
		t.Errorf("after the failure there are %v, of which %s was kept, and noted is %+v", good(), kept, record())
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := second.run(ended, time.Now()); !errors.Is(err, context.Canceled) {
		t.Errorf("a term that ends: %v", err)
	}
}

// TestSource: a master shows what it is the source of, to who may have it, and a copy that breaks off is none.
func TestSource(t *testing.T) {
	b := newBackups(t)
	server := httptest.NewServer(admin.Mux(b.Commands()))
	defer server.Close()
	c, err := admin.NewClient(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	var a Answer
	if err := c.Get(t.Context(), "backup", &a); err != nil || a.Cluster != "uid" || a.Size == 0 || a.Record == nil || a.Prefix != registry.Root {
		t.Errorf("%+v, %v", a, err)
	}
	// Keys and signatures are for masters and administrators, who prove it.
	for _, path := range []string{"backup/keys", "backup/sign"} {
		if err := c.Post(t.Context(), path, map[string]string{}, nil); err == nil || !strings.Contains(err.Error(), "only masters") {
			t.Errorf("%s: %v", path, err)
		}
	}
	var counted backup.Counted
	census := backup.Census{Keys: []string{registry.Root + "configmaps/default/c", registry.Root + "configmaps/default/none"}}
	if census.Revision, err = b.Store.Revision(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.Post(t.Context(), "backup/count", census, &counted); err != nil || !counted.Known || counted.Objects != 1 || len(counted.Hashes) != 1 {
		t.Errorf("%+v, %v", counted, err)
	}
	if err := c.Post(t.Context(), "backup/count", backup.Census{Keys: make([]string, censusKeysMax+1)}, nil); err == nil {
		t.Error("any number of keys is looked up")
	}
	body, err := c.Open(t.Context(), http.MethodPost, "backup/snapshot", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if data, err := io.ReadAll(body); err != nil || int64(len(data)) < a.Size {
		t.Errorf("a copy of %d bytes, of %d: %v", len(data), a.Size, err)
	}
	b.Raw = breaks{b.Raw}
	broken, err := c.Open(t.Context(), http.MethodPost, "backup/snapshot", nil)
	if err == nil {
		defer broken.Close()
		_, err = io.ReadAll(broken)
	}
	if err == nil {
		t.Error("half a copy was taken for one")
	}
	s := memory.New()
	defer s.Close()
	b.Raw = s
	if _, err := c.Open(t.Context(), http.MethodPost, "backup/snapshot", nil); err == nil || !strings.Contains(err.Error(), "in memory only") {
		t.Errorf("a store in memory: %v", err)
	}
	if err := c.Post(t.Context(), "backup/outcome", backup.Outcome{Name: "x", Time: time.Now()}, nil); err != nil {
		t.Error(err)
	}
	if r, _, err := b.readRecord(t.Context()); err != nil || r.Success == nil || r.Success.Name != "x" {
		t.Errorf("%+v, %v", r, err)
	}
}

// breaks is a store whose copies break off.
type breaks struct{ store.Store }

func (breaks) Snapshot(context.Context) (io.ReadCloser, int64, error) {
	return io.NopCloser(io.MultiReader(strings.NewReader(strings.Repeat("x", snapshotChunk+1)), failing{})), 2 * snapshotChunk, nil
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("the disk fails") }

// TestSigned: who signs is known by the cluster's keys, and by no others.
func TestSigned(t *testing.T) {
	b := newBackups(t)
	if err := os.WriteFile(b.KeysFile, []byte("keys"), 0o600); err != nil {
		t.Fatal(err)
	}
	keys, err := b.Keys(t.Context())
	if err != nil || string(keys[datafolder.EncryptionFile]) != "keys" || keys["pki/ca.key"] == nil {
		t.Errorf("%d files, %v", len(keys), err)
	}
	o, err := b.Origin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if name, err := SignerOf(keys); err != nil || name != o.Signer {
		t.Errorf("%s signs, and it is %s: %v", o.Signer, name, err)
	}
	keys["pki/sa.key"] = []byte("torn")
	if _, err := SignerOf(keys); err == nil {
		t.Error("a torn key names a signer")
	}
	for cluster, want := range map[string]bool{o.Cluster: true, "another": false} {
		manifest, err := json.Marshal(backup.Manifest{Cluster: cluster, Prefix: o.Prefix, Version: o.Version, Signer: o.Signer})
		if err != nil {
			t.Fatal(err)
		}
		if signature, err := b.Sign(t.Context(), manifest); (err == nil && signature != "") != want {
			t.Errorf("of %s: %q, %v", cluster, signature, err)
		}
	}
	for name, want := range map[string]bool{"pki/ca.key": true, datafolder.EncryptionFile: true, "pki/etcd/ca.key": true, "pki/../identity": false, "pki/": false, "pki//x": false, "../x": false, "/etc/passwd": false, "identity": false} {
		if err := CheckKeyName(name); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}
