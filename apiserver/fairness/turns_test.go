package fairness

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestTurns lets one user wait many times: whoever comes later waits for one of those at most, at the same level or another.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := NewTurns(1)
		if err := turns.Take(t.Context(), GlobalDefault, "greedy"); err != nil {
			t.Fatal(err)
		}
		var order []string
		wait := func(level PriorityLevel, user string) {
			go func() {
				if err := turns.Take(t.Context(), level, user); err != nil {
					t.Error(err)
				}
				order = append(order, user) // whoever has the one turn
				turns.Leave()
			}()
			synctest.Wait()
		}
		for range 100 {
			wait(GlobalDefault, "greedy")
		}
		wait(GlobalDefault, "other")
		wait(NodeHigh, "node")
		wait(GlobalDefault, "third")
		turns.Leave()
		synctest.Wait()
		if len(order) != 103 {
			t.Fatalf("%d had their turn", len(order))
		}
		for i, user := range order {
			if i < 5 && user != []string{"node", "greedy", "other", "third", "greedy"}[i] || i > 4 && user != "greedy" {
				t.Errorf("turn %d is %s's: %v", i, user, order[:6])
			}
		}
	})
}

// TestTurnsThatEnd takes, leaves and gives up at random: in the end all turns are free and nobody is remembered.
func TestTurnsThatEnd(t *testing.T) {
	for seed := range uint64(20) {
		const count = 3
		turns := NewTurns(count)
		r := rand.New(rand.NewPCG(seed, 2))
		var at sync.Mutex
		taken := 0
		var all sync.WaitGroup
		for range 500 {
			level, user, patience := PriorityLevel(r.IntN(int(levelCount))), fmt.Sprint(r.IntN(5)), time.Duration(r.IntN(2000))*time.Microsecond
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				if turns.Take(ctx, level, user) != nil {
					return
				}
				at.Lock()
				if taken++; taken > count {
					t.Errorf("%d turns are taken", taken)
				}
				at.Unlock()
				time.Sleep(10 * time.Microsecond)
				at.Lock()
				taken--
				at.Unlock()
				turns.Leave()
			})
		}
		all.Wait()
		if turns.free != count {
			t.Errorf("seed %d: %d turns are free", seed, turns.free)
		}
		for l := range turns.levels {
			if q := &turns.levels[l]; q.users.Len() > 0 || len(q.waiting) > 0 {
				t.Errorf("seed %d: %s still waits", seed, levels[l].name)
			}
		}
	}
}
