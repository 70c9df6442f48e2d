package apiserver

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// slowBody is how long a body may take before a rate is demanded of it, in bytes a second.
	slowBody    = 10 * time.Second
	slowestBody = 4 << 10
	// firstRead is the most that is allocated for a body before any of it has come.
	firstRead = 64 << 10
	// leastRead is allocated for a body whose length is not known.
	leastRead = 2 << 10
)

// readBody reads a request's body into b, up to the limit, and takes the request's seat when it has come.
func (x *exchange) readBody(b []byte) ([]byte, error) {
	if !x.hasBody() {
		return b, nil
	}
	b, err := x.receive(b)
	if err != nil {
		return nil, err
	}
	x.size = len(b)
	return b, x.enter()
}

// receive reads the body into b. A body that is too large, too late or too slow is an error.
func (x *exchange) receive(b []byte) ([]byte, error) {
	a := &arrival{x: x, begun: time.Now()}
	a.await()
	defer a.end()
	known := x.r.ContentLength
	if known > maxBodyBytes {
		return nil, x.tooLarge()
	}
	if first := min(known+1, firstRead); int64(cap(b)) < first {
		b = make([]byte, 0, first)
	}
	for {
		if len(b) == cap(b) {
			b = grow(b, known)
		}
		n, err := x.r.Body.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		a.received.Store(int64(len(b)))
		switch {
		case len(b) > maxBodyBytes:
			return nil, x.tooLarge()
		case err == io.EOF || err == nil && int64(len(b)) == known: // another Read would only wake the connection's keeper
			x.arrived = true
			return b, nil
		case err != nil && a.slow.Load():
			return nil, tooSlow()
		case err != nil && x.ctx.Err() != nil:
			return nil, x.ctx.Err()
		case err != nil:
			return nil, apierrors.NewBadRequest(fmt.Sprintf("the request's body could not be read: %v", err))
		}
		if len(b) > largeBody {
			if err := x.take(&x.large, x.limits.large); err != nil {
				return nil, err
			}
		}
	}
}

// grow makes room for more of a body: twice as much, but no more than the client has announced.
func grow(b []byte, known int64) []byte {
	size := max(2*cap(b), leastRead)
	if known > 0 && int64(size) > known+1 {
		size = max(int(known)+1, cap(b)+1)
	}
	return append(make([]byte, 0, size), b...)
}

func (x *exchange) tooLarge() error {
	// A client that is still sending when the connection is closed would not see the answer.
	_, _ = io.CopyN(io.Discard, x.r.Body, 2*maxBodyBytes)
	return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", maxBodyBytes))
}

func tooSlow() error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusRequestTimeout, Reason: metav1.StatusReasonTimeout,
		Message: fmt.Sprintf("the request's body comes too slowly: send it within %s, or at %d bytes a second at least", slowBody, slowestBody),
	}}
}

// arrival is a body on its way, and the timer that gives it up.
type arrival struct {
	x        *exchange
	begun    time.Time
	received atomic.Int64
	slow     atomic.Bool

	mu    sync.Mutex // guards timer and over
	timer *time.Timer
	over  bool
}

func (a *arrival) await() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.timer = time.AfterFunc(a.patience(a.x.limits.slowBody), a.look)
}

// patience is d, or until the request's time is over.
func (a *arrival) patience(d time.Duration) time.Duration {
	if end, ok := a.x.ctx.Deadline(); ok {
		d = min(d, time.Until(end))
	}
	return max(d, time.Millisecond)
}

// look ends the reading of a body that comes too late or too slowly.
func (a *arrival) look() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return
	}
	late := a.x.ctx.Err() != nil
	due := int64((time.Since(a.begun) - a.x.limits.slowBody).Seconds() * slowestBody)
	if !late && a.received.Load() >= due {
		a.timer.Reset(a.patience(time.Second))
		return
	}
	a.slow.Store(!late)
	_ = http.NewResponseController(a.x).SetReadDeadline(time.Unix(1, 0)) // a writer without deadlines is not a connection's
}

// end comes before the handler returns: the connection is the next request's then.
func (a *arrival) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	a.timer.Stop()
}
