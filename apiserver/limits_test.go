package apiserver_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/rest"

	"github.com/wheelhouse-k8s/wheelhouse/apiserver"
)

// permit lets everybody who has a name do everything.
func permit(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	return authorizer.DecisionAllow, "", nil
}

// protocols are the two that a client may speak, as clients of one user.
func (h *house) protocols(token string) map[string]*http.Client {
	h.t.Helper()
	all := map[string]*http.Client{}
	for _, protocol := range []string{"h2", "http/1.1"} {
		config := h.as(token)
		config.NextProtos = []string{protocol}
		client, err := rest.HTTPClientFor(config)
		if err != nil {
			h.t.Fatal(err)
		}
		h.t.Cleanup(client.CloseIdleConnections)
		all[protocol] = client
	}
	return all
}

func (h *house) send(client *http.Client, method, path string, body io.Reader) (code int, answer string) {
	h.t.Helper()
	r, err := http.NewRequest(method, h.config.Host+path, body)
	if err != nil {
		h.t.Fatal(err)
	}
	resp, err := client.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// soon waits for a condition.
func soon(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come true", what)
		}
	}
}

// drip is a body that gives a byte a time, for ever.
type drip struct {
	every time.Duration
	stop  <-chan struct{}
}

func (d drip) Read(b []byte) (int, error) {
	select {
	case <-d.stop:
		return 0, io.EOF
	case <-time.After(d.every):
		b[0] = ' '
		return 1, nil
	}
}

// Bodies that come slowly take no writer's seat, and are ended.
func TestSlowBodies(t *testing.T) {
	h := newHouse(t, func(o *apiserver.Options) {
		o.MaxWrites, o.SlowBody, o.Authorizer = 10, time.Second, authorizer.AuthorizerFunc(permit)
	})
	stop := make(chan struct{})
	defer close(stop)
	var waiting sync.WaitGroup
	codes := make(chan int, 100)
	slow, others := h.protocols("slow"), h.protocols("other")
	for _, client := range slow {
		for range 20 {
			waiting.Go(func() {
				r, err := http.NewRequest(http.MethodPost, h.config.Host+base+"/configmaps", drip{50 * time.Millisecond, stop})
				if err != nil {
					t.Error(err)
					return
				}
				if resp, err := client.Do(r); err == nil {
					codes <- resp.StatusCode
					resp.Body.Close()
				}
			})
		}
	}
	soon(t, "bodies on their way", func() bool { return h.server.Seats()["bodies"] > 0 && len(codes) > 20 })
	for protocol, client := range others {
		for n := range 5 {
			if code, answer := h.send(client, http.MethodPost, base+"/configmaps", strings.NewReader(fmt.Sprintf(`{"metadata":{"generateName":"n%d-"}}`, n))); code != http.StatusCreated {
				t.Errorf("%s: another user's write: %d %s", protocol, code, answer)
			}
		}
	}
	if n := h.server.Seats()["writes"]; n != 0 {
		t.Errorf("%d writers are at work", n)
	}
	waiting.Wait()
	close(codes)
	count := map[int]int{}
	for code := range codes {
		count[code]++
	}
	if count[http.StatusRequestTimeout] == 0 || count[http.StatusTooManyRequests] == 0 || len(count) > 2 {
		t.Errorf("answers to slow bodies: %v", count)
	}
	soon(t, "seats given back", func() bool { return free(h.server) })
}

func free(s *apiserver.Server) bool {
	for _, n := range s.Seats() {
		if n != 0 {
			return false
		}
	}
	return true
}

// What is refused before its body is read does not keep the connection open for as long as the client sends.
func TestUnwantedBody(t *testing.T) {
	h := newHouse(t, func(o *apiserver.Options) { o.SlowBody = time.Second })
	for _, head := range []string{
		"POST " + base + "/configmaps HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n",                                          // nobody
		"POST " + base + "/configmaps HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer guest\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{", // not allowed
	} {
		c, err := tls.Dial("tcp", strings.TrimPrefix(h.config.Host, "https://"), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, head); err != nil {
			t.Fatal(err)
		}
		if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.Contains(line, " 40") {
			t.Errorf("%.40s: %q %v", head, line, err)
		}
	}
}

// A watch counts: as a read until it has begun, and then as long-running.
func TestWatchesCount(t *testing.T) {
	hold := make(chan struct{})
	h := newHouse(t, func(o *apiserver.Options) {
		o.MaxReads, o.Authorizer = 1, authorizer.AuthorizerFunc(permit)
		o.Paths = []apiserver.Path{{Pattern: "/slow", Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hold })}}
	})
	client := h.protocols("reader")["h2"]
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, h.config.Host+base+"/pods?watch=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	soon(t, "the watch", func() bool { s := h.server.Seats(); return s["long"] == 1 && s["reads"] == 0 })
	cancel()
	soon(t, "the watch's end", func() bool { return free(h.server) })

	var done sync.WaitGroup
	done.Go(func() { h.send(client, http.MethodGet, "/slow", nil) })
	soon(t, "the slow read", func() bool { return h.server.Seats()["reads"] == 1 })
	if code, answer := h.send(client, http.MethodGet, base+"/pods?watch=1&timeoutSeconds=1", nil); code != http.StatusTooManyRequests {
		t.Errorf("a watch while there is no seat: %d %s", code, answer)
	}
	close(hold)
	done.Wait()
}

