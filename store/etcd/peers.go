package etcd

import (
	"crypto/tls"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/etcdhttp"
	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"
	"go.uber.org/zap"
)

// Peer is how the member is reached by the others of its group, and how it proves itself to them.
type Peer struct {
	// Listen is the host:port of the door that the others come in at.
	Listen string
	// URL is the https://host:port that the others are told.
	URL string
	// CertFile, KeyFile and CAFile are for outgoing connections. Certificate and key are read again at each connection, the
	// authorities when the member is opened: see Reload.
	CertFile, KeyFile, CAFile string
	// ServerTLS is for incoming connections; it must ask for and verify certificates.
	ServerTLS *tls.Config
	// Extra, if not nil, answers below ExtraPath, from the moment that the door is open: what masters ask each other though
	// neither of them serves.
	Extra http.Handler
}

// ExtraPath begins the paths at the door that are not etcd's.
const ExtraPath = "/wheelhouse/"

// Client calls other masters' doors.
func (p *Peer) Client(dial time.Duration) (*http.Client, error) {
	t, err := transport.NewTransport(peerTLS(p), dial)
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: t}, nil
}

// Join is the group that a new member joins.
type Join struct {
	// Cluster holds the peer URLs of all members, this one's too, by their names.
	Cluster map[string]string
}

// door lets peers in.
type door struct {
	listener net.Listener
	http     *http.Server
	extra    http.Handler
	handler  atomic.Pointer[http.Handler] // nil until the member runs
	done     chan struct{}
}

// peerReadMax bounds the reading of one request, which may bring the whole database.
const peerReadMax = 5 * time.Minute

// openDoor answers peers from now on: until the member runs, that they must try again. Members that start together ask
// each other for their copies before they run, and would wait for each other otherwise.
func openDoor(p *Peer) (*door, error) {
	l, err := net.Listen("tcp", p.Listen)
	if err != nil {
		return nil, fmt.Errorf("the address for the other masters cannot be listened on: %w", err)
	}
	d := &door{listener: tls.NewListener(impatient{l}, p.ServerTLS), extra: p.Extra, done: make(chan struct{})}
	d.http = &http.Server{
		Handler:     http.HandlerFunc(d.answer),
		ReadTimeout: peerReadMax,
		ErrorLog:    stdlog.New(io.Discard, "", 0),
		// Peers keep long streams; they speak HTTP/1.1, as between etcd's own members.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	go func() {
		defer close(d.done)
		_ = d.http.Serve(d.listener)
	}()
	return d, nil
}

func (d *door) answer(w http.ResponseWriter, r *http.Request) {
	if d.extra != nil && strings.HasPrefix(r.URL.Path, ExtraPath) {
		d.extra.ServeHTTP(w, r)
		return
	}
	if h := d.handler.Load(); h != nil {
		(*h).ServeHTTP(w, r)
		return
	}
	http.Error(w, "this member starts", http.StatusServiceUnavailable)
}

// serve lets peers in to the member.
func (d *door) serve(server *etcdserver.EtcdServer, log *zap.Logger) {
	if d != nil {
		h := etcdhttp.NewPeerHandler(log, server)
		d.handler.Store(&h)
	}
}

// close is for a member that has stopped: what peers still ask for has no answer any more.
func (d *door) close() {
	if d != nil {
		d.http.Close()
		<-d.done
	}
}

// impatient gives up connections over which nothing moves for as long as etcd's own members do: a peer that is alive
// sends something more often.
type impatient struct{ net.Listener }

func (l impatient) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return impatientConn{c}, nil
}

type impatientConn struct{ net.Conn }

func (c impatientConn) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(rafthttp.ConnReadTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

func (c impatientConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(rafthttp.ConnWriteTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// peerStates is since when each peer is connected. Etcd keeps it to itself, but logs each change.
type peerStates struct {
	mu sync.Mutex
	of map[uint64]peerState // guarded by mu
}

type peerState struct {
	active bool
	since  time.Time
}

func newPeerStates() *peerStates { return &peerStates{of: map[uint64]peerState{}} }

func (p *peerStates) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.of)
}

// set takes a member's number as etcd writes it.
func (p *peerStates) set(hex string, active bool) {
	id, err := strconv.ParseUint(hex, 16, 64)
	if err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.of[id] = peerState{active: active, since: time.Now()}
}

func (p *peerStates) since(id uint64) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.of[id]; s.active {
		return s.since
	}
	return time.Time{}
}

// Active is since when this member has been connected to another; zero if it is not. Of itself it is always now.
func (e *Embedded) Active(id uint64) time.Time {
	if id == e.ID() {
		return time.Now()
	}
	return e.peers.since(id)
}

// InactiveSince is since when this member has lost the connection to another; zero if it is connected, or never was.
func (e *Embedded) InactiveSince(id uint64) time.Time {
	e.peers.mu.Lock()
	defer e.peers.mu.Unlock()
	if s := e.peers.of[id]; !s.active {
		return s.since
	}
	return time.Time{}
}
