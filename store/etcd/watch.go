package etcd

import (
	"context"
	"errors"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// watch implements store.Watch over an etcd client's watch.
type watch struct {
	keys     *keyspace
	ctx      context.Context
	c        chan store.Batch
	mu       sync.Mutex
	err      error // guarded by mu
	progress func(context.Context) error
	open     func(*store.Entry)
	// next is the first revision that was not delivered, 0 if that is not known; only the goroutine that follows uses it.
	next int64
}

func (w *watch) C() <-chan store.Batch { return w.c }

func (w *watch) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

func (w *watch) Progress(ctx context.Context) error { return w.progress(ctx) }

// Watch implements store.Store.
func (k *keyspace) Watch(ctx context.Context, prefix string, o store.WatchOptions) store.Watch {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(k.closing, cancel)
	w := &watch{keys: k, ctx: ctx, c: make(chan store.Batch, 16), open: o.Open, next: o.From}
	w.progress = func(context.Context) error { return k.errorOf(ctx, k.asking.ask(ctx, k.closing, k.watcher)) }
	options := []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithProgressNotify(), clientv3.WithCreatedNotify()}
	if o.Previous {
		options = append(options, clientv3.WithPrevKV())
	}
	go func() {
		err := w.run(prefix, options)
		cancel()
		stop()
		w.mu.Lock()
		w.err = err
		w.mu.Unlock()
		close(w.c)
	}()
	return w
}

// run watches, and goes on where it was if a member in this process was opened again meanwhile. (The client of other servers
// does so itself.)
func (w *watch) run(prefix string, options []clientv3.OpOption) error {
	opened, why := w.keys.opened()
	for why == nil {
		from := options[:len(options):len(options)]
		if w.next > 0 {
			from = append(from, clientv3.WithRev(w.next))
		}
		err := w.follow(w.keys.watcher.Watch(w.ctx, prefix, from...))
		if w.ctx.Err() != nil || errors.Is(err, store.ErrCompacted) {
			return err
		}
		before := opened
		if opened, why = w.keys.opened(); why == nil && opened == before {
			return err
		}
	}
	return w.keys.errorOf(w.ctx, why)
}

// askEvery bounds how often etcd is asked for progress: its answer goes to all watches at once, and many watches that asked
// each for itself would keep it busy with nothing else.
const askEvery = 10 * time.Millisecond

// asking gathers questions for progress. Each is followed by one to etcd, at once or soon.
type asking struct {
	mu      sync.Mutex
	last    time.Time // guarded by mu
	pending bool      // a question will follow; guarded by mu
}

func (a *asking) ask(ctx, closing context.Context, watcher clientv3.Watcher) error {
	a.mu.Lock()
	wait := askEvery - time.Since(a.last)
	switch {
	case a.pending:
		a.mu.Unlock()
		return nil
	case wait <= 0:
		a.last = time.Now()
		a.mu.Unlock()
		return watcher.RequestProgress(ctx)
	}
	a.pending = true
	a.mu.Unlock()
	time.AfterFunc(wait, func() {
		a.mu.Lock()
		a.last, a.pending = time.Now(), false
		a.mu.Unlock()
		_ = watcher.RequestProgress(closing) // who waits for the answer asks again
	})
	return nil
}

// follow passes batches on until the watch ends, and says why it did. It does not wait for the client to wind down:
// with very many watches on one stream that can take long.
func (w *watch) follow(responses clientv3.WatchChan) error {
	for {
		select {
		case r, open := <-responses:
			if !open {
				return w.ended()
			}
			if done, err := w.deliver(&r); done {
				return err
			}
		case <-w.ctx.Done():
			return w.ended()
		}
	}
}

// ended says why there is nothing more to come.
func (w *watch) ended() error {
	if err := w.ctx.Err(); err != nil {
		return w.keys.errorOf(w.ctx, err)
	}
	return errors.Join(store.ErrUnavailable, errors.New("etcd ended the watch"))
}

// deliver passes one response on; done tells that the watch is over.
func (w *watch) deliver(r *clientv3.WatchResponse) (done bool, err error) {
	if r.CompactRevision != 0 {
		return true, store.ErrCompacted
	}
	if err := r.Err(); err != nil {
		return true, w.keys.errorOf(w.ctx, err)
	}
	if r.Created {
		if w.next == 0 {
			w.next = r.Header.Revision + 1
		}
		return false, nil
	}
	b := batchOf(r)
	select {
	case w.c <- b.Opened(w.open):
		w.next = b.Revision + 1
		return false, nil
	case <-w.ctx.Done():
		return true, w.ended()
	}
}

// batchOf converts one response: etcd puts whole revisions into it.
func batchOf(r *clientv3.WatchResponse) store.Batch {
	b := store.Batch{Revision: r.Header.Revision}
	if len(r.Events) == 0 {
		return b
	}
	b.Events = make([]store.Event, len(r.Events))
	for i, e := range r.Events {
		out := &b.Events[i]
		out.Entry = store.Entry{Key: string(e.Kv.Key), Value: e.Kv.Value, Revision: e.Kv.ModRevision}
		out.Deleted = e.Type == clientv3.EventTypeDelete
		if out.Deleted {
			out.Value = nil
		}
		out.Created = !out.Deleted && e.Kv.CreateRevision == e.Kv.ModRevision
		if e.PrevKv != nil {
			prev := entryOf(e.PrevKv)
			out.Prev = &prev
		}
	}
	// The header is the store's revision when the response was made. A watch that catches up gets old events
	// under a new header, and more may follow: only the last event's revision has surely been reached.
	b.Revision = b.Events[len(b.Events)-1].Revision
	return b
}
