package encryption

import (
	"context"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/wheelhouse-k8s/wheelhouse/durable"
	"github.com/wheelhouse-k8s/wheelhouse/encryption/plugintest"
	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

const patience = 20 * time.Second

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// TestFollow: changes of the file take effect without a restart; a file that cannot be used leaves things as they are, and is
// complained of once.
func TestFollow(t *testing.T) {
	inner := memory.New()
	var changes, complaints atomic.Int64
	s := around(t, inner, config("secrets", "secretbox one:1"), func(o *Options) {
		o.ID, o.Changed = "follow", func() { changes.Add(1) }
	})
	create(t, s, root+"secrets/default/one", secret)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Follow(ctx, time.Millisecond, func(err error) {
			if !strings.Contains(err.Error(), s.File()) {
				t.Errorf("the complaint does not name the file: %v", err)
			}
			complaints.Add(1)
		})
	}()
	rewriteFile(t, s.File(), "nonsense: [")
	eventually(t, "a complaint", func() bool { return complaints.Load() == 1 })
	create(t, s, root+"secrets/default/still", secret)
	if f := FormOf(raw(t, inner, root+"secrets/default/still")); f.Key != "one" {
		t.Errorf("written as %s", f)
	}
	rewriteFile(t, s.File(), config("secrets, configmaps", "aesgcm two:2", "secretbox one:1"))
	eventually(t, "the change", func() bool { return changes.Load() == 1 })
	create(t, s, root+"configmaps/default/two", secret)
	if f := FormOf(raw(t, inner, root+"configmaps/default/two")); f.String() != "aesgcm:two" {
		t.Errorf("written as %s", f)
	}
	e, _, err := s.Get(t.Context(), root+"secrets/default/one", 0)
	if err != nil || !e.Stale {
		t.Errorf("the old value: %+v, %v", e, err)
	}
	cancel()
	<-ended
	if n := complaints.Load(); n != 1 {
		t.Errorf("%d complaints", n)
	}
	if checks := s.Checks(); len(checks) != 1 || checks[0].Name != "kms-providers" || checks[0].Check(&http.Request{}) != nil {
		t.Errorf("checks: %v", checks)
	}
	counted(t, "apiserver_encryption_config_controller_automatic_reloads_total", "success", "failure")
	counted(t, "apiserver_encryption_config_controller_last_config_info", s.Hash())
}

// counted looks for a metric with label values.
func counted(t *testing.T, name string, labels ...string) {
	t.Helper()
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range labels {
		found := false
		for _, f := range families {
			for _, m := range f.GetMetric() {
				for _, l := range m.GetLabel() {
					found = found || f.GetName() == name && l.GetValue() == want
				}
			}
		}
		if !found {
			t.Errorf("metric %s with %s is missing", name, want)
		}
	}
}

// TestReloadWaitsForWrites: when a reload has returned, nothing is stored any more under the former configuration.
func TestReloadWaitsForWrites(t *testing.T) {
	inner := &slow{Store: memory.New(), begun: make(chan struct{}), goOn: make(chan struct{})}
	s := around(t, inner, config("secrets", "secretbox one:1", "identity"))
	go s.Create(t.Context(), secretKey, []byte(secret), 0)
	<-inner.begun
	rewriteFile(t, s.File(), config("secrets", "secretbox two:2 one:1", "identity"))
	reloaded := make(chan error)
	go func() { reloaded <- s.Reload(t.Context()) }()
	eventually(t, "the new configuration", func() bool { return s.present.Load().writing.Load() == 0 })
	select {
	case <-reloaded:
		t.Error("the reload did not wait")
	case <-time.After(20 * time.Millisecond):
	}
	close(inner.goOn)
	if err := <-reloaded; err != nil {
		t.Fatal(err)
	}
	if f := FormOf(raw(t, inner, secretKey)); f.Key != "one" {
		t.Errorf("stored as %s", f)
	}
}

// slow holds the first creation up.
type slow struct {
	store.Store
	begun, goOn chan struct{}
}

func (s *slow) Create(ctx context.Context, key string, value []byte, ttl time.Duration) (int64, error) {
	close(s.begun)
	<-s.goOn
	return s.Store.Create(ctx, key, value, ttl)
}

