package process

import (
	"errors"
	"fmt"
	"net"
	"os"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if Isolated() {
		if _, _, err := Isolate(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// TestIsolated runs TestNetwork where hosts are network namespaces, if that can be.
func TestIsolated(t *testing.T) {
	if Isolated() {
		t.Fatal("only TestNetwork is run there")
	}
	code, done, err := isolate([]string{"-test.run=^TestNetwork$"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if done && code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestNetwork sends datagrams between hosts: what is cut is lost in one direction, and nothing else.
func TestNetwork(t *testing.T) {
	// A datagram may have to wait for an answer about its neighbour; one that has not come for a while is lost.
	const passMax, lossMin = 10 * time.Second, 100 * time.Millisecond
	n, err := NewNetwork(3)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}()
	sockets := make([]*net.UDPConn, len(n.Hosts))
	for i, h := range n.Hosts {
		err := h.inside(func() (err error) {
			sockets[i], err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(h.Address)})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		defer sockets[i].Close()
	}
	expect := func(what string, lost func(from, to int) bool) {
		t.Helper()
		for from := range sockets {
			for to := range sockets {
				if from == to {
					continue
				}
				patience := passMax
				if lost(from, to) {
					patience = lossMin
				}
				if passes(t, sockets[from], sockets[to], patience) == lost(from, to) {
					t.Errorf("%s: from %d to %d, lost should be %t", what, from, to, lost(from, to))
				}
			}
		}
	}
	none := func(_, _ int) bool { return false }
	expect("at first", none)
	if !Isolated() {
		if n.Cut(n.Hosts[0], n.Hosts[1]) == nil {
			t.Error("hosts on the loopback interface were parted")
		}
		return
	}
	if err := n.Cut(n.Hosts[0], n.Hosts[1]); err != nil {
		t.Fatal(err)
	}
	expect("one direction", func(from, to int) bool { return from == 0 && to == 1 })
	if err := n.Heal(); err != nil {
		t.Fatal(err)
	}
	expect("healed", none)
	if err := n.Part(n.Hosts[2]); err != nil {
		t.Fatal(err)
	}
	expect("parted", func(from, to int) bool { return from == 2 || to == 2 })
}

// sent makes each datagram different from those before, which may still be on their way.
var sent int

// passes tells whether a datagram comes from one socket to another, of those that are sent for some time.
func passes(t *testing.T, from, to *net.UDPConn, patience time.Duration) bool {
	t.Helper()
	const period = 20 * time.Millisecond
	sent++
	want := fmt.Sprint(sent)
	buffer := make([]byte, 16)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if _, err := from.WriteTo([]byte(want), to.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		if err := to.SetReadDeadline(time.Now().Add(period)); err != nil {
			t.Fatal(err)
		}
		n, _, err := to.ReadFrom(buffer)
		if err == nil && string(buffer[:n]) == want {
			return true
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
	}
	return false
}
