package reconcile

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestBatchRunsAll(t *testing.T) {
	for _, n := range []int{0, 1, 2, 1000} {
		var calls sync.Map
		var inFlight, most atomic.Int64
		done, err := Batch(t.Context(), n, func(_ context.Context, i int) error {
			for now := inFlight.Add(1); ; {
				if before := most.Load(); now <= before || most.CompareAndSwap(before, now) {
					break
				}
			}
			calls.Store(i, true)
			inFlight.Add(-1)
			return nil
		})
		count := 0
		calls.Range(func(any, any) bool { count++; return true })
		if done != n || err != nil || count != n || most.Load() > InFlight {
			t.Errorf("%d calls: %d done, %d different, %d at once, error %v", n, done, count, most.Load(), err)
		}
	}
}

// TestBatchStartsSlowly: calls that take a second each double in number with every second, and the first failure ends it.
func TestBatchStartsSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		perSecond := map[int]int{}
		start := time.Now()
		_, err := Batch(t.Context(), 1000, func(context.Context, int) error {
			mu.Lock()
			perSecond[int(time.Since(start).Seconds())]++
			mu.Unlock()
			time.Sleep(time.Second)
			return nil
		})
		if err != nil || perSecond[0] != 1 || perSecond[1] != 2 || perSecond[2] != 4 || perSecond[7] != 128 || perSecond[8] != 256 || perSecond[9] != 256 {
			t.Errorf("calls begun in each second: %v, error %v", perSecond, err)
		}
	})
	refused := errors.New("refused")
	var calls atomic.Int64
	done, err := Batch(t.Context(), 1000, func(context.Context, int) error {
		calls.Add(1)
		return refused
	})
	if done != 0 || !errors.Is(err, refused) || calls.Load() != 1 {
		t.Errorf("a batch that is refused made %d calls: %d done, %v", calls.Load(), done, err)
	}
}

func TestPacer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(Pace{Burst: 2, Interval: time.Second})
		key := Key{Name: "k"}
		steps := []struct {
			after time.Duration
			run   bool
			wait  time.Duration
		}{
			{0, true, 0}, {0, true, 0}, {0, false, time.Second}, {400 * time.Millisecond, false, 600 * time.Millisecond},
			{600 * time.Millisecond, true, 0}, {0, false, time.Second}, {10 * time.Second, true, 0}, {0, true, 0}, {0, false, time.Second},
		}
		for i, s := range steps {
			time.Sleep(s.after)
			if got := max(0, p.wait(key)); got != s.wait {
				t.Errorf("step %d: wait %v, want %v", i, got, s.wait)
			}
			if s.run {
				p.ran(key)
			}
		}
		if p.wait(Key{Name: "other"}) > 0 {
			t.Error("one key's budget is another's")
		}
		time.Sleep(time.Hour)
		for range sweepEvery {
			p.ran(Key{Name: "other"})
		}
		if _, kept := p.full[key]; kept {
			t.Error("a key that has rested is still remembered")
		}
	})
}

func TestUnpacedNeverWaits(t *testing.T) {
	p := newPacer(Pace{})
	for range 100 {
		p.ran(Key{})
	}
	if p.wait(Key{}) != 0 || len(p.full) != 0 {
		t.Error("a controller without a pace waits")
	}
}
