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

// TestAwait: who waits gets a seat as soon as one is free that it may have, users in turn; who stops waiting leaves nothing behind.
func TestAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(20)
		var held []Seat
		for {
			s, ok := p.Take(GlobalDefault, "busy")
			if !ok {
				break
			}
			held = append(held, s)
		}
		var mu sync.Mutex
		var order []string
		wait := func(user string, time time.Duration) {
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), time)
				defer cancel()
				s, ok := p.Await(ctx, GlobalDefault, user)
				mu.Lock()
				defer mu.Unlock()
				if !ok {
					user += " gave up"
				}
				order = append(order, user)
				if ok {
					held = append(held, s)
				}
			}()
			synctest.Wait()
		}
		wait("busy", time.Hour)
		wait("busy", time.Hour)
		wait("busy", time.Minute)
		if _, ok := p.Take(GlobalDefault, "busy"); ok {
			t.Error("who comes late was served before who waits")
		}
		wait("other", time.Hour) // it has a seat at once
		time.Sleep(2 * time.Minute)
		for range 2 {
			mu.Lock()
			s := held[0]
			held = held[1:]
			mu.Unlock()
			s.Leave()
			synctest.Wait()
		}
		mu.Lock()
		got := fmt.Sprint(order)
		mu.Unlock()
		if got != "[other busy gave up busy busy]" {
			t.Errorf("served: %s", got)
		}
		if p.waiters != 0 || p.waiting.Len() != 0 || len(p.queues) != 0 {
			t.Errorf("%d wait, %d flows", p.waiters, p.waiting.Len())
		}
	})
}

// TestAwaitBound: no more wait than may, and one user's waiters leave room for those of others.
func TestAwaitBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(20)
		ctx, cancel := context.WithCancel(t.Context())
		refused := map[string]int{}
		var mu sync.Mutex
		ask := func(user string, n int) {
			for range n {
				go func() {
					if s, ok := p.Await(ctx, CatchAll, user); ok {
						defer s.Leave()
						<-ctx.Done()
					} else if ctx.Err() == nil {
						mu.Lock()
						refused[user]++
						mu.Unlock()
					}
				}()
			}
			synctest.Wait()
		}
		ask("greedy", 1000)
		ask("second", 5)
		mu.Lock()
		if refused["greedy"] < 900 || refused["second"] != 0 || p.waiters > waitersPerSeat*p.total {
			t.Errorf("refused %v; %d wait", refused, p.waiters)
		}
		mu.Unlock()
		cancel()
		synctest.Wait()
		if p.Taken() != 0 || p.waiters != 0 || len(p.flows) != 0 || len(p.queues) != 0 {
			t.Errorf("%d seats, %d waiters are left", p.Taken(), p.waiters)
		}
	})
}

// TestAwaitAtRandom: every request that waits is served in the end, and the promises hold all the time.
func TestAwaitAtRandom(t *testing.T) {
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 2))
			p := NewPool(5 + r.IntN(60))
			var done sync.WaitGroup
			for range 150 {
				level, name := PriorityLevel(1+r.IntN(int(levelCount)-1)), fmt.Sprint("user-", r.IntN(4))
				at, work, patience := time.Duration(r.IntN(1000))*time.Millisecond, time.Duration(1+r.IntN(50))*time.Millisecond, time.Hour
				if r.IntN(5) == 0 {
					patience = time.Duration(r.IntN(50)) * time.Millisecond
				}
				done.Go(func() {
					time.Sleep(at)
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					defer cancel()
					if s, ok := p.Await(ctx, level, name); ok {
						time.Sleep(work)
						s.Leave()
					}
				})
			}
			done.Wait()
			if p.Taken() != 0 || p.waiters != 0 || p.waiting.Len() != 0 || len(p.queues) != 0 || len(p.flows) != 0 || p.committed != NewPool(p.total).committed {
				t.Fatalf("seed %d: %d seats, %d waiters, %d queues are left", seed, p.Taken(), p.waiters, len(p.queues))
			}
		})
	}
}
