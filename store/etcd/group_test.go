package etcd

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
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
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
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
	return g.joinAs(fmt.Sprint("m", len(g.members)), change)
}

func (g *group) joinAs(name string, change func(*Options)) *Embedded {
	g.t.Helper()
	i := len(g.members)
	o := Options{Dir: filepath.Join(g.dir, name), Name: name, CompactionInterval: -1, Peer: g.peer()}
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
	t.Helper()
	g := newGroup(t)
	g.first(change)
	g.join(change)
	g.promoteAll(g.join(change), g.members[1])
	return g
}

func (g *group) promoteAll(members ...*Embedded) {
	for _, e := range members {
		g.promote(e)
	}
}

// leader waits for the members to agree on one that is open.
func (g *group) leader() *Embedded {
	g.t.Helper()
	var found *Embedded
	g.eventually(10*time.Second, func() error {
		found = nil
		for _, e := range g.members {
			if e.closing.Err() == nil && !e.hasEnded() && e.Leader() == e.ID() {
				found = e
			}
		}
		if found == nil {
			return errors.New("no leader")
		}
		return nil
	})
	return found
}

func (e *Embedded) hasEnded() bool { return e.gate.why.Load() != nil }

// follower is an open voter that does not lead.
func (g *group) follower() *Embedded {
	g.t.Helper()
	lead := g.leader()
	for _, e := range g.members {
		if e != lead && e.closing.Err() == nil && !e.hasEnded() && !e.Status().Learner {
			return e
		}
	}
	g.t.Fatal("no follower")
	return nil
}

// crash stops a member as the end of its process would: without handing anything over.
func (e *Embedded) crash() {
	m := e.gate.member()
	m.leaving.Store(true)
	e.gate.end(store.ErrClosed)
	m.door.http.Close()
	m.server.HardStop()
}

// create writes a key through a member.
func (g *group) create(e *Embedded, key string) {
	g.t.Helper()
	if _, err := e.Create(g.t.Context(), key, []byte("x"), 0); err != nil {
		g.t.Fatal(err)
	}
}

// warned waits for a warning.
func (g *group) warned(part string) {
	g.t.Helper()
	g.eventually(20*time.Second, func() error {
		g.mu.Lock()
		defer g.mu.Unlock()
		for _, w := range g.warnings {
			if strings.Contains(w, part) {
				return nil
			}
		}
		return fmt.Errorf("no warning %q in %q", part, g.warnings)
	})
}

func wantError(t *testing.T, err error, part string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), part) {
		t.Errorf("error %v, want one with %q", err, part)
	}
}
