// Package memory is a store that lives in the process: for tests, and for masters that are thrown away.
//
// It keeps every key's history until Compact, or until the history grows beyond historyMax events.
package memory

import (
	"context"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/google/btree"

	"github.com/wheelhouse-k8s/wheelhouse/store"
)

const (
	// historyMax bounds the events that are kept for watches and old reads.
	historyMax = 100_000
	// batchMax bounds the events of one watch batch beyond the first revision in it.
	batchMax = 1_000
	degree   = 32
)

// version is one state of a key.
type version struct {
	revision int64
	value    []byte
	deleted  bool
}

// record is a key with its versions, oldest first. Invariant: versions is never empty.
type record struct {
	key      string
	versions []version
}

func (r *record) at(revision int64) (version, bool) {
	n := sort.Search(len(r.versions), func(i int) bool { return r.versions[i].revision > revision })
	if n == 0 || r.versions[n-1].deleted {
		return version{}, false
	}
	return r.versions[n-1], true
}

// Store implements store.Store.
type Store struct {
	mu        sync.Mutex // guards all below
	keys      *btree.BTreeG[*record]
	revision  int64         // of the last write; the first is 2, as in etcd
	compacted int64         // history before this revision is gone
	log       []store.Event // every change after compacted, in order, with Prev
	size      int64
	changed   chan struct{} // closed and replaced at every write
	closed    chan struct{} // closed by Close, for those who wait for a change
}

// New makes an empty store.
func New() *Store {
	return &Store{
		keys:     btree.NewG(degree, func(a, b *record) bool { return a.key < b.key }),
		revision: 1,
		changed:  make(chan struct{}),
		closed:   make(chan struct{}),
	}
}

func (s *Store) usable(ctx context.Context) error {
	select {
	case <-s.closed:
		return store.ErrClosed
	default:
		return ctx.Err()
	}
}

