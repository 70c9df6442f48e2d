package vulnerabilities

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func address() string { return strings.TrimPrefix(shared.URL(), "https://") }

// tenant is a namespace, and the token of one who may do everything in it and nothing outside.
func tenant(t *testing.T) (ns, token string) {
	t.Helper()
	ctx := context.Background()
	ns = namespace(t, nil)
	if _, err := administrator.RbacV1().RoleBindings(ns).Create(ctx, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "owner"},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: ns, Name: "default"}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	r, err := administrator.CoreV1().ServiceAccounts(ns).CreateToken(ctx, "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the tenant's rights", func() error {
		if code, body := (call{path: "/api/v1/namespaces/" + ns + "/configmaps", stranger: true, header: map[string]string{"Authorization": "Bearer " + r.Status.Token}}).do(t); code != 200 {
			return fmt.Errorf("%d %s", code, body)
		}
		return nil
	})
	return ns, r.Status.Token
}

// TestSlowBodies: bodies that come a byte at a time, on many connections and on many streams, keep nobody from writing.
func TestSlowBodies(t *testing.T) {
	const connections, streams = 210, 100
	ns, token := tenant(t)
	attack, stop := context.WithCancel(context.Background())
	var attackers sync.WaitGroup
	defer attackers.Wait()
	defer stop()
	path := "/api/v1/namespaces/" + ns + "/configmaps"
	var sending atomic.Int32
	for range connections {
		attackers.Go(func() {
			c, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(attack, "tcp", address())
			if err != nil {
				return
			}
			defer c.Close()
			fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n", path, token)
			sending.Add(1)
			for attack.Err() == nil {
				if _, err := io.WriteString(c, " "); err != nil {
					return
				}
				select {
				case <-attack.Done():
				case <-time.After(time.Second):
				}
			}
		})
	}
	slow := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}}
	defer slow.CloseIdleConnections()
	for range streams {
		attackers.Go(func() {
			body, more := io.Pipe()
			defer more.Close()
			r, err := http.NewRequestWithContext(attack, http.MethodPost, shared.URL()+path, body)
			if err != nil {
				return
			}
			r.Header.Set("Authorization", "Bearer "+token)
			r.Header.Set("Content-Type", "application/json")
			go func() {
				sending.Add(1)
				for attack.Err() == nil {
					if _, err := io.WriteString(more, " "); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
			}()
			if response, err := slow.Do(r); err == nil {
				response.Body.Close()
			}
			body.Close()
		})
	}
	eventually(t, "the attack", func() error {
		if n := sending.Load(); n < connections+streams {
			return fmt.Errorf("%d bodies are on their way", n)
		}
		return nil
	})
	others := namespace(t, nil)
	write := func(what string, c call) {
		t.Helper()
		begun := time.Now()
		if code, body := c.do(t); code != 200 && code != 201 {
			t.Errorf("%s during the attack: %d %s", what, code, body)
		} else if took := time.Since(begun); took > promptly {
			t.Errorf("%s during the attack took %s", what, took)
		}
	}
	for i := range 10 {
		node := fmt.Sprint("slow-", i)
		lease := fmt.Sprintf(`{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":%q,"namespace":"kube-node-lease"}}`, node)
		asNode := []string{"system:node:" + node, "system:nodes", "system:authenticated"}
		write("a node's lease", call{path: "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", body: lease, as: asNode})
		write("its renewal", call{method: http.MethodPatch, path: "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/" + node, body: `{"spec":{"leaseDurationSeconds":40}}`,
			header: map[string]string{"Content-Type": "application/merge-patch+json"}, as: asNode})
		write("another user's pod", call{path: "/api/v1/namespaces/" + others + "/pods", body: encode(t, "v1", "Pod", pod(node, nil)),
			as: []string{"system:serviceaccount:kube-system:job-controller", "system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"}})
		write("the attacker's neighbour", call{path: "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
			body: `{"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectAccessReview","spec":{"nonResourceAttributes":{"path":"/","verb":"get"}}}`, as: []string{"neighbour", "system:authenticated"}})
	}
}

// flood is an HTTP/2 connection that begins requests and resets them at once.
type flood struct {
	c       net.Conn
	framer  *http2.Framer
	goneAt  atomic.Int64 // the last stream before GOAWAY; 0 if there was none
	code    atomic.Uint32
	closed  chan struct{}
	written bytes.Buffer
}

