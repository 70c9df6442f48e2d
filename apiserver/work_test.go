package apiserver_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/rest"

	"github.com/wheelhouse-k8s/wheelhouse/apiserver"
)

// stubborn is an admission that computes for as long as it is told to, whatever happens to the request.
type stubborn struct {
	entered chan struct{}
	release chan struct{}
}

func (s *stubborn) Handles(admission.Operation) bool { return true }

func (s *stubborn) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if strings.HasPrefix(a.GetName(), "heavy") {
		s.entered <- struct{}{}
		<-s.release
	}
	return nil
}

// TestAbandonedWork leaves requests behind that go on computing: each is answered in time, they keep no more than their turns
// in the workshop, and are counted.
func TestAbandonedWork(t *testing.T) {
	plugin := &stubborn{entered: make(chan struct{}, 100), release: make(chan struct{})}
	var mu sync.Mutex
	told := map[string]int{}
	h := newHouse(t, func(o *apiserver.Options) {
		o.Timeout, o.Admission = 500*time.Millisecond, plugin
		o.Authorizer = authorizer.AuthorizerFunc(func(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
			return authorizer.DecisionAllow, "", nil
		})
		o.Abandoned = func(status string) {
			mu.Lock()
			defer mu.Unlock()
			told[status]++
		}
	})
	config := h.as("somebody")
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	create := func(ctx context.Context, name string, size int) (int, error) {
		body := `{"metadata":{"name":"` + name + `"},"data":{"a":"` + strings.Repeat("x", size) + `"}}`
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, config.Host+base+"/configmaps", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(r)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode, err
	}
	turns := max(1, runtime.GOMAXPROCS(0)/2)
	for range turns { // they fill the workshop
		if code, err := create(t.Context(), "heavy-late", 100<<10); code != http.StatusGatewayTimeout || err != nil {
			t.Fatalf("a request whose time was up: %d %v", code, err)
		}
	}
	if n := len(plugin.entered); n != turns {
		t.Fatalf("%d computations have begun, there are %d turns", n, turns)
	}
	for range 3 { // nothing begins any more, and who waits is answered in time as well
		if code, err := create(t.Context(), "heavy-waiting", 100<<10); code != http.StatusGatewayTimeout || err != nil {
			t.Errorf("a request that waited: %d %v", code, err)
		}
	}
	gone, leave := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer leave()
	if _, err := create(gone, "heavy-gone", 100<<10); err == nil {
		t.Error("a client that had gone was answered")
	}
	if n := len(plugin.entered); n != turns {
		t.Errorf("%d computations have begun, there are %d turns", n, turns)
	}
	if code, err := create(t.Context(), "light", 10); code != http.StatusCreated || err != nil {
		t.Errorf("a light request meanwhile: %d %v", code, err)
	}
	mu.Lock()
	if told["pending"] != turns || len(told) != 1 {
		t.Errorf("told of %v, want %d pending", told, turns)
	}
	mu.Unlock()
	close(plugin.release)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		mu.Lock()
		// One that waited may have been late to leave, and has been told of as well.
		all := told["result"]+told["error"] == told["pending"]
		mu.Unlock()
		if all {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the work that was left behind has not ended: %v", told)
		}
	}
	if code, err := create(t.Context(), "heavy-again", 100<<10); code != http.StatusCreated || err != nil {
		t.Errorf("a heavy request afterwards: %d %v", code, err)
	}
}

// waiting is an admission that notes whose object it has, and lets each go when it is told to.
type waiting struct {
	mu    sync.Mutex
	order []string
	next  chan struct{}
}

func (w *waiting) Handles(admission.Operation) bool { return true }

func (w *waiting) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetResource().Resource != "configmaps" {
		return nil
	}
	w.mu.Lock()
	w.order = append(w.order, a.GetUserInfo().GetName())
	w.mu.Unlock()
	<-w.next
	return nil
}

// TestHeavyTurns has one user ask for much heavy work: another's does not wait behind all of it.
func TestHeavyTurns(t *testing.T) {
	plugin := &waiting{next: make(chan struct{})}
	release := sync.OnceFunc(func() { close(plugin.next) })
	h := newHouse(t, func(o *apiserver.Options) {
		o.Admission, o.Authorizer = plugin, authorizer.AuthorizerFunc(permit)
	})
	t.Cleanup(release)
	var all sync.WaitGroup
	create := func(who, name string) {
		config := h.as(who)
		client, err := rest.HTTPClientFor(config)
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			defer client.CloseIdleConnections()
			code, answer := h.send(client, http.MethodPost, base+"/configmaps", strings.NewReader(`{"metadata":{"name":"`+name+`"},"data":{"a":"`+strings.Repeat("x", 100<<10)+`"}}`))
			if code != http.StatusCreated {
				t.Errorf("%s: %d %s", name, code, answer)
			}
		})
	}
	turns := max(1, runtime.GOMAXPROCS(0)/2)
	many := turns + 40
	atWork := func(n int) func() bool {
		return func() bool { _, writes := h.server.InFlight(); return int(writes) == n }
	}
	for n := range many {
		create("somebody", fmt.Sprint("many-", n))
	}
	soon(t, "all of the first user's are there", atWork(many))
	create("other", "one")
	soon(t, "the second user's is there", atWork(many+1))
	release()
	all.Wait()
	if at := slices.Index(plugin.order, "other"); at < 0 || at > many/2 {
		t.Errorf("the other user's turn came after %d of the first user's %d", at, many)
	}
}
