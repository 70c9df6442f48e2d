package etcd

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/wheelhouse-k8s/wheelhouse/store"
)

const (
	// A server is asked how it is every lookEvery, and every lookAgain while it is unwell. One that does not answer within
	// answerWait is left alone: connections alone do not tell of a process that has stopped.
	lookEvery, lookAgain, answerWait = time.Second, 250 * time.Millisecond, 3 * time.Second
	// oldTermWait is how long requests that were made under another leader may still take: some have come through, the
	// others are lost, and their server would wait for them long.
	oldTermWait = time.Second
	// reconnectMin and reconnectMax are the pauses between attempts to connect.
	reconnectMin, reconnectMax = 100 * time.Millisecond, 2 * time.Second
	// keepAlive lets the kernel tell of a machine that is gone. Servers refuse to be asked more often than every five seconds.
	keepAlive = 10 * time.Second
)

// errUnwell is why requests to a server end when it is unwell.
var errUnwell = errors.New("the etcd server does not answer")

// remoteServer is one server of an external etcd, and whether requests may go to it.
type remoteServer struct {
	url    string
	conn   *grpc.ClientConn
	kv     pb.KVClient
	lease  pb.LeaseClient
	watch  pb.WatchClient
	upkeep pb.MaintenanceClient
	kick   chan struct{} // asks for a look at the server now

	mu     sync.Mutex
	leader uint64 // the last one that it knew of; guarded by mu
	size   sizes  // of its database when it was last looked at; guarded by mu
	// well ends when the server becomes unwell, and is nil while it is; term ends soon after its leader changed, or with
	// well. Both are guarded by mu.
	well, term       context.Context
	endWell, endTerm context.CancelFunc
}

type sizes struct{ total, inUse int64 }

// remoteServers choose the server for each request: those that are well, in turn.
type remoteServers struct {
	all     []*remoteServer
	next    atomic.Uint64
	closing context.Context // of the store

	mu      sync.Mutex
	changed chan struct{} // closed and replaced when a server gets well; guarded by mu
}

func newRemoteServers(x *External) (*remoteServers, error) {
	options := []grpc.DialOption{
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.MaxCallSendMsgSize(math.MaxInt32)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepAlive, Timeout: answerWait}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: reconnectMin, Multiplier: 1.6, Jitter: 0.2, MaxDelay: reconnectMax},
			MinConnectTimeout: answerWait,
		}),
	}
	plain, err := x.plain()
	if err != nil {
		return nil, err
	}
	transport := insecure.NewCredentials()
	if !plain {
		first, err := x.tls()
		if err != nil {
			return nil, err
		}
		transport = &fromFiles{credentials.NewTLS(first), x}
	}
	options = append(options, grpc.WithTransportCredentials(transport))
	all := &remoteServers{changed: make(chan struct{})}
	for _, address := range x.Servers {
		conn, err := grpc.NewClient("dns:///"+hostOf(address), options...)
		if err != nil {
			all.close()
			return nil, fmt.Errorf("etcd server %s: %w", address, err)
		}
		all.all = append(all.all, &remoteServer{
			url: address, conn: conn, kick: make(chan struct{}, 1),
			kv: pb.NewKVClient(conn), lease: pb.NewLeaseClient(conn), watch: pb.NewWatchClient(conn), upkeep: pb.NewMaintenanceClient(conn),
		})
	}
	return all, nil
}

// hostOf is the host:port of a server's URL.
func hostOf(address string) string {
	if !strings.Contains(address, "://") {
		return address
	}
	u, _ := url.Parse(address) // it was checked before
	return u.Host
}

func (r *remoteServers) close() {
	for _, s := range r.all {
		s.conn.Close()
	}
}

