package etcd

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// A request that waits while the member is opened again ends with its context.
func TestGateContext(t *testing.T) {
	g := newGate()
	g.now.Store(&running{})
	if _, err := g.enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	locked := make(chan func())
	go func() { locked <- g.lock() }() // waits for the request that has entered
	for g.mu.TryRLock() {
		g.mu.RUnlock()
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := g.enter(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while somebody waits to lock: %v", err)
	}
	g.mu.RUnlock()
	unlock := <-locked
	canceled, stop := context.WithCancel(t.Context())
	stop()
	if _, err := g.enter(canceled); !errors.Is(err, context.Canceled) {
		t.Errorf("while it is locked: %v", err)
	}
	entered := make(chan error)
	go func() {
		_, err := g.enter(t.Context())
		entered <- err
	}()
	unlock()
	if err := <-entered; err != nil {
		t.Error(err)
	}
	g.mu.RUnlock()
}

// The operator is told of each change once, and not of elections.
func TestReporter(t *testing.T) {
	b, c := Member{ID: 2, Name: "b", PeerURL: "https://b:1"}, Member{ID: 3, Name: "c", PeerURL: "https://c:1"}
	var said []string
	r := &reporter{told: map[uint64]bool{}, tell: func(s string) { said = append(said, s) }}
	begin := time.Unix(1000, 0)
	states := map[uint64]peerState{}
	quorum := Quorum{Leader: 1, Voters: 3, Needed: 2, Answering: []Member{{ID: 1, Name: "a"}, b, c}}
	at := func(after time.Duration, want ...string) {
		t.Helper()
		said = nil
		r.look(begin.Add(after), quorum, []Member{b, c}, func(id uint64) (peerState, bool) { s, ok := states[id]; return s, ok })
		if len(said) != len(want) {
			t.Fatalf("after %v: %q, want %q", after, said, want)
		}
		for n := range want {
			if !strings.Contains(said[n], want[n]) {
				t.Errorf("after %v: %q, want %q", after, said[n], want[n])
			}
		}
	}
	at(0)
	states[2], states[3] = peerState{true, begin}, peerState{true, begin}
	at(500 * time.Millisecond) // not steady yet
	at(time.Second, "master b at b:1 is connected", "master c at c:1 is connected")
	at(2 * time.Second)
	quorum.Leader = 0 // an election
	at(3 * time.Second)
	quorum.Leader = 2
	at(6 * time.Second)
	states[3] = peerState{false, begin.Add(6 * time.Second)}
	at(6500 * time.Millisecond)
	at(7*time.Second, "master c at c:1 does not answer any more")
	quorum.Leader, quorum.Answering, quorum.Missing = 0, quorum.Answering[:1], []Member{b, c}
	at(8 * time.Second)
	at(9*time.Second, "there is no quorum: 1 of 3 voting masters answer (a), and 2 are needed; there is no connection to b at b:1, c at c:1")
	at(100 * time.Second)
	quorum.Leader, quorum.Answering, quorum.Missing = 2, []Member{{ID: 1, Name: "a"}, b}, []Member{c}
	at(101*time.Second, "there is a quorum again: b at b:1 leads")
	states[3] = peerState{true, begin.Add(102 * time.Second)}
	at(104*time.Second, "master c at c:1 is connected")
	quorum.Leader, quorum.Answering, quorum.Missing = 0, append(quorum.Answering, c), nil
	at(105 * time.Second)
	at(111*time.Second, "all 3 voting masters answer, and none of them leads yet")
}