func newFlood(t *testing.T) *flood {
	t.Helper()
	c, err := tls.Dial("tcp", address(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	f := &flood{c: c, framer: http2.NewFramer(c, c), closed: make(chan struct{})}
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	if err := f.framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(f.closed)
		for {
			frame, err := f.framer.ReadFrame()
			if err != nil {
				return
			}
			if g, ok := frame.(*http2.GoAwayFrame); ok {
				f.goneAt.Store(int64(g.LastStreamID))
				f.code.Store(uint32(g.ErrCode))
			}
		}
	}()
	return f
}

// resets begins requests and resets each, until the server closes the connection; it tells how many it could send.
func (f *flood) resets(most int, path, token string) (sent int) {
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	framer := http2.NewFramer(&f.written, nil)
	for sent < most {
		f.written.Reset()
		for range 20 {
			block.Reset()
			for _, h := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "x"}, {":path", path}, {"authorization", token}} {
				if h[1] != "" {
					_ = e.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
				}
			}
			stream := uint32(2*sent + 1)
			_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true})
			_ = framer.WriteRSTStream(stream, http2.ErrCodeCancel)
			sent++
		}
		if _, err := f.c.Write(f.written.Bytes()); err != nil {
			break
		}
	}
	return sent
}

// handled is how many requests the server has counted.
func handled(t *testing.T) (all float64) {
	t.Helper()
	_, body := call{path: "/metrics"}.do(t)
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "apiserver_request_total{") {
			n, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndexByte(line, ' '):]), 64)
			if err != nil {
				t.Fatal(err)
			}
			all += n
		}
	}
	return all
}

func cpu(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestRapidResets: a client that resets its requests as soon as it has made them gets a small part of them handled, then the connection ends.
func TestRapidResets(t *testing.T) {
	const attempts, most = 100_000, 25_000 // a slow machine answers more of them before it sees their reset
	ns, token := tenant(t)
	for _, attack := range []struct{ name, path, token string }{
		{"a stranger's, for health", "/healthz", ""},
		{"a stranger's, for what is not allowed", "/api/v1/pods", ""},
		{"a stranger's, with a wrong token", "/api/v1/pods", "Bearer wrong"},
		{"a user's", "/api/v1/namespaces/" + ns + "/pods", "Bearer " + token},
		{"a user's, for health", "/healthz", "Bearer " + token},
	} {
		t.Run(attack.name, func(t *testing.T) {
			before, used, begun := handled(t), cpu(t), time.Now()
			f := newFlood(t)
			sent := f.resets(attempts, attack.path, attack.token)
			select {
			case <-f.closed:
			case <-time.After(patience):
				t.Fatalf("%d resets, and the connection is still open", sent)
			}
			n := handled(t) - before
			t.Logf("%d resets sent, %.0f requests handled, last stream %d, code %s; %s of CPU in %s", sent, n, f.goneAt.Load(), http2.ErrCode(f.code.Load()), cpu(t)-used, time.Since(begun))
			if n > most {
				t.Errorf("%.0f of %d requests were handled", n, sent)
			}
		})
	}
	if code, _ := (call{path: "/api/v1/namespaces/" + ns + "/pods", stranger: true, header: map[string]string{"Authorization": "Bearer " + token}}).do(t); code != 200 {
		t.Errorf("the user's next request: %d", code)
	}
}

// TestGivenUp: clients that give up some requests among others, as kubectl and controllers do with watches, keep their connection.
func TestGivenUp(t *testing.T) {
	ns, token := tenant(t)
	var dials atomic.Int32
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			dials.Add(1)
			return (&net.Dialer{}).DialContext(ctx, network, address)
		}}}
	defer c.CloseIdleConnections()
	get := func(ctx context.Context, query string) *http.Response {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, shared.URL()+"/api/v1/namespaces/"+ns+"/configmaps"+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		response, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		return response
	}
	for range 400 {
		ctx, cancel := context.WithCancel(context.Background())
		watch := get(ctx, "?watch=1")
		for range 2 {
			list := get(context.Background(), "")
			var found corev1.ConfigMapList
			if err := json.NewDecoder(list.Body).Decode(&found); err != nil || len(found.Items) == 0 {
				t.Fatal(err, found)
			}
			list.Body.Close()
		}
		cancel()
		watch.Body.Close()
	}
	if n := dials.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}