// pick waits for a server that is well.
func (r *remoteServers) pick(ctx context.Context) (s *remoteServer, well, term context.Context, err error) {
	for {
		r.mu.Lock()
		changed := r.changed
		r.mu.Unlock()
		first := r.next.Add(1)
		for i := range uint64(len(r.all)) {
			s := r.all[(first+i)%uint64(len(r.all))]
			s.mu.Lock()
			well, term := s.well, s.term
			s.mu.Unlock()
			if well != nil {
				return s, well, term, nil
			}
		}
		select {
		case <-changed:
		case <-r.closing.Done():
			return nil, nil, nil, store.ErrClosed
		case <-ctx.Done():
			return nil, nil, nil, ctx.Err()
		}
	}
}

// tend looks after a server until the store closes.
func (r *remoteServers) tend(s *remoteServer) {
	ctx := r.closing
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-s.kick:
		case <-ctx.Done():
			s.becomeUnwell()
			return
		}
		status, err := s.ask(ctx)
		switch {
		case err != nil || status.Leader == 0 || status.IsLearner:
			s.becomeUnwell()
			timer.Reset(lookAgain)
		default:
			if s.becomeWell(status.Leader, sizes{status.DbSize, status.DbSizeInUse}) {
				r.mu.Lock()
				close(r.changed)
				r.changed = make(chan struct{})
				r.mu.Unlock()
			}
			timer.Reset(lookEvery)
		}
	}
}

// look has the server looked at now.
func (s *remoteServer) look() {
	select {
	case s.kick <- struct{}{}:
	default: // it is about to be
	}
}

// ask asks the server how it is.
func (s *remoteServer) ask(ctx context.Context) (*pb.StatusResponse, error) {
	inner, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	answer, err := s.upkeep.Status(inner, &pb.StatusRequest{})
	if err != nil && inner.Err() != nil && ctx.Err() == nil {
		return nil, fmt.Errorf("no answer within %s", answerWait)
	}
	return answer, err
}

// becomeWell lets requests go to the server, which follows the leader; it tells whether that is new.
func (s *remoteServer) becomeWell(leader uint64, size sizes) (changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.size = size
	if s.well == nil {
		s.leader, changed = leader, true
		s.well, s.endWell = context.WithCancel(context.Background())
		s.term, s.endTerm = context.WithCancel(s.well)
	}
	if s.leader != leader {
		s.leader = leader
		time.AfterFunc(oldTermWait, s.endTerm)
		s.term, s.endTerm = context.WithCancel(s.well)
	}
	return changed
}

// becomeUnwell ends what is under way at the server, and lets no more go there.
func (s *remoteServer) becomeUnwell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.well != nil {
		s.endTerm()
		s.endWell()
		s.well, s.term = nil, nil
	}
}

// request makes one request, and makes it again only if that is harmless: if it may be repeated at any time, or if the
// server says that it did not begin it.
func request[R any](ctx context.Context, r *Remote, wait time.Duration, repeatable bool, call func(context.Context, *remoteServer) (R, error)) (R, error) {
	limited, cancel := context.WithTimeout(withLeader(ctx), wait)
	defer cancel()
	last := errors.New("no server answers")
	for {
		var answer R
		s, _, term, err := r.servers.pick(limited)
		if err == nil {
			inner, end := context.WithCancel(limited)
			stop := context.AfterFunc(term, end)
			answer, err = call(inner, s)
			if !stop() && err != nil {
				err = fmt.Errorf("%w: %s", errUnwell, s.url)
			}
			end()
		}
		switch {
		case err == nil:
			return answer, nil
		case ctx.Err() != nil:
			return answer, ctx.Err()
		case r.closing.Err() != nil:
			return answer, store.ErrClosed
		case limited.Err() != nil:
			return answer, fmt.Errorf("%w: no answer within %s: %w", store.ErrUnavailable, wait, last)
		case notBegun(err) || repeatable && passes(err):
			s.look()
		default:
			if passes(err) {
				s.look()
			}
			return answer, outcome(err)
		}
		last = err
		select {
		case <-time.After(refusedPause):
		case <-limited.Done():
		}
	}
}