// TestLongWatches opens watches with long selectors, which are kept for as long as they last: there are only so many of them.
func TestLongWatches(t *testing.T) {
	h := newHouse(t, func(o *apiserver.Options) { o.Authorizer = authorizer.AuthorizerFunc(permit) })
	client := h.protocols("reader")["h2"]
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	codes := map[int]int{}
	for n := range 120 {
		selector := "a"
		if n < 60 {
			selector = "a+in+(" + strings.Repeat("value,", 1000) + "b)"
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, h.config.Host+base+"/pods?watch=1&labelSelector="+selector, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		codes[resp.StatusCode]++
	}
	if codes[http.StatusOK] > 60+30 || codes[http.StatusOK] < 60+5 || codes[http.StatusOK]+codes[http.StatusTooManyRequests] != 120 {
		t.Errorf("60 long and 60 short watches: %v", codes)
	}
	cancel()
	soon(t, "the watches' end", func() bool { return free(h.server) })
}

// TestSeatsComeBack ends requests in all the ways there are, at random and many at once: no seat is lost, and none is given back twice.
func TestSeatsComeBack(t *testing.T) {
	var rejected atomic.Int64
	h := newHouse(t, func(o *apiserver.Options) {
		o.MaxReads, o.MaxWrites, o.Timeout, o.SlowBody = 2, 2, 300*time.Millisecond, 150*time.Millisecond
		o.Authorizer = authorizer.AuthorizerFunc(permit)
		o.Rejected = func(string, string) { rejected.Add(1) }
		path := func(pattern string, f http.HandlerFunc) {
			o.Paths = append(o.Paths, apiserver.Path{Pattern: pattern, Handler: f})
		}
		path("/panic", func(http.ResponseWriter, *http.Request) { panic("a bug") })
		path("/late-panic", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200); panic("a bug") })
		path("/abort", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		path("/wait", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		path("/read", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
		path("/hijack", func(w http.ResponseWriter, _ *http.Request) {
			if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
				c.Close()
			}
		})
		o.Paths = append(o.Paths, apiserver.Path{Pattern: "/long", LongRunning: true,
			Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })})
	})
	stop := make(chan struct{})
	defer close(stop)
	large := strings.Repeat("x", 600<<10)
	var running sync.WaitGroup
	for worker := range 12 {
		running.Go(func() {
			random := rand.New(rand.NewPCG(uint64(worker), 7))
			clients := h.protocols(fmt.Sprint("user-", worker%3))
			for range 30 {
				client := clients[[]string{"h2", "http/1.1"}[random.IntN(2)]]
				path := []string{"/panic", "/late-panic", "/abort", "/wait", "/read", "/hijack", "/long", base + "/configmaps", base + "/configmaps?watch=1",
					base + "/configmaps?watch=1&resourceVersion=x", base + "/none", "/none", base + "/configmaps/none"}[random.IntN(13)]
				method := []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete}[random.IntN(4)]
				body := []io.Reader{nil, strings.NewReader(`{"metadata":{"generateName":"a-"}}`), strings.NewReader("nonsense"),
					strings.NewReader(`{"metadata":{"generateName":"a-"},"data":{"a":"` + large + `"}}`), drip{20 * time.Millisecond, stop}, strings.NewReader(strings.Repeat("x", 4<<20))}[random.IntN(6)]
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+random.IntN(400))*time.Millisecond)
				if r, err := http.NewRequestWithContext(ctx, method, h.config.Host+path, body); err == nil {
					if resp, err := client.Do(r); err == nil {
						_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, int64(random.IntN(1000))))
						resp.Body.Close()
					}
				}
				cancel()
			}
		})
	}
	running.Wait()
	soon(t, "all seats given back", func() bool { return free(h.server) })
	for kind, n := range h.server.Seats() {
		if n < 0 {
			t.Errorf("%s: %d", kind, n)
		}
	}
	if rejected.Load() == 0 {
		t.Error("no request was refused: the test was too gentle")
	}
}

