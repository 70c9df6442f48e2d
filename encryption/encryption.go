// Package encryption keeps objects encrypted in the cluster store, as upstream's EncryptionConfiguration says: a store.Store
// around another that encrypts what is written and decrypts what is read.
//
// The transformers are those of k8s.io/apiserver, so the stored bytes are upstream's: "k8s:enc:", provider, key name, and the
// sealed value, with the key in etcd as authenticated data. Kinds that are not encrypted cost one look into a map.
package encryption

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig/metrics"
	"k8s.io/apiserver/pkg/storage/value"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// Options of New.
type Options struct {
	// Store that keeps the encrypted values.
	Store store.Store
	Kinds []*kind.Kind
	// EventTTL is how long objects of kinds that expire are kept; 0 leaves it to the kind.
	EventTTL time.Duration
	// File holds the EncryptionConfiguration.
	File string
	// Reload tells that the file may be loaded again; then exactly one health check stands for all plugins.
	Reload bool
	// ID of this master, which upstream's metrics show hashed.
	ID string
	// RealKey is the key in etcd of a key of the store, which is what a value is bound to; nil if they are the same.
	RealKey func(key string) string
	// Changed is called after another configuration has taken effect; nil for nobody.
	Changed func()
}

// Store encrypts and decrypts. Its methods are safe for concurrent use.
type Store struct {
	store.Store
	o    Options
	life context.Context // of the plugins' connections

	present atomic.Pointer[rules]

	loading sync.Mutex // held while a configuration is loaded

	stale  atomic.Bool // List has seen stale values
	failed atomic.Bool // a value could not be encrypted or decrypted
}

// encrypted begins every stored value that is encrypted.
var encrypted = []byte("k8s:enc:")

// errNoProvider is upstream's text for an encrypted value of a resource that the configuration does not mention.
var errNoProvider = errors.New("identity transformer tried to read encrypted data")

// New loads the configuration. The plugins that it names are called until ctx ends.
func New(ctx context.Context, o Options) (*Store, error) {
	if o.RealKey == nil {
		o.RealKey = func(key string) string { return key }
	}
	if o.Changed == nil {
		o.Changed = func() {}
	}
	s := &Store{Store: o.Store, o: o, life: ctx}
	r, err := s.load(ctx)
	if err != nil {
		return nil, err
	}
	s.present.Store(r)
	metrics.RecordEncryptionConfigLastConfigInfo(o.ID, s.Hash())
	return s, nil
}

// Raw is the store that keeps the encrypted values.
func (s *Store) Raw() store.Store { return s.Store }

// Check is a health check under upstream's name.
type Check struct {
	Name  string
	Check func(*http.Request) error
}

// Checks are the health checks of the plugins. There is none without plugins, unless the configuration may be reloaded.
func (s *Store) Checks() []Check {
	var checks []Check
	for n, c := range s.present.Load().config.HealthChecks {
		checks = append(checks, Check{Name: c.Name(), Check: func(r *http.Request) error {
			var now []healthz.HealthChecker = s.present.Load().config.HealthChecks
			if n >= len(now) {
				return nil
			}
			return now[n].Check(r)
		}})
	}
	return checks
}

// File holds the configuration.
func (s *Store) File() string { return s.o.File }

// StaleSeen tells whether a list has met values that a write would store in another form.
func (s *Store) StaleSeen() bool { return s.stale.Load() }

// Failed tells whether there ever was a value that could not be encrypted or decrypted.
func (s *Store) Failed() bool { return s.failed.Load() }

// Hash of the configuration in use.
func (s *Store) Hash() string { return s.present.Load().config.EncryptionFileContentHash }

// Breaking: a plugin that does not answer lets every value wait for its time-out. The mirror, which reads all values one after
// another, would stand still; so after a time-out its reads of that resource fail at once for a while.
const breakFor = 10 * time.Second