// TestPluginAway: while a plugin does not answer, values under keys that are not known yet cannot be read, new ones cannot be
// written, and everything else works without waiting for it; when it is back, all works.
func TestPluginAway(t *testing.T) {
	plugin := plugintest.Start(t, "one")
	text := config("secrets", plugin.Provider("vault", 2, 300*time.Millisecond), "identity")
	inner := memory.New()
	before := around(t, inner, text)
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		create(t, before, root+"secrets/default/"+name, secret)
	}
	create(t, inner, root+"pods/default/a", "plain")
	s := around(t, inner, text)
	plugin.Leave()
	begun := time.Now()
	page, err := s.List(t.Context(), root, store.ListOptions{})
	if err != nil || len(page.Entries) != 9 || page.Entries[0].Sealed != nil {
		t.Fatalf("list: %+v, %v", page, err)
	}
	for _, e := range page.Entries[1:] {
		if e.Sealed == nil || !strings.Contains(e.Sealed.Error(), e.Key) {
			t.Errorf("%s: %v", e.Key, e.Sealed)
		}
	}
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("listing took %s: the mirror stands still so long", took)
	}
	create(t, s, root+"pods/default/b", "plain")
	if _, err := s.Survey(t.Context()); err == nil {
		t.Error("a survey counts what it cannot see")
	}
	if err := s.Rewrite(t.Context(), nil); err == nil {
		t.Error("a rewrite without the plugin succeeds")
	}

	late := around(t, inner, text) // it starts while the plugin is away
	if _, err := late.Create(t.Context(), root+"secrets/default/new", []byte(secret), 0); err == nil || !strings.Contains(err.Error(), "unable to encrypt") {
		t.Errorf("create: %v", err)
	}
	check := late.Checks()[0]
	request, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "/healthz/kms-providers", nil)
	if err := check.Check(request); err == nil || check.Name != "kms-providers" || !strings.Contains(err.Error(), "kms-provider-0") {
		t.Errorf("check %s: %v", check.Name, err)
	}

	plugin.Return()
	eventually(t, "reading", func() bool {
		e, _, err := s.Get(t.Context(), root+"secrets/default/a", 0)
		return err == nil && string(e.Value) == secret
	})
	page, err = s.List(t.Context(), root+"secrets/", store.ListOptions{})
	for _, e := range page.Entries {
		if e.Sealed != nil {
			t.Errorf("%s is still sealed: %v, %v", e.Key, e.Sealed, err)
		}
	}
	eventually(t, "the check", func() bool { return check.Check(request) == nil })
	create(t, late, root+"secrets/default/new", secret)
}

// TestPluginChangesKey: after a plugin has got a new key and the configuration was read again, values under the old one are
// stale, and a rewrite brings them under the new.
func TestPluginChangesKey(t *testing.T) {
	plugin := plugintest.Start(t, "one")
	text := config("secrets", plugin.Provider("vault", 2, 5*time.Second), "identity")
	s := around(t, memory.New(), text)
	create(t, s, secretKey, secret)
	plugin.UseKey("two")
	rewriteFile(t, s.File(), text+"# again\n")
	if err := s.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	usage, err := s.Survey(t.Context())
	if err != nil || usage[0].Stale != 1 || usage[0].Stored["kms:vault"] != 1 {
		t.Fatalf("%+v, %v", usage, err)
	}
	if err := s.Rewrite(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if usage, err = s.Survey(t.Context()); err != nil || usage[0].Stale != 0 || string(raw(t, s, secretKey)) != secret {
		t.Errorf("%+v, %v", usage, err)
	}
}

// TestReloadNeedsPlugins: a configuration whose plugin does not answer does not come into force.
func TestReloadNeedsPlugins(t *testing.T) {
	s := around(t, memory.New(), config("secrets", "secretbox one:1"))
	hash := s.Hash()
	plugin := plugintest.Start(t, "one")
	plugin.Leave()
	rewriteFile(t, s.File(), config("secrets", plugin.Provider("vault", 2, 50*time.Millisecond), "secretbox one:1"))
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if err := s.Reload(ctx); err == nil || !strings.Contains(err.Error(), "do not work") || s.Hash() != hash {
		t.Errorf("%v, in force: %s", err, s.Hash())
	}
}

// TestRewriteOfExpiring: an object that expires still does after it was rewritten.
func TestRewriteOfExpiring(t *testing.T) {
	inner := memory.New()
	event := root + "events/default/a"
	if _, err := inner.Create(t.Context(), event, []byte(secret), time.Hour); err != nil {
		t.Fatal(err)
	}
	expiring := &times{Store: inner}
	s := around(t, expiring, config("events", "secretbox one:1", "identity"), func(o *Options) { o.EventTTL = 100 * time.Millisecond })
	if err := s.Rewrite(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(expiring.seen, []time.Duration{100 * time.Millisecond}) {
		t.Errorf("rewritten with %v", expiring.seen)
	}
	eventually(t, "its end", func() bool {
		_, _, err := inner.Get(t.Context(), event, 0)
		return err != nil
	})
}

// times notes how long updated values are to live.
type times struct {
	store.Store
	seen []time.Duration
}

func (s *times) Update(ctx context.Context, key string, expect int64, value []byte, ttl time.Duration) (int64, error) {
	s.seen = append(s.seen, ttl)
	return s.Store.Update(ctx, key, expect, value, ttl)
}

// TestInstall: what another master has published is checked before it is written.
func TestInstall(t *testing.T) {
	s := around(t, memory.New(), config("secrets", "secretbox key1:1", "identity"))
	if err := s.Install(t.Context(), []byte(config("pods", "identity"))); err == nil {
		t.Error("a foreign configuration was installed")
	}
	if err := s.Install(t.Context(), []byte(config("secrets", "secretbox key2:2 key1:1", "identity"))); err != nil {
		t.Fatal(err)
	}
	if sections := s.Sections(); sections[0].Forms[0].Key != "key2" {
		t.Errorf("%v", sections)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(s.File()), durable.TemporaryPrefix+"*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
