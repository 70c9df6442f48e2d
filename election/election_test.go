package election_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/utils/ptr"

	"github.com/wheelhouse-k8s/wheelhouse"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/election"
	"github.com/wheelhouse-k8s/wheelhouse/master"
)

const patience = 60 * time.Second

// broken is a transport that can be cut off from the server.
type broken struct {
	client.Transport
	cut atomic.Bool
}

func (b *broken) Do(ctx context.Context, r client.Request) (runtime.Object, error) {
	if b.cut.Load() {
		return nil, errors.New("cut off")
	}
	return b.Transport.Do(ctx, r)
}

func candidate(t client.Transport, lease, identity string) *election.Candidate {
	return &election.Candidate{
		Transport: t, Namespace: "default", Name: lease, Identity: identity, Watch: true,
		LeaseDuration: 2 * time.Second, RenewDeadline: time.Second, RetryPeriod: 200 * time.Millisecond,
	}
}

// stand runs a candidate; terms tells of each term's context, and stop ends the candidate and waits for it.
func stand(c *election.Candidate) (terms <-chan context.Context, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	begun, done := make(chan context.Context, 10), make(chan struct{})
	go func() {
		defer close(done)
		c.Run(ctx, func(term context.Context, _ int64) error {
			begun <- term
			<-term.Done()
			return nil
		})
	}()
	return begun, func() { cancel(); <-done }
}

func next(t *testing.T, what string, terms <-chan context.Context) context.Context {
	t.Helper()
	select {
	case term := <-terms:
		return term
	case <-time.After(patience):
		t.Fatalf("not in time: %s", what)
		return nil
	}
}

// start starts an API server.
func start(t *testing.T) (*wheelhouse.Master, client.Transport) {
	t.Helper()
	m, err := wheelhouse.Start(t.Context(), wheelhouse.Options{Components: []master.Component{master.APIServer}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Stop() })
	transport, err := client.HTTP(t.Context(), m.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	return m, transport
}

func server(t *testing.T) client.Transport {
	t.Helper()
	_, transport := start(t)
	return transport
}

func TestElection(t *testing.T) {
	m, transport := start(t)
	leases := client.For[*coordinationv1.Lease](transport)
	holder := func(name string) string {
		l, err := leases.Get(t.Context(), "default", name)
		if err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
		if err != nil {
			return ""
		}
		return ptr.Deref(l.Spec.HolderIdentity, "")
	}

	t.Run("handover", func(t *testing.T) {
		t.Parallel()
		first, stopFirst := stand(candidate(transport, "handover", "a"))
		term := next(t, "a free lease taken", first)
		second, stopSecond := stand(candidate(transport, "handover", "b"))
		defer stopSecond()
		stopFirst()
		if term.Err() == nil {
			t.Error("the first term did not end")
		}
		next(t, "a released lease taken", second)
		if got := holder("handover"); got != "b" {
			t.Errorf("holder %q, want b", got)
		}
		l, err := leases.Get(t.Context(), "default", "handover")
		if err != nil || *l.Spec.LeaseTransitions != 1 || *l.Spec.LeaseDurationSeconds != 2 {
			t.Errorf("record %+v, %v", l, err)
		}
	})

	t.Run("own lease", func(t *testing.T) {
		t.Parallel()
		// A process that was killed comes back: its lease is far from expired, but its own.
		now := metav1.NowMicro()
		if _, err := leases.Create(t.Context(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "own"}, Spec: coordinationv1.LeaseSpec{
			HolderIdentity: ptr.To("a"), LeaseDurationSeconds: ptr.To(int32(3600)), RenewTime: &now, AcquireTime: &now, LeaseTransitions: ptr.To(int32(4)),
		}}); err != nil {
			t.Fatal(err)
		}
		terms, stop := stand(candidate(transport, "own", "a"))
		next(t, "the own lease taken", terms)
		stop()
		if got := holder("own"); got != "" {
			t.Errorf("a clean stop left the lease with %q", got)
		}
	})

	t.Run("cut off", func(t *testing.T) {
		t.Parallel()
		line := &broken{Transport: transport}
		first, stopFirst := stand(candidate(line, "cut", "a"))
		defer stopFirst()
		term := next(t, "the lease taken", first)
		second, stopSecond := stand(candidate(transport, "cut", "b"))
		line.cut.Store(true)
		next(t, "an expired lease taken", second)
		select {
		case <-term.Done():
		default:
			t.Error("two led at once")
		}
		line.cut.Store(false)
		stopSecond()
		next(t, "the lease taken back", first)
	})

	t.Run("failed terms", func(t *testing.T) {
		t.Parallel()
		failedTerms(t, transport, holder)
	})

	t.Run("beside client-go", func(t *testing.T) {
		t.Parallel()
		besideClientGo(t, transport, m)
	})

	t.Run("wrong times", func(t *testing.T) {
		t.Parallel()
		c := candidate(transport, "wrong", "a")
		c.RenewDeadline = c.LeaseDuration
		if err := c.Run(t.Context(), nil); err == nil {
			t.Error("a renew deadline as long as the lease is accepted")
		}
	})
}

// failedTerms: a term that fails, by an error or a panic, is given back, counted, and followed by another.
func failedTerms(t *testing.T, transport client.Transport, holder func(string) string) {
	c := candidate(transport, "fails", "a")
	type end struct {
		reason election.Reason
		err    error
		holder string
	}
	ends := make(chan end, 10)
	c.Ended = func(reason election.Reason, err error) { ends <- end{reason, err, holder("fails")} }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	terms := 0
	go func() {
		done <- c.Run(ctx, func(term context.Context, _ int64) error {
			switch terms++; terms {
			case 1:
				return errors.New("failed")
			case 2:
				panic("broken")
			}
			<-term.Done()
			return nil
		})
	}()
	for _, want := range []string{"failed", "panic: broken"} {
		e := <-ends
		if e.reason != election.Failed || e.err == nil || !strings.HasPrefix(e.err.Error(), want) {
			t.Errorf("a term that should fail by %q ended: %s, %v", want, e.reason, e.err)
		}
		if e.holder != "" {
			t.Errorf("after a term that failed the lease is with %q", e.holder)
		}
	}
	for holder("fails") != "a" {
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	if e := <-ends; e.reason != election.Stopped || e.holder != "" {
		t.Errorf("a clean stop: %+v", e)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// besideClientGo lets an elector of client-go and ours follow each other on one lease.
func besideClientGo(t *testing.T, transport client.Transport, m *wheelhouse.Master) {
	terms, stop := stand(candidate(transport, "mixed", "ours"))
	next(t, "the lease taken", terms)
	clientset, err := kubernetes.NewForConfig(m.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	begun, done := make(chan context.Context, 1), make(chan struct{})
	go func() {
		defer close(done)
		leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
			Lock: &resourcelock.LeaseLock{
				LeaseMeta: metav1.ObjectMeta{Namespace: "default", Name: "mixed"}, Client: clientset.CoordinationV1(),
				LockConfig: resourcelock.ResourceLockConfig{Identity: "theirs"},
			},
			LeaseDuration: 2 * time.Second, RenewDeadline: time.Second, RetryPeriod: 200 * time.Millisecond, ReleaseOnCancel: true,
			Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: func(ctx context.Context) { begun <- ctx }, OnStoppedLeading: func() {}},
		})
	}()
	stop()
	next(t, "client-go following ours", begun)
	terms, stop = stand(candidate(transport, "mixed", "ours"))
	defer stop()
	cancel()
	<-done
	next(t, "ours following client-go", terms)
}
