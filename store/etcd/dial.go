package etcd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-semver/semver"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wheelhouse-k8s/wheelhouse/store"
)

const (
	// dialWait bounds the wait for an etcd that can be reached and has a leader, as upstream's API servers wait, and serveWait
	// one attempt at it.
	dialWait  = 20 * time.Second
	serveWait = 5 * time.Second
	// probeEvery is how often all servers are asked until one answers.
	probeEvery = 250 * time.Millisecond
	// tellFirst and tellEvery are when and how often the operator is told what the start waits for.
	tellFirst = time.Second
	tellEvery = 5 * time.Second
	// tellKnown takes tellEvery's place where the wait has no end.
	tellKnown = time.Minute
)

// oldest is the first version whose reports of progress can be trusted: before it a watch could be told of a revision
// whose changes it had not got yet, and reads that waited for it were stale.
var oldest = semver.New("3.5.13")

// Dial connects to the servers and waits, for a while, until they can serve.
func Dial(ctx context.Context, x External) (*Remote, error) {
	if err := x.Check(); err != nil {
		return nil, err
	}
	if x.Warn == nil {
		x.Warn = func(string) {}
	}
	r, err := newRemote(&x)
	if err != nil {
		return nil, err
	}
	if err := r.whenServing(ctx); err != nil {
		r.Close()
		return nil, err
	}
	go r.maintain()
	return r, nil
}

// whenServing waits for an answer that a majority of the servers stands behind.
func (r *Remote) whenServing(ctx context.Context) error {
	waiting, every := ctx, tellKnown
	if !r.x.Known {
		every = tellEvery
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, dialWait)
		defer cancel()
	}
	next := time.Now().Add(tellFirst)
	var before error // what the last whole attempt met: one that the end of the wait cuts off tells less
	for {
		problem, hopeless := r.serves(waiting)
		switch {
		case problem == nil:
			return nil
		case waiting.Err() != nil:
			problem = cmp.Or(before, problem)
		case hopeless:
			return problem
		}
		before = problem
		if now := time.Now(); !now.Before(next) {
			next = now.Add(every)
			r.x.Warn("the start waits: " + problem.Error())
		}
		select {
		case <-time.After(probeEvery):
		case <-waiting.Done():
			if ctx.Err() != nil {
				return fmt.Errorf("%w (%w)", problem, ctx.Err())
			}
			return fmt.Errorf("%w (tried for %s)", problem, dialWait)
		}
	}
}

// serves tells what keeps etcd from serving, and whether waiting will not help.
func (r *Remote) serves(ctx context.Context) (problem error, hopeless bool) {
	if problem, hopeless = r.probe(ctx); problem != nil {
		return problem, hopeless
	}
	ctx, cancel := context.WithTimeout(ctx, serveWait)
	defer cancel()
	_, problem = r.Revision(ctx)
	switch {
	case problem == nil:
		return nil, false
	case status.Code(problem) == codes.PermissionDenied:
		return fmt.Errorf("etcd does not let this client in; give its user, the common name of its certificate, all rights on the keys that begin with %s: %w",
			r.names.prefix, problem), true
	}
	return fmt.Errorf("etcd is reached, but does not serve: %w", problem), false
}

// probe asks every server for itself. It has no error if one answers; hopeless tells that waiting will not help.
func (r *Remote) probe(ctx context.Context) (problem error, hopeless bool) {
	servers := r.Servers(ctx)
	var lines []string
	hopeless = true
	for _, s := range servers {
		switch {
		case s.Err == nil && tooOld(s.Version):
			return fmt.Errorf("etcd server %s has version %s: %s or a newer one is needed", s.URL, s.Version, oldest), true
		case s.Err == nil:
			problem, hopeless = nil, false
		default:
			text, final := explain(s.Err)
			hopeless = hopeless && final
			lines = append(lines, s.URL+": "+text)
		}
	}
	if len(lines) < len(servers) {
		return nil, false
	}
	return errors.New("no etcd server can be used: " + strings.Join(lines, "; ")), hopeless
}

func tooOld(version string) bool {
	v, err := semver.NewVersion(version)
	return err == nil && v.LessThan(*oldest)
}

// Server is one server of an external etcd.
type Server struct {
	URL     string
	Version string
	// Status as for a member of this process; not set if Err is.
	Status Status
	// Err says why the server did not answer.
	Err error
}

// Servers asks each server for its state, all at once.
func (r *Remote) Servers(ctx context.Context) []Server {
	servers := make([]Server, len(r.servers.all))
	var wg sync.WaitGroup
	for i, server := range r.servers.all {
		wg.Go(func() {
			s := Server{URL: server.url}
			var answer *pb.StatusResponse
			if answer, s.Err = server.ask(ctx); s.Err == nil {
				s.Version, s.Status = answer.Version, statusFrom(answer)
			}
			servers[i] = s
		})
	}
	wg.Wait()
	return servers
}

func statusFrom(s *pb.StatusResponse) Status {
	told := Status{
		ID: s.Header.MemberId, Cluster: s.Header.ClusterId, Leader: s.Leader, Learner: s.IsLearner, Term: s.RaftTerm,
		Index: s.RaftIndex, Applied: s.RaftAppliedIndex, Revision: s.Header.Revision, Size: s.DbSize, InUse: s.DbSizeInUse,
		Version: s.Version,
	}
	told.Alarms = append(told.Alarms, s.Errors...)
	return told
}

// explain says what an error of a connection means, and whether it will last until somebody changes something.
func explain(err error) (text string, lasts bool) {
	text = err.Error()
	for _, known := range []struct {
		sign, means string
		lasts       bool
	}{
		{"connection refused", "nothing listens there: does etcd run?", false},
		{"no such host", "the name is not known", false},
		{"certificate signed by unknown authority", "its certificate is not signed by the authority in --etcd-cafile", true},
		{"certificate has expired", "a certificate has expired, or a clock is wrong", true},
		{"x509: certificate is", "its certificate does not name this address", true},
		{"cannot validate certificate for", "its certificate does not name this address", true},
		{"first record does not look like a TLS handshake", "it does not encrypt: use http://, or give etcd certificates", true},
		{"tls: certificate required", "it asks for a client certificate: give --etcd-certfile and --etcd-keyfile", true},
		{"tls: unknown certificate authority", "it does not accept the certificate in --etcd-certfile: another authority signed it", true},
		{"tls: bad certificate", "it does not accept the certificate in --etcd-certfile", true},
		{"authentication handshake failed: EOF", "it ends the connection: does it want http://?", false},
		{"error reading server preface", "it ends the connection: does it want https://?", false},
	} {
		if strings.Contains(text, known.sign) {
			return known.means + " (" + known.sign + ")", known.lasts
		}
	}
	return strings.TrimPrefix(text, store.ErrUnavailable.Error()+": "), false
}

// withLeader marks a request so that a server that knows of no leader refuses it at once, before it begins it.
func withLeader(ctx context.Context) context.Context { return clientv3.WithRequireLeader(ctx) }
