package encryption

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/storage/value"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/encryption/plugintest"
	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
	"github.com/wheelhouse-k8s/wheelhouse/store/storetest"
)

const (
	secretKey = root + "secrets/default/a"
	secret    = "k8s\x00 the words that nobody may read"
)

// key is a base64 key of 32 bytes that all have one value.
func key(b byte) string { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, 32)) }

// config is a configuration for resources; each provider is "PROVIDER NAME:BYTE..." or identity.
func config(resources string, providers ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\nresources:\n- resources: [%s]\n  providers:\n", resources)
	for _, p := range providers {
		words := strings.Fields(p)
		switch {
		case p == "identity":
			b.WriteString("  - identity: {}\n")
		case strings.HasPrefix(p, "  - "):
			b.WriteString(p)
		default:
			fmt.Fprintf(&b, "  - %s:\n      keys:\n", words[0])
			for _, k := range words[1:] {
				name, value, _ := strings.Cut(k, ":")
				fmt.Fprintf(&b, "      - name: %s\n        secret: %s\n", name, key(value[0]))
			}
		}
	}
	return b.String()
}

// around puts encryption around a store.
func around(t *testing.T, inner store.Store, text string, change ...func(*Options)) *Store {
	t.Helper()
	o := Options{Store: inner, Kinds: api.Kinds(), File: filepath.Join(t.TempDir(), "config.yaml"), Reload: true, ID: "test"}
	for _, c := range change {
		c(&o)
	}
	rewriteFile(t, o.File, text)
	s, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func rewriteFile(t *testing.T, file, text string) {
	t.Helper()
	if err := WriteFile(file, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func raw(t *testing.T, s store.Store, key string) []byte {
	t.Helper()
	e, _, err := s.Get(t.Context(), key, 0)
	if err != nil {
		t.Fatal(err)
	}
	return e.Value
}

func create(t *testing.T, s store.Store, key, value string) int64 {
	t.Helper()
	revision, err := s.Create(t.Context(), key, []byte(value), 0)
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

// TestProviders: with every provider, what is stored has upstream's prefix and no word of the value, and every way of reading
// gives the value.
func TestProviders(t *testing.T) {
	plugin := plugintest.Start(t, "one")
	for _, c := range []struct{ provider, prefix string }{
		{"aescbc k1:1", "k8s:enc:aescbc:v1:k1:"},
		{"aesgcm k2:2", "k8s:enc:aesgcm:v1:k2:"},
		{"secretbox k3:3", "k8s:enc:secretbox:v1:k3:"},
		{plugin.Provider("vault", 2, 5*time.Second), "k8s:enc:kms:v2:vault:"},
		{"identity", secret},
	} {
		t.Run(c.prefix[:min(12, len(c.prefix))], func(t *testing.T) {
			inner := memory.New()
			s := around(t, inner, config("secrets", c.provider))
			created := create(t, s, secretKey, secret)
			stored := raw(t, inner, secretKey)
			if !bytes.HasPrefix(stored, []byte(c.prefix)) {
				t.Errorf("stored: %q", stored[:min(len(stored), 40)])
			}
			if c.provider != "identity" && bytes.Contains(stored, []byte("nobody")) {
				t.Error("the value is stored in plain")
			}
			wantForm := strings.TrimSuffix(c.prefix, ":")
			if f := FormOf(stored); c.provider != "identity" && !strings.HasSuffix(wantForm, ":"+f.Key) {
				t.Errorf("form %v", f)
			}
			if string(raw(t, s, secretKey)) != secret {
				t.Error("get does not give the value")
			}
			page, err := s.List(t.Context(), root, store.ListOptions{})
			if err != nil || len(page.Entries) != 1 || string(page.Entries[0].Value) != secret || page.Entries[0].Stale {
				t.Errorf("list: %+v, %v", page, err)
			}
			var lost *store.Conflict
			if _, err = s.Create(t.Context(), secretKey, nil, 0); !errors.As(err, &lost) || string(lost.Present.Value) != secret {
				t.Errorf("a lost race gives %v", err)
			}
			w := s.Watch(t.Context(), root, store.WatchOptions{From: created, Previous: true})
			if _, err := s.Update(t.Context(), secretKey, created, []byte(secret+"2"), 0); err != nil {
				t.Fatal(err)
			}
			var events []store.Event
			for len(events) < 2 {
				events = append(events, (<-w.C()).Events...)
			}
			if string(events[0].Value) != secret || string(events[1].Value) != secret+"2" || string(events[1].Prev.Value) != secret {
				t.Errorf("events: %+v", events)
			}
			create(t, s, root+"configmaps/default/a", secret)
			if string(raw(t, inner, root+"configmaps/default/a")) != secret {
				t.Error("another resource is encrypted")
			}
		})
	}
}

// TestUpstreamsBytes: upstream's transformers read what is stored here, and what they store is read here; with another prefix
// in etcd the value is bound to the key there.
func TestUpstreamsBytes(t *testing.T) {
	for _, realPrefix := range []string{root, "/other/prefix/"} {
		inner := memory.New()
		s := around(t, inner, config("secrets", "secretbox k:1", "aesgcm k:2", "aescbc k:3"), func(o *Options) {
			o.RealKey = func(key string) string { return realPrefix + strings.TrimPrefix(key, root) }
		})
		loaded, err := encryptionconfig.LoadEncryptionConfig(t.Context(), s.File(), false, "upstream")
		if err != nil {
			t.Fatal(err)
		}
		theirs := encryptionconfig.StaticTransformers(loaded.Transformers).TransformerForResource(schema.GroupResource{Resource: "secrets"})
		inEtcd := value.DefaultContext(realPrefix + "secrets/default/a")
		create(t, s, secretKey, secret)
		plain, stale, err := theirs.TransformFromStorage(t.Context(), raw(t, inner, secretKey), inEtcd)
		if err != nil || stale || string(plain) != secret {
			t.Errorf("upstream reads %q, %v, %v", plain, stale, err)
		}
		for n, provider := range []string{"aesgcm k:2", "aescbc k:3", "secretbox k:1"} {
			file := filepath.Join(t.TempDir(), "one.yaml")
			rewriteFile(t, file, config("secrets", provider))
			loaded, err := encryptionconfig.LoadEncryptionConfig(t.Context(), file, false, "upstream")
			if err != nil {
				t.Fatal(err)
			}
			name := fmt.Sprintf("secrets/default/theirs-%d", n)
			theirs := encryptionconfig.StaticTransformers(loaded.Transformers).TransformerForResource(schema.GroupResource{Resource: "secrets"})
			stored, err := theirs.TransformToStorage(t.Context(), []byte(secret), value.DefaultContext(realPrefix+name))
			if err != nil {
				t.Fatal(err)
			}
			create(t, inner, root+name, string(stored))
			e, _, err := s.Get(t.Context(), root+name, 0)
			if err != nil || string(e.Value) != secret || e.Stale != (provider != "secretbox k:1") {
				t.Errorf("%s: %+v, %v", provider, e, err)
			}
		}
	}
}

// TestMoved: a value that was put under another key cannot be read there.
func TestMoved(t *testing.T) {
	inner := memory.New()
	s := around(t, inner, config("secrets", "aesgcm k:1"))
	create(t, s, secretKey, secret)
	create(t, inner, secretKey+"2", string(raw(t, inner, secretKey)))
	if _, _, err := s.Get(t.Context(), secretKey+"2", 0); err == nil {
		t.Error("a moved value was read")
	}
}

// below is a store whose keys lie below a prefix of another.
type below struct {
	store.Store
	prefix string
}

func (b below) in(e store.Entry) store.Entry {
	e.Key = strings.TrimPrefix(e.Key, b.prefix)
	return e
}

func (b below) fence(ctx context.Context) context.Context {
	if f, ok := store.FenceOf(ctx); ok {
		f.Key = b.prefix + f.Key
		return store.WithFence(ctx, f)
	}
	return ctx
}

func (b below) conflict(err error) error {
	var lost *store.Conflict
	if errors.As(err, &lost) && lost.Present != nil {
		present := b.in(*lost.Present)
		return &store.Conflict{Present: &present}
	}
	return err
}

func (b below) Get(ctx context.Context, key string, revision int64) (store.Entry, int64, error) {
	e, at, err := b.Store.Get(ctx, b.prefix+key, revision)
	return b.in(e), at, err
}

func (b below) List(ctx context.Context, prefix string, o store.ListOptions) (store.Page, error) {
	if o.From != "" {
		o.From = b.prefix + o.From
	}
	page, err := b.Store.List(ctx, b.prefix+prefix, o)
	for n := range page.Entries {
		page.Entries[n] = b.in(page.Entries[n])
	}
	return page, err
}

func (b below) Create(ctx context.Context, key string, value []byte, ttl time.Duration) (int64, error) {
	revision, err := b.Store.Create(b.fence(ctx), b.prefix+key, value, ttl)
	return revision, b.conflict(err)
}

func (b below) Update(ctx context.Context, key string, expect int64, value []byte, ttl time.Duration) (int64, error) {
	revision, err := b.Store.Update(b.fence(ctx), b.prefix+key, expect, value, ttl)
	return revision, b.conflict(err)
}

func (b below) Delete(ctx context.Context, key string, expect int64) (int64, error) {
	revision, err := b.Store.Delete(b.fence(ctx), b.prefix+key, expect)
	return revision, b.conflict(err)
}

type belowWatch struct {
	store.Watch
	c chan store.Batch
}

func (w belowWatch) C() <-chan store.Batch { return w.c }

func (b below) Watch(ctx context.Context, prefix string, o store.WatchOptions) store.Watch {
	inner := b.Store.Watch(ctx, b.prefix+prefix, o)
	w := belowWatch{inner, make(chan store.Batch)}
	go func() {
		defer close(w.c)
		for batch := range inner.C() {
			for n := range batch.Events {
				batch.Events[n].Entry = b.in(batch.Events[n].Entry)
				if prev := batch.Events[n].Prev; prev != nil {
					inside := b.in(*prev)
					batch.Events[n].Prev = &inside
				}
			}
			select {
			case w.c <- batch:
			case <-ctx.Done():
				return
			}
		}
	}()
	return w
}

// Opening is the caller's business in this test's suite of stores, which encryption does itself.
type encrypting struct{ *Store }

func (e encrypting) Watch(ctx context.Context, prefix string, o store.WatchOptions) store.Watch {
	open := o.Open
	if open == nil {
		return e.Store.Watch(ctx, prefix, o)
	}
	o.Open = func(entry *store.Entry) {
		e.open(ctx, e.present.Load(), entry, false)
		open(entry)
	}
	return e.Store.Store.Watch(ctx, prefix, o)
}

// TestIsAStore: what is encrypted behaves as any store.
func TestIsAStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		return below{encrypting{around(t, memory.New(), config("secrets", "secretbox k:1"))}, root + "secrets"}
	})
}

// TestResources: which keys are encrypted, as upstream finds it.
func TestResources(t *testing.T) {
	keys := map[string]string{
		"secrets": root + "secrets/default/a", "pods": root + "pods/default/a", "deployments": root + "deployments/default/a",
		"crd": root + "apiextensions.k8s.io/customresourcedefinitions/a", "custom": root + "example.com/things/default/a",
		"other": root + "example.com/others/default/a", "ports": root + "ranges/servicenodeports",
		"ours": root + "wheelhouse/encryption", "foreign": "/elsewhere/a", "leases": root + "masterleases/10.0.0.1",
	}
	for _, c := range []struct{ resources, want string }{
		{"secrets", "secrets"},
		{"secrets, pods, deployments.apps", "deployments pods secrets"},
		{"deployments", ""},
		{"'*.apps'", "deployments"},
		{"'*.'", "leases pods ports secrets"},
		{"things.example.com", "custom"},
		{"'*.example.com'", "custom other"},
		{"'*.*'", "crd custom deployments leases other pods ports secrets"},
	} {
		inner := memory.New()
		s := around(t, inner, config(c.resources, "aesgcm k:1"))
		var got []string
		for _, name := range []string{"crd", "custom", "deployments", "foreign", "leases", "other", "ours", "pods", "ports", "secrets"} {
			create(t, s, keys[name], secret)
			if FormOf(raw(t, inner, keys[name])) != Plain {
				got = append(got, name)
			}
			if string(raw(t, s, keys[name])) != secret {
				t.Errorf("%s: %s cannot be read", c.resources, name)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, want %q", c.resources, got, c.want)
		}
	}
}

// TestRefused: configurations that upstream refuses.
func TestRefused(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"kms v1":       {config("secrets", "  - kms:\n      apiVersion: v1\n      name: old\n      endpoint: unix:///nowhere.sock\n"), "KMSv1 is deprecated"},
		"short key":    {strings.Replace(config("secrets", "secretbox k:1"), key('1'), "c2hvcnQ=", 1), "secret is not of the expected length"},
		"masked":       {config("'*.*', secrets", "identity"), "overlap"},
		"no providers": {config("secrets"), "providers"},
		"empty":        {"", "is empty"},
		"foreign":      {"kind: Pod\napiVersion: v1\n", "no kind"},
		"field":        {config("secrets", "identity") + "more: true\n", "unknown field"},
	} {
		file := filepath.Join(t.TempDir(), "c.yaml")
		rewriteFile(t, file, c.text)
		_, err := New(t.Context(), Options{Store: memory.New(), Kinds: api.Kinds(), File: file})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWrongKey: what cannot be decrypted is sealed, with upstream's words; everything else is read.
func TestWrongKey(t *testing.T) {
	inner := memory.New()
	create(t, around(t, inner, config("secrets", "secretbox k:1")), secretKey, secret)
	create(t, inner, root+"pods/default/a", "k8s:enc:secretbox:v1:k:who knows")
	create(t, inner, root+"configmaps/default/a", "plain")
	for name, text := range map[string]string{
		"another key":  config("secrets", "secretbox k:2"),
		"another name": config("secrets", "secretbox other:1"),
		"plain only":   config("secrets", "identity"),
		"not at all":   config("configmaps", "aescbc k:1", "identity"),
	} {
		s := around(t, inner, text)
		e, _, err := s.Get(t.Context(), secretKey, 0)
		if err == nil || !strings.HasPrefix(err.Error(), `unable to transform key "`+secretKey+`": `) || e.Revision == 0 {
			t.Errorf("%s: get gives %+v, %v", name, e, err)
		}
		page, err := s.List(t.Context(), root, store.ListOptions{})
		if err != nil || len(page.Entries) != 3 {
			t.Fatalf("%s: list: %v", name, err)
		}
		if page.Entries[0].Sealed != nil || string(page.Entries[0].Value) != "plain" {
			t.Errorf("%s: %+v", name, page.Entries[0])
		}
		if page.Entries[1].Sealed == nil || page.Entries[2].Sealed == nil || !bytes.HasPrefix(page.Entries[2].Value, encrypted) {
			t.Errorf("%s: not sealed: %+v", name, page.Entries[1:])
		}
	}
}

// TestStale: what another writer wrote is told from what a write would give.
func TestStale(t *testing.T) {
	inner := memory.New()
	create(t, inner, root+"secrets/default/plain", secret)
	create(t, around(t, inner, config("secrets", "secretbox old:1")), root+"secrets/default/old", secret)
	s := around(t, inner, config("secrets", "secretbox new:2 old:1", "identity"))
	create(t, s, root+"secrets/default/new", secret)
	for name, want := range map[string]bool{"plain": true, "old": true, "new": false} {
		e, _, err := s.Get(t.Context(), root+"secrets/default/"+name, 0)
		if err != nil || e.Stale != want {
			t.Errorf("%s: stale %v, %v", name, e.Stale, err)
		}
	}
	if s.StaleSeen() {
		t.Error("stale values were seen before anything was listed")
	}
	usage, err := s.Survey(t.Context())
	if err != nil || len(usage) != 1 {
		t.Fatal(usage, err)
	}
	if u := usage[0]; u.Stale != 2 || u.Unreadable != 0 || u.Writes.String() != "secretbox:new" || u.Stored["identity"] != 1 || u.Stored["secretbox:old"] != 1 {
		t.Errorf("survey: %+v", u)
	}
	if _, err := s.List(t.Context(), root, store.ListOptions{}); err != nil || !s.StaleSeen() {
		t.Errorf("stale values were not seen: %v", err)
	}
}