// open decrypts an entry in place.
func (s *Store) open(ctx context.Context, rules *rules, e *store.Entry, patient bool) {
	r := rules.of(e.Key)
	if r == nil {
		if bytes.HasPrefix(e.Value, encrypted) {
			e.Sealed = sealed(e.Key, errNoProvider)
		}
		return
	}
	if b := r.broken.Load(); b != nil && !patient && time.Now().Before(b.until) && bytes.HasPrefix(e.Value, encrypted) {
		e.Sealed = sealed(e.Key, b.err)
		return
	}
	plain, stale, err := r.transformer.TransformFromStorage(ctx, e.Value, value.DefaultContext(s.o.RealKey(e.Key)))
	switch {
	case err == nil:
		e.Value, e.Stale = plain, stale
		if patient && r.broken.Load() != nil {
			r.broken.Store(nil)
		}
		return
	case isTimeout(err):
		r.broken.Store(&broken{time.Now().Add(breakFor), err})
	}
	e.Sealed = sealed(e.Key, err)
	s.failed.Store(true)
}

// broken is why a resource's values are not decrypted for a while.
type broken struct {
	until time.Time
	err   error
}

func isTimeout(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	code := status.Code(err)
	return code == codes.DeadlineExceeded || code == codes.Unavailable
}

// sealed is upstream's text.
func sealed(key string, err error) error {
	return fmt.Errorf("unable to transform key %q: %w", key, err)
}

// write encrypts a value for a key, and calls put with the result.
func (s *Store) write(ctx context.Context, key string, plain []byte, put func(stored []byte) (int64, error)) (int64, error) {
	rules := s.writer()
	defer rules.writing.Add(-1)
	r := rules.of(key)
	stored := plain
	if r != nil {
		var err error
		if stored, err = r.transformer.TransformToStorage(ctx, plain, value.DefaultContext(s.o.RealKey(key))); err != nil {
			s.failed.Store(true)
			return 0, fmt.Errorf("unable to encrypt key %q: %w", key, err)
		}
	}
	revision, err := put(stored)
	return revision, s.conflict(ctx, err)
}

// writer gives the rules in force, for a write that change waits for.
func (s *Store) writer() *rules {
	for {
		r := s.present.Load()
		r.writing.Add(1)
		if s.present.Load() == r {
			return r
		}
		r.writing.Add(-1) // others are in force now
	}
}

// Decrypt opens a stored value, for those who read it past the store (backups).
func (s *Store) Decrypt(ctx context.Context, key string, stored []byte) ([]byte, error) {
	e := store.Entry{Key: key, Value: stored}
	s.open(ctx, s.present.Load(), &e, true)
	if e.Sealed != nil {
		return nil, e.Sealed
	}
	return e.Value, nil
}

// Get implements store.Store. A value that cannot be decrypted is an error; the entry then holds its revision and the
// stored bytes.
func (s *Store) Get(ctx context.Context, key string, revision int64) (store.Entry, int64, error) {
	e, at, err := s.Store.Get(ctx, key, revision)
	if err == nil {
		s.open(ctx, s.present.Load(), &e, true)
		err = e.Sealed
	}
	return e, at, err
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string, o store.ListOptions) (store.Page, error) {
	page, err := s.Store.List(ctx, prefix, o)
	rules := s.present.Load()
	for n := range page.Entries {
		s.open(ctx, rules, &page.Entries[n], false)
		if page.Entries[n].Stale {
			s.stale.Store(true)
		}
	}
	return page, err
}

// Create implements store.Store.
func (s *Store) Create(ctx context.Context, key string, plain []byte, ttl time.Duration) (int64, error) {
	return s.write(ctx, key, plain, func(stored []byte) (int64, error) { return s.Store.Create(ctx, key, stored, ttl) })
}

// Update implements store.Store.
func (s *Store) Update(ctx context.Context, key string, expect int64, plain []byte, ttl time.Duration) (int64, error) {
	return s.write(ctx, key, plain, func(stored []byte) (int64, error) { return s.Store.Update(ctx, key, expect, stored, ttl) })
}

// Delete implements store.Store.
func (s *Store) Delete(ctx context.Context, key string, expect int64) (int64, error) {
	revision, err := s.Store.Delete(ctx, key, expect)
	return revision, s.conflict(ctx, err)
}

// conflict decrypts what a lost race found.
func (s *Store) conflict(ctx context.Context, err error) error {
	var lost *store.Conflict
	if err == nil || !errors.As(err, &lost) || lost.Present == nil {
		return err
	}
	present := *lost.Present
	s.open(ctx, s.present.Load(), &present, true)
	return &store.Conflict{Present: &present}
}

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context, prefix string, o store.WatchOptions) store.Watch {
	o.Open = func(e *store.Entry) { s.open(ctx, s.present.Load(), e, false) }
	return s.Store.Watch(ctx, prefix, o)
}