// TestLengths sends what is too long before anybody knows who asks.
func TestLengths(t *testing.T) {
	h := newHouse(t, nil)
	many := http.Header{}
	for n := range 2000 {
		many.Set(fmt.Sprintf("X-N-%d", n), "x")
	}
	list := base + "/configmaps?labelSelector="
	for _, c := range []struct {
		name, token, path string
		header            http.Header
		code              int
	}{
		{"path", "root", "/" + strings.Repeat("x", 9<<10), nil, http.StatusRequestURITooLong},
		{"query", "root", list + strings.Repeat("x", 200<<10), nil, http.StatusRequestURITooLong},
		{"selector", "root", list + strings.Repeat("x", 100<<10), nil, http.StatusBadRequest},
		{"selector of one who may not list", "guest", list + strings.Repeat("(", 100<<10), nil, http.StatusForbidden},
		{"field selector", "root", base + "/configmaps?fieldSelector=" + strings.Repeat("metadata.name!=a,", 6000), nil, http.StatusBadRequest},
		{"watch with a selector", "root", base + "/configmaps?watch=1&labelSelector=" + strings.Repeat("x", 100<<10), nil, http.StatusBadRequest},
		{"headers", "root", "/version", many, http.StatusRequestHeaderFieldsTooLarge},
		{"Audit-Id", "root", base + "/configmaps", http.Header{"Audit-Id": {strings.Repeat("a", 10_000), "second"}}, http.StatusOK},
	} {
		for protocol, client := range h.protocols(c.token) {
			r, err := http.NewRequest(http.MethodGet, h.config.Host+c.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			for name, values := range c.header {
				r.Header[name] = values
			}
			resp, err := client.Do(r)
			if err != nil {
				t.Fatalf("%s over %s: %v", c.name, protocol, err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != c.code || len(body) > 4<<10 {
				t.Errorf("%s over %s: %d, %.300s", c.name, protocol, resp.StatusCode, body)
			}
			if id := resp.Header["Audit-Id"]; len(id) != 1 || len(id[0]) > 64 {
				t.Errorf("%s over %s: Audit-Id %.100q", c.name, protocol, id)
			}
		}
	}
}

// What strangers ask for is not looked at: their selectors cost no more than reading them.
func TestCostOfStrangers(t *testing.T) {
	s := newServer(t, nil)
	ask := func(query string) {
		r, err := http.NewRequest(http.MethodGet, base+"/configmaps?"+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer guest")
		w := &discard{header: http.Header{}}
		s.ServeHTTP(w, r)
		if w.code != http.StatusForbidden {
			t.Fatalf("%.40s: %d", query, w.code)
		}
	}
	cost := func(query string) uint64 {
		ask(query)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 20 {
			ask(query)
		}
		runtime.ReadMemStats(&after)
		return (after.TotalAlloc - before.TotalAlloc) / 20
	}
	const most = 400 << 10
	for _, name := range []string{"labelSelector", "fieldSelector"} {
		if bytes := cost(name + "=" + strings.Repeat("a!=b,", 20_000)); bytes > most {
			t.Errorf("a %s of 100 KB costs %d KB", name, bytes>>10)
		}
	}
}

// Connections on which nothing happens, before or in the middle of a handshake or of headers, keep nobody out.
func TestSilentConnections(t *testing.T) {
	h := newHouse(t, func(o *apiserver.Options) { o.MaxConnections, o.Authorizer = 60, authorizer.AuthorizerFunc(permit) })
	address := strings.TrimPrefix(h.config.Host, "https://")
	client := h.protocols("user")["h2"]
	if code, _ := h.send(client, http.MethodGet, base+"/configmaps", nil); code != http.StatusOK {
		t.Fatal(code)
	}
	for n := range 200 {
		var c net.Conn
		var err error
		switch n % 3 {
		case 0: // says nothing
			c, err = net.Dial("tcp", address)
		case 1: // begins a handshake
			if c, err = net.Dial("tcp", address); err == nil {
				_, err = c.Write([]byte{22, 3, 1, 0, 200, 1})
			}
		case 2: // begins a header
			if c, err = tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true}); err == nil {
				_, err = io.WriteString(c, "GET / HTTP/1.1\r\nA: ")
			}
		}
		if err == nil {
			defer c.Close()
		}
	}
	for protocol, late := range h.protocols("late") {
		if code, answer := h.send(late, http.MethodGet, base+"/configmaps", nil); code != http.StatusOK {
			t.Errorf("a new client over %s: %d %s", protocol, code, answer)
		}
	}
	if code, answer := h.send(client, http.MethodGet, base+"/configmaps", nil); code != http.StatusOK {
		t.Errorf("the client that was there before: %d %s", code, answer)
	}
}

// With --goaway-chance clients are asked for a new connection now and then; over HTTP/1.1 nothing changes.
func TestGoawayChance(t *testing.T) {
	h := newHouse(t, func(o *apiserver.Options) { o.GoawayChance, o.Authorizer = 1, authorizer.AuthorizerFunc(permit) })
	for protocol, client := range h.protocols("user") {
		fresh := 0
		for range 5 {
			trace := &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) {
				if !c.Reused {
					fresh++
				}
			}}
			r, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), http.MethodGet, h.config.Host+base+"/configmaps", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Errorf("%s: %s", protocol, resp.Status)
			}
		}
		if want := map[string]int{"h2": 5, "http/1.1": 1}[protocol]; fresh > want || protocol == "h2" && fresh < 2 {
			t.Errorf("%s: %d connections", protocol, fresh)
		}
	}
}
