package apiserver

import (
	"container/list"
	"context"
	"crypto/tls"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
)

const (
	// maxConnections bounds the connections where the process may open more files than that.
	maxConnections = 1 << 16
	// maxStrangers bounds the connections on which nobody has said yet who they are: handshakes that do not end, headers that
	// do not come, and anonymous users.
	maxStrangers = 4096
	// farewellBytes are read from a connection after it has been asked to end; its requests at work may still have a body there.
	farewellBytes = 1 << 20
	// manyGivenUp is how many requests a connection may give up before they are answered, if they are the greater part.
	manyGivenUp = 100
	// memoryOfRequests: a connection's requests are weighed anew after so many.
	memoryOfRequests = 1000
)

// door lets connections in. A host may have as many as are left for others; when there are too many strangers, the host that
// has the most of them loses the one that has been there longest.
type door struct {
	net.Listener
	most, mostStrangers int

	mu             sync.Mutex // guards all below
	all, strangers int
	hosts          map[netip.Addr]*host
}

// host is one address, or one network of IPv6, and its connections.
type host struct {
	connections int
	strangers   list.List // of *visitor, oldest first
}

// visitor is one connection.
type visitor struct {
	net.Conn
	door *door
	from netip.Addr
	// listed among the host's strangers, guarded by the door's lock; nil once it is known who comes here.
	listed *list.Element

	isKnown, left, ending atomic.Bool
	// rest is what is still read of a connection that is ending.
	rest atomic.Int64
	// begun and givenUp count its requests.
	begun, givenUp atomic.Int64
}

// Bounded is a listener that bounds the connections it accepts as a server does, for one that only stands in for it.
func Bounded(l net.Listener) net.Listener { return newDoor(l, 0) }

// newDoor lets at most so many connections in; 0 goes by the files that the process may open.
func newDoor(l net.Listener, most int) *door {
	if most == 0 {
		most = maxConnections
		var files syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err == nil && files.Cur/4*3 < maxConnections {
			most = int(files.Cur / 4 * 3) // the store needs files too
		}
	}
	return &door{Listener: l, most: most, mostStrangers: min(maxStrangers, most/2), hosts: map[netip.Addr]*host{}}
}

// Accept implements net.Listener.
func (d *door) Accept() (net.Conn, error) {
	for {
		c, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		v, out := d.enter(c)
		if out != nil {
			_ = out.Close() // it is gone either way
		}
		if v != out {
			return v, nil
		}
	}
}

// enter notes a new connection, and chooses one, perhaps the new one itself, that has to go for it.
func (d *door) enter(c net.Conn) (v, out *visitor) {
	v = &visitor{Conn: c, door: d, from: origin(c.RemoteAddr())}
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.hosts[v.from]
	if h == nil {
		h = &host{}
		d.hosts[v.from] = h
	}
	v.listed = h.strangers.PushBack(v)
	h.connections++
	d.all++
	d.strangers++
	switch {
	case h.connections > max(d.most-d.all, 0):
	case d.strangers > d.mostStrangers:
		for _, other := range d.hosts {
			if other.strangers.Len() > h.strangers.Len() {
				h = other
			}
		}
	default:
		return v, nil
	}
	return v, h.strangers.Front().Value.(*visitor)
}

// origin is the address that connections are counted by: networks of IPv6, since each user has a whole one.
func origin(a net.Addr) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	if ip.Is6() {
		if network, err := ip.Prefix(64); err == nil {
			return network.Addr()
		}
	}
	return ip
}

// known notes that somebody has said who they are.
func (v *visitor) known() {
	if v == nil || v.isKnown.Load() {
		return
	}
	v.isKnown.Store(true)
	v.door.mu.Lock()
	defer v.door.mu.Unlock()
	v.door.noStranger(v)
}

func (d *door) noStranger(v *visitor) {
	if v.listed != nil {
		d.hosts[v.from].strangers.Remove(v.listed)
		d.strangers--
		v.listed = nil
	}
}

// Close implements net.Conn.
func (v *visitor) Close() error {
	if !v.left.Swap(true) {
		d := v.door
		d.mu.Lock()
		d.noStranger(v)
		d.all--
		if h := d.hosts[v.from]; h.connections > 1 {
			h.connections--
		} else {
			delete(d.hosts, v.from)
		}
		d.mu.Unlock()
	}
	return v.Conn.Close()
}

// Read implements net.Conn. Who goes on sending after the end was announced is cut off: each frame would still be looked at.
func (v *visitor) Read(b []byte) (int, error) {
	n, err := v.Conn.Read(b)
	if v.ending.Load() && v.rest.Add(int64(-n)) < 0 {
		return 0, net.ErrClosed
	}
	return n, err
}

func (v *visitor) end() {
	if !v.ending.Load() {
		v.rest.Store(farewellBytes)
		v.ending.Store(true)
	}
}

// offends tells whether a connection's client gives up most of its requests: it may make work without bound that way, since
// what it has given up does not count among its concurrent streams.
func (v *visitor) offends() bool {
	if v.begun.Add(1)%memoryOfRequests == 0 {
		v.begun.Store(0)
		v.givenUp.Store(0)
	}
	gone := v.givenUp.Load()
	return gone > manyGivenUp && 2*gone > v.begun.Load()
}

// visitorKey finds the visitor in a connection's context.
type visitorKey struct{}

func visitorContext(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	if v, ok := c.(*visitor); ok {
		return context.WithValue(ctx, visitorKey{}, v)
	}
	return ctx
}

// arrive looks at an HTTP/2 request on its way in. Offenders, and by chance others, are asked for a new connection.
func (x *exchange) arrive(goaway float64) {
	x.visitor, _ = x.r.Context().Value(visitorKey{}).(*visitor)
	switch {
	case x.r.ProtoMajor != 2:
	case x.visitor != nil && x.visitor.offends():
		x.farewell()
	case goaway > 0 && rand.Float64() < goaway:
		x.Header().Set("Connection", "close")
	}
}

// depart notes whether the client gave up its request before it was answered.
func (x *exchange) depart() {
	if x.visitor != nil && x.r.ProtoMajor == 2 && x.r.Context().Err() != nil {
		x.visitor.givenUp.Add(1)
	}
}

// farewell lets an HTTP/2 connection end with this answer: GOAWAY, and nothing is taken on that comes after it.
func (x *exchange) farewell() {
	if x.r.ProtoMajor != 2 {
		return
	}
	x.Header()["Connection"] = []string{"close"}
	if x.visitor != nil {
		x.visitor.end()
	}
}
