package etcd

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// group is three masters' members in one process, and the certificates between them.
type group struct {
	t             *testing.T
	dir           string
	cert, key, ca string
	serverTLS     *tls.Config
	members       []*Embedded
	options       []Options
	mu            sync.Mutex
	warnings      []string // guarded by mu
}

func newGroup(t *testing.T) *group {
	t.Helper()
	g := &group{t: t, dir: t.TempDir()}
	g.certify()
	return g
}

// certify makes one authority and one certificate for all peers.
func (g *group) certify() {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	g.must(err)
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "etcd-ca"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	g.must(err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	g.must(err)
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "peer"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	g.must(err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	g.must(err)
	write := func(name, kind string, der []byte) string {
		file := filepath.Join(g.dir, name)
		g.must(os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return file
	}
	g.ca, g.cert, g.key = write("ca.crt", "CERTIFICATE", caDER), write("peer.crt", "CERTIFICATE", der), write("peer.key", "EC PRIVATE KEY", keyDER)
	pair, err := tls.LoadX509KeyPair(g.cert, g.key)
	g.must(err)
	pool := x509.NewCertPool()
	parsed, err := x509.ParseCertificate(caDER)
	g.must(err)
	pool.AddCert(parsed)
	g.serverTLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
}

func (g *group) must(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

// peer takes a free address.
func (g *group) peer() *Peer {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	g.must(err)
	address := l.Addr().String()
	l.Close()
	return &Peer{Listen: address, URL: "https://" + address, CertFile: g.cert, KeyFile: g.key, CAFile: g.ca, ServerTLS: g.serverTLS}
}

func (g *group) warn(name string) func(string) {
	return func(message string) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.warnings = append(g.warnings, name+": "+message)
	}
}

// first opens the first member and groups it.
func (g *group) first(change func(*Options)) *Embedded {
	g.t.Helper()
	o := Options{Dir: filepath.Join(g.dir, "m0"), Name: "m0", CompactionInterval: -1, Warn: g.warn("m0")}
	if change != nil {
		change(&o)
	}
	g.options = append(g.options, o)
	e := g.open(0)
	p := g.peer()
	g.options[0].Peer = p
	g.must(e.Group(g.t.Context(), *p))
	return e
}

// open opens member i with its options.
func (g *group) open(i int) *Embedded {
	g.t.Helper()
	e, err := Open(g.t.Context(), g.options[i])
	g.must(err)
	if i == len(g.members) {
		g.members = append(g.members, e)
	} else {
		g.members[i] = e
	}
	g.t.Cleanup(func() { e.Close() })
	return e
}

// join adds a learner.
func (g *group) join(change func(*Options)) *Embedded {
	g.t.Helper()
	i := len(g.members)
	o := Options{Dir: filepath.Join(g.dir, fmt.Sprint("m", i)), Name: fmt.Sprint("m", i), CompactionInterval: -1, Peer: g.peer()}
	o.Warn = g.warn(o.Name)
	if change != nil {
		change(&o)
	}
	_, err := g.members[0].AddLearner(g.t.Context(), o.Peer.URL)
	g.must(err)
	members, err := g.members[0].Members(g.t.Context())
	g.must(err)
	o.Join = &Join{Cluster: map[string]string{o.Name: o.Peer.URL}}
	for _, m := range members {
		if m.Name != "" {
			o.Join.Cluster[m.Name] = m.PeerURL
		}
	}
	g.options = append(g.options, o)
	return g.open(i)
}

// promote gives a learner a vote as soon as it has caught up.
func (g *group) promote(e *Embedded) {
	g.t.Helper()
	g.eventually(10*time.Second, func() error { return g.members[0].Promote(g.t.Context(), e.ID()) })
}

// eventually repeats until there is no error.
func (g *group) eventually(wait time.Duration, try func() error) {
	g.t.Helper()
	deadline := time.Now().Add(wait)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			g.t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// three is a group of three voters.
func three(t *testing.T, change func(*Options)) *group {
	g := newGroup(t)
	g.first(change)
	for range 2 {
		g.promote(g.join(change))
	}
	return g
}

func TestThree(t *testing.T) {
	start := time.Now()
	g := three(t, nil)
	t.Log("three voters after", time.Since(start))
	for i, e := range g.members {
		if _, err := e.Create(context.Background(), fmt.Sprint("/k", i), []byte("x"), time.Minute); err != nil {
			t.Fatal(i, err)
		}
		t.Logf("%+v", e.Status())
	}
	t.Log(g.members[2].Members(t.Context()))
	t.Log(time.Since(start), g.warnings)
}

func TestReopen(t *testing.T) {
	g := newGroup(t)
	g.options = append(g.options, Options{Dir: filepath.Join(g.dir, "m0"), Name: "m0", CompactionInterval: -1, Warn: g.warn("m0")})
	e := g.open(0)
	ctx, cancel := context.WithCancel(t.Context())
	w := e.Watch(ctx, "/", store.WatchOptions{})
	fromOne := e.Watch(ctx, "/", store.WatchOptions{From: 1})
	count := func(w store.Watch) chan map[string]int {
		out := make(chan map[string]int, 1)
		go func() {
			seen := map[string]int{}
			var last int64
			for b := range w.C() {
				for _, ev := range b.Events {
					seen[ev.Key]++
					if ev.Revision <= last {
						t.Error("revisions go back")
					}
					last = ev.Revision
				}
				if seen["/end"] > 0 {
					break
				}
			}
			out <- seen
		}()
		return out
	}
	a, b := count(w), count(fromOne)
	stop := make(chan struct{})
	var written sync.Map
	var slowest atomic.Int64
	var wg sync.WaitGroup
	var n atomic.Int64
	for i := range 8 {
		wg.Go(func() {
			for j := 0; ; j++ {
				select {
				case <-stop:
					return
				default:
				}
				key := fmt.Sprintf("/%d/%d", i, j)
				start := time.Now()
				if _, err := e.Create(ctx, key, []byte("x"), 0); err != nil {
					t.Error(err)
					return
				}
				n.Add(1)
				slowest.Store(max(slowest.Load(), int64(time.Since(start))))
				written.Store(key, true)
			}
		})
	}
	time.Sleep(200 * time.Millisecond)
	start := time.Now()
	g.must(e.Group(ctx, *g.peer()))
	t.Log("Group", time.Since(start), n.Load(), "slowest", time.Duration(slowest.Load()))
	time.Sleep(200 * time.Millisecond)
	start = time.Now()
	g.must(e.Reload(ctx))
	t.Log("Reload", time.Since(start), n.Load(), "slowest", time.Duration(slowest.Load()))
	time.Sleep(200 * time.Millisecond)
	close(stop)
	wg.Wait()
	_, err := e.Create(ctx, "/end", nil, 0)
	g.must(err)
	for _, c := range []chan map[string]int{a, b} {
		select {
		case seen := <-c:
			missing := 0
			written.Range(func(key, _ any) bool {
				if seen[key.(string)] != 1 {
					missing++
				}
				return true
			})
			t.Log(len(seen), "seen; missing", missing)
			if missing > 0 {
				t.Error("missing", missing)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("watch did not end", w.Err(), fromOne.Err())
		}
	}
	cancel()
	start = time.Now()
	g.must(e.Close())
	t.Log("Close", time.Since(start))
	for range 5 {
		start = time.Now()
		g.open(0).Close()
		t.Log("open+close", time.Since(start))
	}
}
