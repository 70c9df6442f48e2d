package etcd

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// opener begins watches. Each gets a stream of its own, so that none ever waits for another: neither for its reader, nor
// for a report of progress, which etcd makes only when all watches of a stream have reached the present.
type opener interface {
	open(ctx context.Context, r watchRequest) (stream, error)
}

// watchRequest is what a watch asks of etcd: the changes of the keys from key to end, from a revision on (0: from now).
type watchRequest struct {
	key, end []byte
	from     int64
	previous bool
}

// stream is one running watch of etcd.
type stream interface {
	// next waits for what comes next. An error of etcd's, or the context's, ends the watch.
	next() (delivery, error)
	// progress asks for a delivery without changes. While a watch reads history the question is lost.
	progress() error
	close()
}

// delivery is a number of changes, whole revisions; without changes it says that the revision has been reached.
type delivery struct {
	changes  []*mvccpb.Event // never changed: streams share them
	previous []*mvccpb.KeyValue
	revision int64
}

// watch implements store.Watch over a stream.
type watch struct {
	keys *keyspace
	ctx  context.Context
	c    chan store.Batch
	read func(*store.Entry) // store.WatchOptions.Open

	mu      sync.Mutex
	err     error     // guarded by mu
	stream  stream    // nil until it is open; guarded by mu
	asked   time.Time // when etcd was last asked for progress; guarded by mu
	waiting bool      // a question for progress will follow; guarded by mu
}

func (w *watch) C() <-chan store.Batch { return w.c }

func (w *watch) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Watch implements store.Store.
func (k *keyspace) Watch(ctx context.Context, prefix string, o store.WatchOptions) store.Watch {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(k.closing, cancel)
	w := &watch{keys: k, ctx: ctx, c: make(chan store.Batch, 16), read: o.Open}
	key := k.names.out(prefix)
	request := watchRequest{key: key, end: endOf(key), from: o.From, previous: o.Previous}
	go func() {
		err := w.follow(request)
		cancel()
		stop()
		w.mu.Lock()
		w.err = err
		w.mu.Unlock()
		close(w.c)
	}()
	return w
}

// askEvery bounds how often etcd is asked for progress by one watch: many readers may wait for the same answer.
const askEvery = 10 * time.Millisecond

// Progress implements store.Watch: it asks at once, or soon.
func (w *watch) Progress(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	wait := askEvery - time.Since(w.asked)
	if wait > 0 || w.stream == nil {
		if !w.waiting {
			w.waiting = true
			time.AfterFunc(max(wait, time.Millisecond), w.askAgain)
		}
		return nil
	}
	w.asked = time.Now()
	return w.keys.errorOf(w.ctx, w.stream.progress())
}

// askAgain asks in the place of those who were told to wait; who gets no answer asks again.
func (w *watch) askAgain() {
	w.mu.Lock()
	w.waiting = false
	w.mu.Unlock()
	if w.ctx.Err() == nil {
		_ = w.Progress(w.ctx)
	}
}

// follow passes batches on until the watch ends, and says why it did.
func (w *watch) follow(r watchRequest) error {
	s, err := w.keys.watches.open(w.ctx, r)
	if err != nil {
		return w.ended(err)
	}
	defer s.close()
	w.mu.Lock()
	w.stream = s
	w.mu.Unlock()
	for {
		d, err := s.next()
		if err != nil {
			return w.ended(err)
		}
		select {
		case w.c <- w.keys.batchOf(&d).Opened(w.read):
		case <-w.ctx.Done():
			return w.ended(w.ctx.Err())
		}
	}
}

// ended says why there is nothing more to come: whatever it is, it can be tried again, unless history is lost.
func (w *watch) ended(err error) error {
	err = w.keys.errorOf(w.ctx, err)
	switch {
	case w.ctx.Err() != nil, errors.Is(err, store.ErrClosed), errors.Is(err, store.ErrCompacted), errors.Is(err, store.ErrUnavailable):
		return err
	}
	return fmt.Errorf("%w: etcd ended the watch: %w", store.ErrUnavailable, err)
}

func (k *keyspace) batchOf(d *delivery) store.Batch {
	b := store.Batch{Revision: d.revision}
	if len(d.changes) == 0 {
		return b
	}
	b.Events = make([]store.Event, len(d.changes))
	for i, e := range d.changes {
		out := &b.Events[i]
		out.Entry = k.entryOf(e.Kv)
		out.Deleted = e.Type == clientv3.EventTypeDelete
		if out.Deleted {
			out.Value = nil
		}
		out.Created = !out.Deleted && e.Kv.CreateRevision == e.Kv.ModRevision
		if d.previous != nil && d.previous[i] != nil {
			prev := k.entryOf(d.previous[i])
			out.Prev = &prev
		}
	}
	// The revision of a delivery is the store's when it was made. A watch that catches up gets old changes under a new
	// revision, and more may follow: only the last change's has surely been reached.
	b.Revision = b.Events[len(b.Events)-1].Revision
	return b
}
