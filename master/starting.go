package master

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/admin"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/health"
	"github.com/wheelhouse-k8s/wheelhouse/master/identity"
	"github.com/wheelhouse-k8s/wheelhouse/master/members"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
)

const (
	// answerAfter is how long a start may take before its connections are answered instead of left to wait for its end.
	answerAfter = 200 * time.Millisecond
	// startPause is the time between two attempts at a step of the start that the store did not answer.
	startPause = 500 * time.Millisecond
	// tellFirst is when the operator is told of what a start waits for, and tellStart how often after that.
	tellFirst, tellStart = 3 * time.Second, time.Minute
	// startRetry is what clients are told to wait, in seconds, and startTimeout bounds one of their requests.
	startRetry, startTimeout = 2, 10 * time.Second
)

// startDoor is where, and with what, a master answers that starts.
type startDoor struct {
	listener net.Listener
	tls      *tls.Config
	// proven tells whether a request comes from an administrator.
	proven   func(*http.Request) bool
	identity *identity.Identity
	members  *members.Members
}

// starting answers while a master starts: that it is there, and what it waits for.
type starting struct {
	warn   func(format string, args ...any)
	door   startDoor
	member atomic.Pointer[etcd.Embedded] // as soon as it runs; it may have no quorum
	step   atomic.Pointer[string]
}

// answer answers requests until the returned function is called, which leaves the listener to the server.
func (s *starting) answer() (end func()) {
	s.at("the store starts")
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-stop:
		case <-time.After(answerAfter):
			s.serve(stop)
		}
	}()
	return func() { close(stop); <-ended }
}

// at notes what the start waits for.
func (s *starting) at(step string) { s.step.Store(&step) }

// lent is the listener of a server that will leave it to another.
type lent struct{ *net.TCPListener }

// Close implements net.Listener: it ends Accept only.
func (l lent) Close() error { return l.SetDeadline(time.Unix(1, 0)) }

func (s *starting) serve(stop <-chan struct{}) {
	l, ok := s.door.listener.(*net.TCPListener)
	if !ok {
		return
	}
	server := &http.Server{
		Handler: s.handler(), TLSConfig: s.door.tls, ErrorLog: log.New(io.Discard, "", 0),
		ReadTimeout: startTimeout, WriteTimeout: startTimeout, MaxHeaderBytes: 64 << 10,
		Protocols: new(http.Protocols),
	}
	server.Protocols.SetHTTP1(true)
	server.SetKeepAlivesEnabled(false) // who comes again finds the real server
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.ServeTLS(apiserver.Bounded(lent{l}), "", "")
	}()
	<-stop
	ctx, cancel := context.WithTimeout(context.Background(), answerAfter)
	defer cancel()
	if server.Shutdown(ctx) != nil {
		_ = server.Close()
	}
	<-done
	_ = l.SetDeadline(time.Time{})
}

func (s *starting) handler() http.Handler {
	mux := http.NewServeMux()
	for _, name := range []string{"livez", "readyz", "healthz"} {
		h := health.Waiting(name, s.public)
		mux.Handle("/"+name, h)
		mux.Handle("/"+name+"/", h)
	}
	mux.Handle("GET /version", health.VersionHandler(health.Version()))
	mux.HandleFunc("GET "+admin.Root+"status", s.status)
	mux.HandleFunc("GET "+admin.Root+"status/own", s.status)
	mux.Handle("GET "+admin.Root+membership.IdentityPath, s.door.identity.Introduce(http.HandlerFunc(s.identity)))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", fmt.Sprint(startRetry))
		admin.WriteError(w, &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusServiceUnavailable, Reason: metav1.StatusReasonServiceUnavailable,
			Message: "this master starts and does not serve yet: " + s.told(r), Details: &metav1.StatusDetails{RetryAfterSeconds: startRetry},
		}})
	})
	return mux
}

// told is the whole reason for administrators, and for others what may be public.
func (s *starting) told(r *http.Request) string {
	if s.administers(r) {
		return s.reason()
	}
	return s.public()
}

func (s *starting) administers(r *http.Request) bool {
	return s.door.proven(r)
}

// reason is what the start waits for, in full.
func (s *starting) reason() string {
	if q, lost := s.quorum(); lost {
		return "there is no quorum: " + q.String()
	}
	return *s.step.Load()
}

// public is the reason without names and addresses.
func (s *starting) public() string {
	if q, lost := s.quorum(); lost {
		return "there is no quorum: " + q.Count()
	}
	return *s.step.Load()
}

// quorum tells whether the store's member runs and lacks one.
func (s *starting) quorum() (q etcd.Quorum, lost bool) {
	if e := s.member.Load(); e != nil && e.Grouped() {
		q = e.Quorum()
		return q, q.Lost()
	}
	return q, false
}

// identity tells who joins whose store this is, which is known before it serves.
func (s *starting) identity(w http.ResponseWriter, r *http.Request) {
	card := s.door.identity.Card()
	if !s.administers(r) || card.Store.ID == "" && card.Cluster == "" {
		admin.WriteError(w, apierrors.NewServiceUnavailable("this master starts and cannot tell yet whose store it has"))
		return
	}
	card.Store.Former = nil
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(membership.Belonging{Card: card}) // the members are known later; the caller may have gone
}

// status is what this master knows of the cluster by itself.
func (s *starting) status(w http.ResponseWriter, r *http.Request) {
	if !s.administers(r) {
		admin.WriteError(w, apierrors.NewUnauthorized("a master that starts tells its state to administrators only, by their certificates"))
		return
	}
	var answer any
	if strings.HasSuffix(r.URL.Path, "/own") {
		answer = s.door.members.StatusOf(s.member.Load(), 0)
	} else {
		answer = s.door.members.StartStatus(s.member.Load(), s.reason())
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // the caller has gone
}

// patiently does a step of the start, again and again for as long as the store does not answer.
func (s *starting) patiently(ctx context.Context, what string, do func(context.Context) error) error {
	s.at(what)
	next := time.Now().Add(tellFirst)
	for {
		err := do(ctx)
		if err == nil || ctx.Err() != nil || !passes(err) {
			return err
		}
		if now := time.Now(); !now.Before(next) {
			next = now.Add(tellStart)
			s.warn("the start waits for the store (%s): %v", what, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(startPause):
		}
	}
}

// passes tells of errors of a store that may answer later.
func passes(err error) bool {
	return errors.Is(err, store.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) ||
		apierrors.IsTimeout(err) || apierrors.IsServerTimeout(err) || apierrors.IsServiceUnavailable(err)
}
