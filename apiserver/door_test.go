package apiserver

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// caller is the server's end of a connection that is never used.
type caller struct {
	net.Conn
	from   *net.TCPAddr
	closed *bool
}

func (c caller) RemoteAddr() net.Addr { return c.from }
func (c caller) Close() error         { *c.closed = true; return nil }

func callFrom(from string) caller {
	return caller{from: &net.TCPAddr{IP: net.ParseIP(from)}, closed: new(bool)}
}

func newTestDoor(most, strangers int) *door {
	d := newDoor(nil, most)
	d.mostStrangers = strangers
	return d
}

// admit is what Accept does with a connection; nil means that it is closed at once.
func admit(d *door, c caller) *visitor {
	v, out := d.enter(c)
	if out != nil {
		_ = out.Close()
	}
	if v == out {
		return nil
	}
	return v
}

// A host whose connections never say who they are loses them, and nobody else does.
func TestStrangersMakeRoom(t *testing.T) {
	d := newTestDoor(1000, 20)
	honest, member := callFrom("10.0.0.2"), callFrom("10.0.0.1")
	admit(d, honest)
	admit(d, member).known()
	for range 500 {
		if admit(d, callFrom("10.0.0.1")) == nil {
			t.Fatal("a new connection is refused while an old stranger could go")
		}
	}
	for n := range 100 { // each user of IPv6 has a network of addresses
		admit(d, callFrom(fmt.Sprintf("fd00::%x", n+1)))
	}
	if *honest.closed || *member.closed {
		t.Errorf("closed: who came from elsewhere %v, who is known %v", *honest.closed, *member.closed)
	}
	if d.strangers > 20 || len(d.hosts) != 3 {
		t.Errorf("%d strangers of %d hosts", d.strangers, len(d.hosts))
	}
}

// One host cannot have all connections, known or not.
func TestGreedyHost(t *testing.T) {
	d := newTestDoor(100, 50)
	had := 0
	for range 500 {
		if v := admit(d, callFrom("10.0.0.1")); v != nil {
			v.known()
			had++
		}
	}
	if had < 40 || had > 60 {
		t.Errorf("one host has %d connections of 100", had)
	}
	if admit(d, callFrom("10.0.0.2")) == nil {
		t.Error("another host finds no room")
	}
}

// TestDoorCounts lets connections come, become known and go at random; what is counted is what is there.
func TestDoorCounts(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 3))
		d := newTestDoor(5+r.IntN(50), 2+r.IntN(10))
		open := map[*visitor]bool{}
		for range 1000 {
			switch v := anyOf(open); {
			case v == nil || r.IntN(2) == 0:
				if v := admit(d, callFrom(fmt.Sprint("10.0.0.", r.IntN(5)))); v != nil {
					open[v] = true
				}
			case r.IntN(2) == 0:
				v.known()
			default:
				_ = v.Close()
				_ = v.Close()
			}
			strangers := 0
			for v := range open {
				if v.left.Load() {
					delete(open, v)
				} else if v.listed != nil {
					strangers++
				}
			}
			if d.all != len(open) || d.strangers != strangers || d.all > d.most || d.strangers > d.mostStrangers {
				t.Fatalf("seed %d: counted %d and %d of %d and %d", seed, d.all, d.strangers, len(open), strangers)
			}
		}
		for v := range open {
			_ = v.Close()
		}
		if d.all != 0 || d.strangers != 0 || len(d.hosts) != 0 {
			t.Fatalf("seed %d: %+v is left", seed, d)
		}
	}
}

func anyOf(open map[*visitor]bool) *visitor {
	for v := range open {
		return v
	}
	return nil
}

func TestOffends(t *testing.T) {
	patient, hasty := &visitor{}, &visitor{}
	for range 5000 {
		for range 4 {
			if patient.offends() {
				t.Fatal("one request of four was given up")
			}
		}
		patient.givenUp.Add(1)
	}
	offended := false
	for range 2 * manyGivenUp {
		offended = offended || hasty.offends()
		hasty.givenUp.Add(1)
	}
	if !offended {
		t.Error("every request was given up")
	}
}
