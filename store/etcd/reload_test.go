package etcd

import (
	"fmt"
	"testing"
	"time"
)

// TestReloadWaitsForOthers: a member does not leave while another has just come back.
func TestReloadWaitsForOthers(t *testing.T) {
	g := three(t, nil)
	e, other := g.members[0], g.members[1]
	e.peers.set(fmt.Sprintf("%x", other.ID()), true)
	back := time.Now()
	e.awaitSteady(t.Context())
	if waited := time.Since(back); waited < steadyFor/2 {
		t.Errorf("it waited for %v", waited)
	}
}