// readable resolves the revision of a read. Called with mu held.
func (s *Store) readable(revision int64) (int64, error) {
	switch {
	case revision == 0:
		return s.revision, nil
	case revision < s.compacted:
		return 0, store.ErrCompacted
	case revision > s.revision:
		return 0, store.ErrFutureRevision
	}
	return revision, nil
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string, revision int64) (store.Entry, int64, error) {
	if err := s.usable(ctx); err != nil {
		return store.Entry{}, 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at, err := s.readable(revision)
	if err != nil {
		return store.Entry{}, s.revision, err
	}
	if r, ok := s.keys.Get(&record{key: key}); ok {
		if v, ok := r.at(at); ok {
			return store.Entry{Key: key, Value: v.value, Revision: v.revision}, s.revision, nil
		}
	}
	return store.Entry{}, s.revision, store.ErrNotFound
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string, o store.ListOptions) (store.Page, error) {
	if err := s.usable(ctx); err != nil {
		return store.Page{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at, err := s.readable(o.Revision)
	if err != nil {
		return store.Page{}, err
	}
	page := store.Page{Revision: at}
	from := max(prefix, o.From)
	s.keys.AscendGreaterOrEqual(&record{key: from}, func(r *record) bool {
		if !strings.HasPrefix(r.key, prefix) {
			return false
		}
		v, ok := r.at(at)
		if !ok {
			return true
		}
		page.Count++
		if o.CountOnly {
			return true
		}
		if o.Limit > 0 && len(page.Entries) == o.Limit {
			page.More = true
			return true
		}
		page.Entries = append(page.Entries, store.Entry{Key: r.key, Value: v.value, Revision: v.revision})
		return true
	})
	return page, nil
}

// Create implements store.Store.
func (s *Store) Create(ctx context.Context, key string, value []byte, ttl time.Duration) (int64, error) {
	return s.write(ctx, key, 0, value, ttl)
}

// Update implements store.Store.
func (s *Store) Update(ctx context.Context, key string, expect int64, value []byte, ttl time.Duration) (int64, error) {
	return s.write(ctx, key, expect, value, ttl)
}

func (s *Store) write(ctx context.Context, key string, expect int64, value []byte, ttl time.Duration) (int64, error) {
	if err := s.usable(ctx); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	prev, err := s.expect(ctx, key, expect)
	if err != nil {
		return 0, err
	}
	s.revision++
	entry := store.Entry{Key: key, Value: append([]byte{}, value...), Revision: s.revision}
	s.append(store.Event{Entry: entry, Created: prev == nil, Prev: prev})
	if ttl > 0 {
		revision := s.revision
		time.AfterFunc(ttl, func() { s.Delete(context.Background(), key, revision) })
	}
	return s.revision, nil
}

// Delete implements store.Store.
func (s *Store) Delete(ctx context.Context, key string, expect int64) (int64, error) {
	if err := s.usable(ctx); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	prev, err := s.expect(ctx, key, expect)
	if err != nil {
		return 0, err
	}
	if prev == nil {
		return 0, &store.Conflict{}
	}
	s.revision++
	s.append(store.Event{Entry: store.Entry{Key: key, Revision: s.revision}, Deleted: true, Prev: prev})
	return s.revision, nil
}

// expect compares the key's revision (0: must not exist), after that of the context's fence. Called with mu held.
func (s *Store) expect(ctx context.Context, key string, revision int64) (*store.Entry, error) {
	if fence, ok := store.FenceOf(ctx); ok && revisionOf(s.present(fence.Key)) != fence.Revision {
		return nil, store.ErrFenced
	}
	present := s.present(key)
	if revisionOf(present) != revision {
		return nil, &store.Conflict{Present: present}
	}
	return present, nil
}

// present is what a key holds now, nil if it does not exist. Called with mu held.
func (s *Store) present(key string) *store.Entry {
	if r, ok := s.keys.Get(&record{key: key}); ok {
		if v, ok := r.at(s.revision); ok {
			return &store.Entry{Key: key, Value: v.value, Revision: v.revision}
		}
	}
	return nil
}

// revisionOf is an entry's revision, 0 for no entry.
func revisionOf(e *store.Entry) int64 {
	if e == nil {
		return 0
	}
	return e.Revision
}

// append makes the event happen. Called with mu held.
func (s *Store) append(e store.Event) {
	r, ok := s.keys.Get(&record{key: e.Key})
	if !ok {
		r = &record{key: e.Key}
		s.keys.ReplaceOrInsert(r)
	}
	r.versions = append(r.versions, version{revision: e.Revision, value: e.Value, deleted: e.Deleted})
	if e.Prev != nil {
		s.size -= int64(len(e.Prev.Value))
	}
	s.size += int64(len(e.Value))
	s.log = append(s.log, e)
	if len(s.log) > historyMax {
		s.compact(s.log[len(s.log)/2].Revision)
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

// Revision implements store.Store.
func (s *Store) Revision(ctx context.Context) (int64, error) {
	if err := s.usable(ctx); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.revision, nil
}

// Compact implements store.Store.
func (s *Store) Compact(ctx context.Context, revision int64) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if revision <= s.compacted {
		return store.ErrCompacted
	}
	if revision > s.revision {
		return store.ErrFutureRevision
	}
	s.compact(revision)
	return nil
}

// compact forgets what no read at revision or later needs. Called with mu held.
func (s *Store) compact(revision int64) {
	s.compacted = revision
	n := sort.Search(len(s.log), func(i int) bool { return s.log[i].Revision >= revision })
	touched := s.log[:n]
	s.log = append([]store.Event(nil), s.log[n:]...)
	for _, e := range touched {
		r, ok := s.keys.Get(&record{key: e.Key})
		if !ok {
			continue
		}
		keep := sort.Search(len(r.versions), func(i int) bool { return r.versions[i].revision > revision })
		if keep > 0 && !r.versions[keep-1].deleted {
			keep--
		}
		r.versions = append([]version(nil), r.versions[keep:]...)
		if len(r.versions) == 0 {
			s.keys.Delete(r)
		}
	}
}

// Size implements store.Store; both figures are the bytes of the present values.
func (s *Store) Size(ctx context.Context) (total, inUse int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size, s.size, nil
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closed:
	default:
		close(s.closed)
	}
	return nil
}
