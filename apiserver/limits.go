package apiserver

import (
	"context"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/fairness"
)

// The bounds of what requests have in common besides being at work. Each is shared fairly, see package fairness.
const (
	// bodiesPerWrite is how many bodies may be on their way for each write that may be at work.
	bodiesPerWrite = 2
	// largeBody is the size of a body from which on it takes one of the few seats for large ones.
	largeBody = 256 << 10
	// longSelector is the length of selectors from which on a watch takes one of those seats too: it keeps megabytes of them for as
	// long as it lasts.
	longSelector = 4 << 10
	// writesPerLarge: one large body for so many writes.
	writesPerLarge = 4
	// maxLongRunning bounds watches and streams.
	maxLongRunning = 100_000
)

// limits are the pools of seats.
type limits struct {
	// reads and writes are at work. A body is on its way, before its request takes a seat: a client that sends slowly holds
	// none. large is held from when a body turns out large until the answer, and by watches
	// with long selectors. long are watches and streams.
	reads, writes, bodies, large, long *fairness.Pool
	// rejected is told of requests that found no seat; may be nil.
	rejected func(schema, level string)
	// slowBody is how long a body may take before a rate is demanded of it.
	slowBody time.Duration
	// wait is how long a request may wait for its seat.
	wait time.Duration
}

func newLimits(reads, writes int) limits {
	l := limits{reads: fairness.NewPool(reads), writes: fairness.NewPool(writes), long: fairness.NewPool(maxLongRunning)}
	l.bodies, l.large = fairness.NewPool(bodiesPerWrite*writes), fairness.NewPool(-1)
	if writes > 0 {
		l.large = fairness.NewPool(max(writes/writesPerLarge, 8))
	}
	return l
}

// held are the seats of one request; all are given back at its end, whatever happens.
type held struct {
	schema *fairness.Schema
	limits *limits
	// work is the pool of seat.
	work *fairness.Pool
	// seat: it is at work; body: its body is on its way, or it is large; long: it watches.
	seat, body, large, long fairness.Seat
}

func (h *held) leave() {
	h.seat.Leave()
	h.body.Leave()
	h.large.Leave()
	h.long.Leave()
}

// limitInFlight bounds how many requests are worked on at once, readers and writers apart, by level and user. A request with a
// body takes its seat when the body has arrived.
func (s *Server) limitInFlight(next handler) handler {
	return func(x *exchange) {
		t := &x.target
		x.held = held{limits: &s.limits, work: s.limits.writes, schema: fairness.Classify(fairness.Request{User: x.user, Verb: t.verb,
			Group: t.group, Resource: t.resource, Subresource: t.subresource, Path: t.path, AboutResource: t.resourceRequest})}
		if t.readOnly() {
			x.work = s.limits.reads
		}
		defer x.leave()
		if err := x.admit(); err != nil {
			x.fail(err)
			return
		}
		next(x)
	}
}

// admit takes the seats that the request needs to begin.
func (x *exchange) admit() error {
	t := &x.target
	watches := t.resourceRequest && t.verb == kind.Watch
	if t.isLongRunning() {
		if err := x.take(&x.long, x.limits.long); err != nil {
			return err
		}
	}
	if x.hasBody() {
		switch {
		case t.resourceRequest && t.isLongRunning() && !watches:
			return nil // a stream, whose body is its own business
		case t.resourceRequest && !t.readOnly():
			return x.take(&x.body, x.limits.bodies) // the verb reads the body, and enters then
		}
		// Nobody would read this body in time: it is read here.
		if err := x.take(&x.body, x.limits.bodies); err != nil {
			return err
		}
		body, err := x.receive(nil)
		if err != nil {
			return err
		}
		x.whole = body
	}
	if t.isLongRunning() && !watches {
		return nil
	}
	return x.enter()
}

// enter takes the request's seat: from now on it is at work. It waits a while for one, as upstream lets it wait in a queue.
func (x *exchange) enter() error {
	defer x.body.Leave() // the body is kept meanwhile
	if x.seat.Held() {
		return nil
	}
	seat, ok := x.work.Take(x.schema.PriorityLevel, x.user.GetName())
	if !ok {
		ctx, cancel := context.WithTimeout(x.r.Context(), x.limits.wait)
		defer cancel()
		seat, ok = x.work.Await(ctx, x.schema.PriorityLevel, x.user.GetName())
	}
	if !ok {
		return x.rejected()
	}
	x.seat = seat
	return nil
}

func (x *exchange) take(into *fairness.Seat, from *fairness.Pool) error {
	if into.Held() {
		return nil
	}
	seat, ok := from.Take(x.schema.PriorityLevel, x.user.GetName())
	if !ok {
		return x.rejected()
	}
	*into = seat
	return nil
}

func (x *exchange) rejected() error {
	if x.limits.rejected != nil {
		x.limits.rejected(x.schema.Name, x.schema.PriorityLevel.String())
	}
	return apierrors.NewTooManyRequests("the server is busy with other requests, please try again later", 1)
}

// hasBody tells whether the client sends, or will send, a body.
func (x *exchange) hasBody() bool { return x.r.Body != nil && x.r.Body != http.NoBody }

// beforeAnswer is called before the first byte of an answer over HTTP/1.1 to a request with a body. The library reads what
// remains of a body before it answers, for as long as the client likes: half of the time that a slow body has will do.
func (x *exchange) beforeAnswer(code int) {
	if x.arrived {
		return
	}
	switch code {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusGatewayTimeout:
		x.Header().Set("Connection", "close")
	default:
		_ = http.NewResponseController(x).SetReadDeadline(time.Now().Add(x.limits.slowBody / 2)) // a writer without deadlines is not a connection's
	}
}

// InFlight tells how many requests are at work, by whether they only read; long-running ones are not counted.
func (s *Server) InFlight() (readOnly, mutating int64) {
	return int64(s.limits.reads.Taken()), int64(s.limits.writes.Taken())
}
