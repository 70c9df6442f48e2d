package master

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/metrics"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// measured is a store whose requests are counted and timed by operation and resource.
type measured struct {
	store.Store
	// byPrefix of the keys, with slashes at both ends.
	byPrefix *kind.Derived[map[string]*operations]
}

// operations are the counters of one resource.
type operations struct{ get, list, create, update, delete metrics.Store }

func measure(s store.Store, m *metrics.Metrics, catalog *kind.Catalog) store.Store {
	return &measured{s, kind.Derive(catalog, func(now *kind.Kinds, before map[string]*operations) map[string]*operations {
		byPrefix := map[string]*operations{}
		for _, k := range now.All() {
			if !k.Stored() {
				continue
			}
			if byPrefix[k.StoragePrefix] = before[k.StoragePrefix]; byPrefix[k.StoragePrefix] == nil {
				of := func(v kind.Verb) metrics.Store { return m.Store(string(v), k.GVK.Group, k.Plural) }
				byPrefix[k.StoragePrefix] = &operations{of(kind.Get), of(kind.List), of(kind.Create), of(kind.Update), of(kind.Delete)}
			}
		}
		return byPrefix
	})}
}

// of finds the counters of a key: its resource is the first or the first two parts below the root.
func (m *measured) of(key string) *operations {
	rest, ok := strings.CutPrefix(key, registry.Root)
	if !ok {
		return nil
	}
	first := strings.IndexByte(rest, '/')
	if first < 0 {
		return nil
	}
	end, byPrefix := len(registry.Root)+first+1, m.byPrefix.Get()
	if o := byPrefix[key[:end]]; o != nil {
		return o
	}
	second := strings.IndexByte(key[end:], '/')
	if second < 0 {
		return nil
	}
	return byPrefix[key[:end+second+1]]
}

// done counts a request. A lost race and a missing key are answers, not errors.
func (o *operations) done(counter func(*operations) metrics.Store, begun time.Time, err error) {
	if o == nil {
		return
	}
	var conflict *store.Conflict
	if errors.As(err, &conflict) || errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	counter(o).Done(time.Since(begun), err)
}

func (m *measured) Get(ctx context.Context, key string, revision int64) (store.Entry, int64, error) {
	begun := time.Now()
	e, at, err := m.Store.Get(ctx, key, revision)
	m.of(key).done(func(o *operations) metrics.Store { return o.get }, begun, err)
	return e, at, err
}

func (m *measured) List(ctx context.Context, prefix string, opts store.ListOptions) (store.Page, error) {
	begun := time.Now()
	p, err := m.Store.List(ctx, prefix, opts)
	m.of(prefix).done(func(o *operations) metrics.Store { return o.list }, begun, err)
	return p, err
}

func (m *measured) Create(ctx context.Context, key string, value []byte, ttl time.Duration) (int64, error) {
	begun := time.Now()
	revision, err := m.Store.Create(ctx, key, value, ttl)
	m.of(key).done(func(o *operations) metrics.Store { return o.create }, begun, err)
	return revision, err
}

func (m *measured) Update(ctx context.Context, key string, expect int64, value []byte, ttl time.Duration) (int64, error) {
	begun := time.Now()
	revision, err := m.Store.Update(ctx, key, expect, value, ttl)
	m.of(key).done(func(o *operations) metrics.Store { return o.update }, begun, err)
	return revision, err
}

func (m *measured) Delete(ctx context.Context, key string, expect int64) (int64, error) {
	begun := time.Now()
	revision, err := m.Store.Delete(ctx, key, expect)
	m.of(key).done(func(o *operations) metrics.Store { return o.delete }, begun, err)
	return revision, err
}
