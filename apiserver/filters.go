package apiserver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/filters/impersonation"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/klog/v2"
)

// observe tells of each request after its end.
func (s *Server) observe(next handler) handler {
	if s.Observe == nil {
		return next
	}
	return func(x *exchange) {
		defer func() { s.Observe(x.observation(s.Now().Sub(x.start))) }()
		next(x)
	}
}

// recoverPanic keeps a bug from taking the process down. A panic that asks for the connection to be dropped goes on.
func (s *Server) recoverPanic(next handler) handler {
	return func(x *exchange) {
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p == http.ErrAbortHandler || x.code != 0 {
				panic(http.ErrAbortHandler)
			}
			klog.ErrorS(nil, "panic while answering a request", "method", x.r.Method, "path", x.target.logged(), "panic", p, "stack", string(debug.Stack()))
			x.fail(apierrors.NewInternalError(fmt.Errorf("the server met an error of its own while answering %s %s; its log tells more", x.r.Method, x.target.path)))
		}()
		next(x)
	}
}

var uncached = []string{"no-cache, private"}

// writeCommonHeaders sets what every answer carries.
func (s *Server) writeCommonHeaders(next handler) handler {
	return func(x *exchange) {
		h := x.Header()
		h["Audit-Id"] = []string{auditID(x.r.Header["Audit-Id"])}
		h["Cache-Control"] = uncached
		next(x)
	}
}

// auditIDMax bounds what is echoed of the client's own identification of a request, as upstream's log does.
const auditIDMax = 64

// auditID is the client's identification of its request, or one for it.
func auditID(given []string) string {
	if len(given) == 0 || given[0] == "" {
		return randomID()
	}
	return given[0][:min(len(given[0]), auditIDMax)]
}

// randomID is a version 4 UUID. It only has to differ from others, not to be a secret.
func randomID() string {
	const digits = "0123456789abcdef"
	const layout = "xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx"
	high, low := rand.Uint64(), rand.Uint64()
	var b [len(layout)]byte
	for i := range b {
		switch layout[i] {
		case 'x':
			b[i] = digits[low&15]
		case 'y':
			b[i] = digits[low&3|8]
		default:
			b[i] = layout[i]
			continue
		}
		low = low>>4 | high<<60
		high >>= 4
	}
	return string(b[:])
}

// lastAnswer is how long a client may take to read what is answered after a request's time is over.
const lastAnswer = 10 * time.Second

// limitTime ends what is not long-running after a minute, also if the client leaves its answer unread.
func (s *Server) limitTime(next handler) handler {
	return func(x *exchange) {
		if x.target.isLongRunning() {
			next(x)
			return
		}
		timeout, err := s.timeoutOf(x.r)
		if err != nil {
			x.fail(err)
			return
		}
		ctx, cancel := context.WithTimeout(x.ctx, timeout)
		defer cancel()
		x.ctx = ctx
		answered := x.atTimeout(func(c *http.ResponseController) error {
			return c.SetWriteDeadline(time.Now().Add(min(s.Timeout, lastAnswer)))
		})
		defer func() {
			if answered() {
				_ = http.NewResponseController(x).SetWriteDeadline(time.Time{}) // the connection's next request has its own time
			}
		}()
		next(x)
	}
}

// timeoutOf is the time that a request has: what it asks for, if that is less than what the server gives.
func (s *Server) timeoutOf(r *http.Request) (time.Duration, error) {
	if !strings.Contains(r.URL.RawQuery, "timeout=") {
		return s.Timeout, nil
	}
	asked := r.URL.Query().Get("timeout")
	if asked == "" {
		return s.Timeout, nil
	}
	d, err := time.ParseDuration(asked)
	if err != nil {
		return 0, apierrors.NewBadRequest(fmt.Sprintf("invalid timeout specified in the request URL - %v", err))
	}
	if d <= 0 {
		return s.Timeout, nil
	}
	return min(d, s.Timeout), nil
}

// atTimeout calls f when the request's time is over before done is called, which tells whether f was called. done must be
// called before the handler returns: the connection is the next request's then.
func (x *exchange) atTimeout(f func(*http.ResponseController) error) (done func() (late bool)) {
	ctx, called := x.ctx, make(chan bool, 1)
	stop := context.AfterFunc(ctx, func() {
		late := errors.Is(ctx.Err(), context.DeadlineExceeded)
		if late {
			_ = f(http.NewResponseController(x)) // a writer without deadlines is not a connection's
		}
		called <- late
	})
	return func() bool { return !stop() && <-called }
}

// authenticate finds out who asks.
func (s *Server) authenticate(next handler) handler {
	return func(x *exchange) {
		who, ok, err := s.Authenticator.AuthenticateRequest(x.r)
		if err != nil || !ok {
			if err != nil {
				klog.V(2).InfoS("a request could not be authenticated", "path", x.target.logged(), "err", err)
			}
			x.farewell()
			x.fail(apierrors.NewUnauthorized("Unauthorized"))
			return
		}
		if who.User.GetName() == user.Anonymous {
			x.farewell()
		} else {
			x.visitor.known()
		}
		x.user = who.User
		next(x)
	}
}

// exchangeKey finds the exchange in the context while the impersonation library has it.
type exchangeKey struct{}

// carried is an exchange and the step that follows impersonation.
type carried struct {
	x    *exchange
	next handler
}

func (s *Server) newImpersonator() http.Handler {
	inner := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		c := r.Context().Value(exchangeKey{}).(carried)
		c.x.user, _ = request.UserFrom(r.Context())
		c.next(c.x)
	})
	return impersonation.WithConstrainedImpersonation(inner, s.Authorizer, scheme.Codecs)
}

// impersonate lets a user who may act as somebody else do so.
func (s *Server) impersonate(next handler) handler {
	return func(x *exchange) {
		if !asksImpersonation(x.r.Header) {
			next(x)
			return
		}
		ctx := request.WithRequestInfo(request.WithUser(x.ctx, x.user), x.target.requestInfo())
		ctx = context.WithValue(ctx, exchangeKey{}, carried{x, next})
		s.impersonator.ServeHTTP(x, x.r.WithContext(ctx))
	}
}

func asksImpersonation(h http.Header) bool {
	const prefix = "Impersonate-"
	for name := range h {
		if len(name) > len(prefix) && name[:len(prefix)] == prefix {
			return true
		}
	}
	return false
}

// authorizeHTTP asks whether the user may do this.
func (s *Server) authorizeHTTP(next handler) handler {
	return func(x *exchange) {
		if err := s.authorize(x.ctx, x.attributes()); err != nil {
			x.fail(err)
			return
		}
		next(x)
	}
}
