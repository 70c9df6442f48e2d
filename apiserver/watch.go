package apiserver

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/wheelhouse-k8s/wheelhouse/codec"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
)

// frames are the buffers in which a watch gathers what it writes at once.
var frames = sync.Pool{New: func() any { b := make([]byte, 0, 16<<10); return &b }}

const (
	// frameBatch is how much a watch gathers before it writes.
	frameBatch = 128 << 10
	framesMax  = 256 << 10
	// bookmarkEvery is how often an idle watch tells how far it has come.
	bookmarkEvery = time.Minute
)

func (c *call) watch(ctx context.Context) (*Response, error) {
	c.ListOptions.Watch = true
	o, err := c.listOptions()
	if err != nil {
		return nil, err
	}
	l := &c.ListOptions
	w, err := c.rt.resource.Watch(ctx, registry.WatchOptions{Namespace: o.Namespace, Label: o.Label, Field: o.Field, ResourceVersion: l.ResourceVersion,
		ResourceVersionMatch: l.ResourceVersionMatch, SendInitialEvents: l.SendInitialEvents, AllowBookmarks: l.AllowWatchBookmarks})
	if err != nil {
		return nil, err
	}
	return &Response{Code: http.StatusOK, Watch: w}, nil
}

// streamWatch streams events until the timeout, the client's end, or the server's.
func streamWatch(x *exchange, c *call) {
	s := c.s
	if x.media.Format == codec.YAML {
		x.fail(notAcceptable(codec.Supported))
		return
	}
	include, err := x.includeObject()
	if err != nil {
		x.fail(err)
		return
	}
	timeout := time.NewTimer(s.watchTimeout(c.ListOptions.TimeoutSeconds))
	defer timeout.Stop()
	resp, err := c.execute(x.ctx)
	if err != nil {
		x.fail(err)
		return
	}
	defer resp.Watch.Stop()
	x.seat.Leave() // from here on it only waits, and counts as long-running
	media := x.media
	media.Pretty = false
	x.Header().Set("Content-Type", media.Format.StreamContentType())
	x.WriteHeader(http.StatusOK)
	x.Flush()
	if s.LongRunning != nil {
		defer s.LongRunning(x.observation(0))()
	}
	w := watchWriter{x: x, rt: c.rt, stream: c.rt.codec.NewStream(media, include), source: resp.Watch, bookmarks: c.ListOptions.AllowWatchBookmarks,
		deadline: http.NewResponseController(x)}
	if s.Sent != nil {
		w.sent = s.Sent(c.rt.info)
	}
	w.run(timeout.C, s.stopping.Done())
}

// watchTimeout is what the client asks for, or a random time that keeps watches from ending all together.
func (s *Server) watchTimeout(seconds *int64) time.Duration {
	if seconds != nil && *seconds > 0 {
		return time.Duration(min(*seconds, int64(24*time.Hour/time.Second))) * time.Second
	}
	return s.MinWatch + rand.N(s.MinWatch)
}

// watchWriter writes a watch's events, all that are there at once.
type watchWriter struct {
	x         *exchange
	rt        *route
	stream    *codec.Stream
	source    *registry.Watcher
	bookmarks bool
	deadline  *http.ResponseController
	sent      func(bytes int) // may be nil
}

// slowestReader is how long a client may leave what was sent to it unread.
const slowestReader = time.Minute

// run writes until the watch ends. What has been written is sent when nothing more is there.
func (w *watchWriter) run(timeout <-chan time.Time, stopping <-chan struct{}) {
	var bookmark <-chan time.Time
	if w.bookmarks {
		t := time.NewTicker(bookmarkEvery + rand.N(bookmarkEvery/10))
		defer t.Stop()
		bookmark = t.C
	}
	for {
		if err := w.drain(); err != nil {
			return
		}
		select {
		case <-w.source.Ready():
		case <-bookmark:
			if w.bookmark() != nil {
				return
			}
		case <-timeout:
			// The last word spares the client the events between its last one and now when it comes back.
			if w.bookmarks && w.drain() == nil {
				_ = w.bookmark()
			}
			return
		case <-stopping:
			return
		case <-w.x.ctx.Done():
			return
		}
	}
}

// drain writes what is there. An error of the watch itself is told to the client.
func (w *watchWriter) drain() error {
	written := false
	for {
		events, err := w.source.Take()
		if err != nil {
			w.tell(err)
			return err
		}
		if len(events) == 0 {
			if written {
				w.x.Flush()
				_ = w.deadline.SetWriteDeadline(time.Time{})
			}
			return nil
		}
		if !written {
			// A client that reads nothing for so long is cut off: its goroutine would wait for ever.
			_ = w.deadline.SetWriteDeadline(time.Now().Add(slowestReader))
		}
		written = true
		if err := w.write(events); err != nil {
			return err
		}
	}
}

func (w *watchWriter) write(events []registry.Event) error {
	p := frames.Get().(*[]byte)
	b := (*p)[:0]
	for i := range events {
		var err error
		before := len(b)
		if b, err = w.append(b, &events[i]); err != nil {
			return err
		}
		if w.sent != nil {
			w.sent(len(b) - before)
		}
		if len(b) >= frameBatch {
			if _, err := w.x.Write(b); err != nil {
				return err
			}
			b = b[:0]
		}
	}
	if _, err := w.x.Write(b); err != nil {
		return err // the connection may still be reading the buffer: it is not used again
	}
	if cap(b) <= framesMax {
		*p = b[:0]
		frames.Put(p)
	}
	return nil
}

func (w *watchWriter) append(b []byte, e *registry.Event) ([]byte, error) {
	if e.Type != watch.Bookmark {
		return w.stream.Append(b, string(e.Type), e.Item)
	}
	o := w.rt.info.New()
	o.SetResourceVersion(strconv.FormatInt(e.Revision, 10))
	if e.InitialEnd {
		o.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	}
	return w.stream.Append(b, string(watch.Bookmark), codec.Fresh(o))
}

// bookmark tells the client how far it has come.
func (w *watchWriter) bookmark() error {
	e, ok := w.source.Bookmark()
	if !ok {
		return nil
	}
	err := w.write([]registry.Event{e})
	w.x.Flush()
	return err
}

// tell sends an error as the watch's last event.
func (w *watchWriter) tell(err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	b, err := w.stream.AppendObject(nil, string(watch.Error), statusOf(err), statusKind)
	if err == nil {
		_, _ = w.x.Write(b) // the client has gone if this fails
		w.x.Flush()
	}
}
