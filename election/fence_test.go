package election_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/election"
)

// register is a fence in memory.
type register struct {
	mu       sync.Mutex
	revision int64
	holder   string
}

func (r *register) Read(context.Context) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.revision, nil
}

func (r *register) Take(_ context.Context, revision int64, identity string) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if revision != r.revision {
		return 0, errors.New("another has taken the fence")
	}
	r.revision, r.holder = revision+1, identity
	return r.revision, nil
}

// stalling is a candidate's way to the fence: it stalls before the fence is taken for the first time.
type stalling struct {
	election.Fence
	once             sync.Once
	reached, proceed chan struct{}
	outcome          chan error
}

func (s *stalling) Take(ctx context.Context, revision int64, identity string) (int64, error) {
	first := false
	s.once.Do(func() {
		first = true
		close(s.reached)
		<-s.proceed
	})
	taken, err := s.Fence.Take(ctx, revision, identity)
	if first {
		s.outcome <- err
	}
	return taken, err
}

// TestFenceRace: one candidate takes the lease and stalls before it takes the fence; another follows it meanwhile.
func TestFenceRace(t *testing.T) {
	transport := server(t)
	fence := &register{}
	a := candidate(transport, "race", "a")
	slow := &stalling{Fence: fence, reached: make(chan struct{}), proceed: make(chan struct{}), outcome: make(chan error, 1)}
	a.Fence = slow
	first, stopFirst := stand(a)
	defer stopFirst()
	<-slow.reached
	b := candidate(transport, "race", "b")
	b.Fence = fence
	second, stopSecond := stand(b)
	defer stopSecond()
	term := next(t, "the lease of one that stalls taken", second)
	close(slow.proceed)
	if err := <-slow.outcome; err == nil {
		t.Error("a candidate whose lease was taken could take the fence")
	}
	stopSecond()
	if term.Err() == nil {
		t.Error("the term goes on")
	}
	next(t, "the lease taken when it is free", first)
	if fence.revision != 2 || fence.holder != "a" {
		t.Errorf("fence %d of %q", fence.revision, fence.holder)
	}
}

// TestFenceWithoutLease: a candidate that stalled takes the fence before the one that holds the lease by now does. The
// one with the lease gets past it.
func TestFenceWithoutLease(t *testing.T) {
	transport := server(t)
	fence := &register{}
	slow := &stalling{Fence: fence, reached: make(chan struct{}), proceed: make(chan struct{}), outcome: make(chan error, 1)}
	b := candidate(transport, "overtaken", "b")
	b.Fence = slow
	terms, stop := stand(b)
	defer stop()
	<-slow.reached // b holds the lease and has read the fence
	if _, err := fence.Take(t.Context(), 0, "a"); err != nil {
		t.Fatal(err)
	}
	close(slow.proceed)
	if err := <-slow.outcome; err == nil {
		t.Error("the fence was taken though it had moved on")
	}
	next(t, "a term behind the fence of one without the lease", terms)
	if fence.revision != 2 || fence.holder != "b" {
		t.Errorf("fence %d of %q", fence.revision, fence.holder)
	}
}

// advisor gives the advice that a test sets.
type advisor struct {
	mu      sync.Mutex
	advice  map[string]election.Advice
	changed chan struct{}
}

func newAdvisor() *advisor {
	return &advisor{advice: map[string]election.Advice{}, changed: make(chan struct{})}
}

func (a *advisor) Advise(holder string) (election.Advice, time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.advice[holder], 0
}

func (a *advisor) Changed() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.changed
}

func (a *advisor) set(holder string, s election.Advice) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.advice[holder] = s
	close(a.changed)
	a.changed = make(chan struct{})
}

// advised is a candidate whose lease would last for ever if it were not for its advice.
func advised(t client.Transport, lease, identity string, f election.Fence) (*election.Candidate, *advisor) {
	c, p := candidate(t, lease, identity), newAdvisor()
	c.LeaseDuration, c.RenewDeadline, c.RetryPeriod = 2*time.Hour, time.Hour, 30*time.Minute
	c.Fence, c.Advisor = f, p
	return c, p
}

// TestEarlyTakeover: who knows that the holder is gone takes the lease at once; the holder, if it lives, finds out.
func TestEarlyTakeover(t *testing.T) {
	transport := server(t)
	leases := client.For[*coordinationv1.Lease](transport)
	now := metav1.NowMicro()
	if _, err := leases.Create(t.Context(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "early"}, Spec: coordinationv1.LeaseSpec{
		HolderIdentity: ptr.To("dead"), LeaseDurationSeconds: ptr.To(int32(3600)), RenewTime: &now, AcquireTime: &now, LeaseTransitions: ptr.To(int32(1)),
	}}); err != nil {
		t.Fatal(err)
	}
	b, advice := advised(transport, "early", "b", &register{})
	terms, stop := stand(b)
	defer stop()
	advice.set("dead", election.Early)
	next(t, "the lease of one that is known to be gone taken", terms)
	l, err := leases.Get(t.Context(), "default", "early")
	if err != nil || *l.Spec.HolderIdentity != "b" || *l.Spec.LeaseTransitions != 2 {
		t.Errorf("%+v, %v", l, err)
	}
}

// TestOvertaken: a holder whose lease was taken early finds out when it next looks, long before it would renew.
func TestOvertaken(t *testing.T) {
	transport := server(t)
	fence := &register{}
	a, advice := advised(transport, "overtaken", "a", fence)
	ends := make(chan election.Reason, 10)
	a.Ended = func(reason election.Reason, _ error) { ends <- reason }
	first, stopFirst := stand(a)
	defer stopFirst()
	term := next(t, "a free lease taken", first)
	b, adviceB := advised(transport, "overtaken", "b", fence)
	second, stopSecond := stand(b)
	defer stopSecond()
	adviceB.set("a", election.Early)
	next(t, "the lease taken early", second)
	for term.Err() == nil {
		advice.set("b", election.Normal) // look again
		time.Sleep(10 * time.Millisecond)
	}
	if reason := <-ends; reason != election.Lost {
		t.Errorf("the term ended because it was %s", reason)
	}
}

// TestYield: a holder that learns of a better one gives the lease up, and leaves it to that one although it is free.
func TestYield(t *testing.T) {
	transport := server(t)
	fence := &register{}
	a, adviceA := advised(transport, "yield", "a", fence)
	ends := make(chan election.Reason, 10)
	a.Ended = func(reason election.Reason, _ error) { ends <- reason }
	first, stopFirst := stand(a)
	defer stopFirst()
	term := next(t, "a free lease taken", first)
	b, _ := advised(transport, "yield", "b", fence)
	second, stopSecond := stand(b)
	adviceA.set("", election.Yield)
	adviceA.set("a", election.Yield)
	next(t, "a lease that was given up taken by the better one", second)
	if term.Err() == nil {
		t.Error("the term goes on")
	}
	if reason := <-ends; reason != election.Yielded {
		t.Errorf("the term ended because it was %s", reason)
	}
	// The better one goes, and nobody else comes: then it is taken all the same.
	adviceA.set("a", election.Normal)
	stopSecond()
	next(t, "a lease taken that nobody better wants", first)
}

// TestAdviceNeedsFence: taking a lease early without a fence would let two lead at once.
func TestAdviceNeedsFence(t *testing.T) {
	c := candidate(nil, "none", "a")
	c.Advisor = newAdvisor()
	if err := c.Run(t.Context(), nil); err == nil {
		t.Error("accepted")
	}
}
