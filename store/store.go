// Package store is the contract of the cluster store: keys, bytes, revisions, watch.
//
// It knows nothing of Kubernetes. Two implementations exist, store/etcd and store/memory,
// and both pass the suite in store/storetest.
package store

import (
	"context"
	"errors"
	"time"
)

// Errors that every implementation returns (test with errors.Is).
var (
	// ErrNotFound: the key does not exist at the revision asked for.
	ErrNotFound = errors.New("key not found")
	// ErrCompacted: the revision asked for is older than the compacted revision.
	ErrCompacted = errors.New("revision has been compacted")
	// ErrFutureRevision: the revision asked for has not happened yet.
	ErrFutureRevision = errors.New("revision is in the future")
	// ErrNoSpace: the store's quota is used up; only reads and deletes work until space is made.
	ErrNoSpace = errors.New("the store's space quota is exceeded")
	// ErrClosed: the store, or the watch, has been closed.
	ErrClosed = errors.New("store is closed")
	// ErrUnavailable: the store cannot answer now (no leader, timeout); the outcome of a write is unknown.
	ErrUnavailable = errors.New("store is unavailable")
)

// NoQuorum is ErrUnavailable where the store knows that too few of its members can be reached.
type NoQuorum struct {
	// Why says which members answer, and which do not.
	Why string
	// Unknown tells of a write that had begun: it may happen yet. Without it nothing was begun.
	Unknown bool
}

func (e *NoQuorum) Error() string { return "the store has no quorum: " + e.Why }

// Is makes it ErrUnavailable.
func (e *NoQuorum) Is(target error) bool { return target == ErrUnavailable }

// Entry is one key with its value at a revision. Its bytes are shared: never change them.
type Entry struct {
	Key   string
	Value []byte
	// Revision of the last change of this key.
	Revision int64
	// Stale tells that a write would store the value in another form now: it is encrypted with a former key, or not at
	// all. Sealed is why the value cannot be decrypted; Value is then as it is stored. Only a store that encrypts sets them.
	Stale  bool
	Sealed error
}

// Conflict reports a lost race: the key was not at the revision that the caller expected.
type Conflict struct {
	// Present is what the key holds now, nil if it does not exist. It was read in the same transaction.
	Present *Entry
}

func (c *Conflict) Error() string {
	if c.Present == nil {
		return "key does not exist"
	}
	return "key has another revision than expected"
}

// Page is one part of a listing.
type Page struct {
	Entries []Entry
	// Revision at which the whole listing is read. Later pages ask for it in ListOptions.Revision.
	Revision int64
	// More tells that further keys follow the last entry.
	More bool
	// Count of all keys from the start of this page to the end of the prefix.
	Count int64
}

// ListOptions narrows a listing.
type ListOptions struct {
	// From is the first key to return (inclusive); empty starts at the prefix.
	From string
	// Limit bounds the entries of a page; 0 means all.
	Limit int
	// Revision to read at; 0 means now (linearizable).
	Revision int64
	// CountOnly leaves Entries empty.
	CountOnly bool
}

// Event is one change of one key.
type Event struct {
	// Entry after the change; Value is nil when Deleted, and Revision is then the deletion's.
	Entry
	Deleted bool
	// Created is true when the key did not exist before.
	Created bool
	// Prev is the entry before the change, only when the watch asked for it.
	Prev *Entry
}

// Batch is what a watch delivers: whole revisions in order, never part of one.
type Batch struct {
	Events []Event
	// Revision that the watch has surely reached: everything up to it has been delivered.
	// A batch without events only reports progress.
	Revision int64
}

// Opened calls open, unless that is nil, with the batch's entries. The entries before changes are copied first, for they may be shared.
func (b Batch) Opened(open func(*Entry)) Batch {
	if open == nil {
		return b
	}
	for n := range b.Events {
		e := &b.Events[n]
		if !e.Deleted {
			open(&e.Entry)
		}
		if e.Prev != nil {
			prev := *e.Prev
			open(&prev)
			e.Prev = &prev
		}
	}
	return b
}

// Watch is a running watch. C is closed when it ends; then Err tells why
// (ErrCompacted, ErrClosed, ErrUnavailable, or the context's error).
type Watch interface {
	C() <-chan Batch
	Err() error
	// Progress asks for a Batch that reports the present revision even if nothing changed.
	Progress(ctx context.Context) error
}

// WatchOptions says where a watch begins.
type WatchOptions struct {
	// From is the first revision to deliver; 0 means from now on.
	From int64
	// Previous asks for Event.Prev.
	Previous bool
	// Open, if set, is called with every entry (Prev among them, deletions not) before it is delivered and may set its
	// Value, Stale and Sealed. Stores that decrypt use it: a watch around a watch would cost every event a goroutine's turn.
	Open func(*Entry)
}

// Store is a linearizable key-value store with revisions.
//
// Keys are "/"-separated paths; values are opaque. Every write is one transaction and is durable
// when it returns. ttl 0 means forever; a ttl is rounded up by the implementation, at most by a minute.
type Store interface {
	// Get reads one key at a revision (0: now, linearizable). The second result is the store's revision
	// at the time of reading. A missing key is ErrNotFound.
	Get(ctx context.Context, key string, revision int64) (Entry, int64, error)
	// List reads the keys that begin with prefix, in byte order.
	List(ctx context.Context, prefix string, opts ListOptions) (Page, error)
	// Create writes a key that must not exist; else *Conflict.
	Create(ctx context.Context, key string, value []byte, ttl time.Duration) (revision int64, err error)
	// Update writes a key that must be at revision expect; else *Conflict.
	Update(ctx context.Context, key string, expect int64, value []byte, ttl time.Duration) (revision int64, err error)
	// Delete removes a key that must be at revision expect; else *Conflict.
	Delete(ctx context.Context, key string, expect int64) (revision int64, err error)
	// Watch delivers the changes of the keys that begin with prefix until ctx ends.
	Watch(ctx context.Context, prefix string, opts WatchOptions) Watch
	// Revision is the store's present revision (linearizable).
	Revision(ctx context.Context) (int64, error)
	// Compact forgets history before revision.
	Compact(ctx context.Context, revision int64) error
	// Size of the data on disk, and of the part in use, in bytes.
	Size(ctx context.Context) (total, inUse int64, err error)
	// Close ends all watches and releases the store.
	Close() error
}

// Fence is a condition on writes: the key must still be at the revision. It keeps a leader whose term has ended
// unnoticed, for example because its process was stopped for a while, from acting on that term.
type Fence struct {
	Key      string
	Revision int64
}

// ErrFenced: a write was not made because its fence's key has another revision.
var ErrFenced = errors.New("the term of the writer has ended")

type fenceKey struct{}

// WithFence makes every write with the context conditional.
func WithFence(ctx context.Context, f Fence) context.Context {
	return context.WithValue(ctx, fenceKey{}, f)
}

// FenceOf is the fence that writes with the context must respect.
func FenceOf(ctx context.Context) (Fence, bool) {
	f, ok := ctx.Value(fenceKey{}).(Fence)
	return f, ok
}
