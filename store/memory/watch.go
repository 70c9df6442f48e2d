package memory

import (
	"context"
	"sort"
	"strings"
	"sync"

	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// watch implements store.Watch: one goroutine that reads the store's log.
type watch struct {
	c        chan store.Batch // closed by the goroutine at its end, after err is set
	progress chan struct{}    // has room for one question: the answer to it serves all who asked
	mu       sync.Mutex
	err      error // guarded by mu
}

func (w *watch) C() <-chan store.Batch { return w.c }

func (w *watch) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

func (w *watch) Progress(ctx context.Context) error {
	select {
	case w.progress <- struct{}{}:
	default: // one is already asked for
	}
	return ctx.Err()
}

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context, prefix string, o store.WatchOptions) store.Watch {
	w := &watch{c: make(chan store.Batch), progress: make(chan struct{}, 1)}
	next := o.From
	if next == 0 {
		s.mu.Lock()
		next = s.revision + 1
		s.mu.Unlock()
	}
	go func() {
		err := s.follow(ctx, w, prefix, next, o)
		w.mu.Lock()
		w.err = err
		w.mu.Unlock()
		close(w.c)
	}()
	return w
}

// follow delivers everything from revision next on.
func (s *Store) follow(ctx context.Context, w *watch, prefix string, next int64, o store.WatchOptions) error {
	for {
		batch, changed, err := s.since(prefix, next, o.Previous)
		if err != nil {
			return err
		}
		next = max(next, batch.Revision+1)
		if len(batch.Events) > 0 {
			select {
			case w.c <- batch.Opened(o.Open):
				continue
			case <-ctx.Done():
				return ctx.Err()
			case <-s.closed:
				return store.ErrClosed
			}
		}
		select {
		case <-changed: // of the state in which nothing was left to deliver: a write since then has closed it
		case <-w.progress:
			select {
			case w.c <- store.Batch{Revision: batch.Revision}:
			case <-ctx.Done():
				return ctx.Err()
			case <-s.closed:
				return store.ErrClosed
			}
		case <-ctx.Done():
			return ctx.Err()
		case <-s.closed:
			return store.ErrClosed
		}
	}
}

// since collects the events from revision next on, and a channel that is closed at the next write. Both are of one state, so that no
// write falls between them.
func (s *Store) since(prefix string, next int64, previous bool) (store.Batch, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if next < s.compacted {
		return store.Batch{}, nil, store.ErrCompacted
	}
	batch := store.Batch{Revision: s.revision}
	n := sort.Search(len(s.log), func(i int) bool { return s.log[i].Revision >= next })
	for _, e := range s.log[n:] {
		if !strings.HasPrefix(e.Key, prefix) {
			continue
		}
		if !previous {
			e.Prev = nil
		}
		batch.Events = append(batch.Events, e)
		if len(batch.Events) == batchMax {
			batch.Revision = e.Revision
			break
		}
	}
	return batch, s.changed, nil
}
