// Package mastertest has masters without an API server, several in a process: the rooms that make them a group (members, certificates, keys)
// wired as a master wires them, over TLS, with folders of their own and a store in common. It is for tests of these rooms.
package mastertest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/rest"

	"github.com/wheelhouse-k8s/wheelhouse/admin"
	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/auth"
	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/durable"
	"github.com/wheelhouse-k8s/wheelhouse/master/backups"
	"github.com/wheelhouse-k8s/wheelhouse/master/certificates"
	"github.com/wheelhouse-k8s/wheelhouse/master/keys"
	"github.com/wheelhouse-k8s/wheelhouse/master/members"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/pki"
	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

// Cluster is a group of masters.
type Cluster struct {
	// Store that they have in common.
	Store store.Store
	t     testing.TB
	ahead atomic.Int64 // how far the clock of all is ahead, in nanoseconds

	mu      sync.Mutex // guards masters and their live, mute and cut
	masters []*Master
}

// Master is one of them. What is exported is of its present start.
type Master struct {
	Name, Dir, URL string
	Own            *certificates.Own
	Certificates   *certificates.Certificates
	Members        *members.Members
	Keys           *keys.Keys
	Backups        *backups.Backups
	// Store is as this master reads and writes it: encrypted.
	Store store.Store

	cluster    *Cluster
	live, mute bool
	cut        int // how many changes are published from now on before one is cut off; 0 means that none is
	stop       func()
}

// early is by how much the clock of all is behind at first: TLS has the machine's, to which certificates must be good all the while.
const early = 12 * time.Hour

// publishWait is how long masters here wait for each other; it is longer than the pause of one that could not follow.
const publishWait = 2500 * time.Millisecond

// New makes masters of these names, the first of which begins the cluster, and starts them.
func New(t testing.TB, names ...string) *Cluster {
	t.Helper()
	s := memory.New()
	t.Cleanup(func() { s.Close() })
	return NewOn(t, s, names...)
}

// NewOn is New on a store, which the caller closes.
func NewOn(t testing.TB, s store.Store, names ...string) *Cluster {
	t.Helper()
	c := &Cluster{Store: s, t: t}
	c.Advance(-early)
	for _, name := range names {
		m := &Master{Name: name, Dir: t.TempDir(), cluster: c}
		c.check(errors.Join(m.put(datafolder.IdentityFile, []byte(name+"\n")), m.put(datafolder.ExternalFile, []byte("https://etcd\n"))))
		if len(c.masters) > 0 {
			c.check(m.take(c.masters[0]))
		}
		c.mu.Lock()
		c.masters = append(c.masters, m)
		c.mu.Unlock()
		c.check(m.Start())
	}
	t.Cleanup(func() {
		for _, m := range c.masters {
			m.Stop()
		}
	})
	return c
}

func (c *Cluster) check(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// Of gives the master of a name.
func (c *Cluster) Of(name string) *Master {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.masters {
		if m.Name == name {
			return m
		}
	}
	c.t.Fatalf("no master %q", name)
	return nil
}

// Advance has time pass on the clock of all.
func (c *Cluster) Advance(by time.Duration) { c.ahead.Add(int64(by)) }

// Now is what the clock of all says.
func (c *Cluster) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

func (c *Cluster) list() (live []membership.Master) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.masters {
		if m.live {
			live = append(live, membership.Master{Name: m.Name, URL: m.URL})
		}
	}
	return live
}

func (c *Cluster) away(context.Context) (away []string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.masters {
		if !m.live {
			away = append(away, m.Name)
		}
	}
	return away, nil
}

// take puts what a newcomer gets of another master into the folder.
func (m *Master) take(from *Master) error {
	files := map[string][]byte{}
	for name, data := range from.Own.Authority.Shared() {
		files["pki/"+name] = data
	}
	var err error
	if files[datafolder.EncryptionFile], err = os.ReadFile(filepath.Join(from.Dir, datafolder.EncryptionFile)); err != nil {
		return err
	}
	for name, data := range files {
		if err := m.put(name, data); err != nil {
			return err
		}
	}
	return nil
}

func (m *Master) put(name string, data []byte) error {
	path := filepath.Join(m.Dir, name)
	return errors.Join(durable.MakeFolder(filepath.Dir(path), 0o700), durable.Replace(path, data, 0o600))
}

// Start has the master serve, on what is in its folder. The second start has the address of the first.
func (m *Master) Start() error {
	c := m.cluster
	address := "127.0.0.1:0"
	if m.URL != "" {
		address = m.URL[len("https://"):]
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	m.URL = "https://" + listener.Addr().String()
	lock, err := datafolder.Lock(m.Dir, func(string, ...any) {})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	closing, err := m.open(ctx)
	if err != nil {
		cancel()
		return errors.Join(err, listener.Close(), lock.Close())
	}
	var following sync.WaitGroup
	following.Go(func() { m.Members.Follow(ctx) })
	following.Go(func() { m.Certificates.Tend(ctx) })
	server := httptest.NewUnstartedServer(m.guarded(admin.Mux(slices.Concat(m.Members.Commands(), m.Certificates.Commands(), m.Keys.Commands(), m.Backups.Commands()))))
	server.Listener.Close()
	server.Listener = tls.NewListener(listener, &tls.Config{GetCertificate: m.Own.Get, ClientAuth: tls.RequestClientCert, NextProtos: []string{"http/1.1"}})
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	m.stop = func() {
		cancel()
		server.Close()
		following.Wait()
		closing()
		lock.Close()
	}
	c.mu.Lock()
	m.live, m.mute = true, false
	c.mu.Unlock()
	return nil
}

// Stop ends the master, which is away then.
func (m *Master) Stop() {
	m.cluster.mu.Lock()
	was := m.live
	m.live = false
	m.cluster.mu.Unlock()
	if was {
		m.stop()
	}
}

// Mute has the master answer nobody, though it lives.
func (m *Master) Mute(mute bool) {
	m.cluster.mu.Lock()
	defer m.cluster.mu.Unlock()
	m.mute = mute
}

// Cut has the n-th change that the master publishes from now on come to nobody.
func (m *Master) Cut(n int) {
	m.cluster.mu.Lock()
	defer m.cluster.mu.Unlock()
	m.cut = n
}

func (m *Master) publish(ctx context.Context) error {
	m.cluster.mu.Lock()
	last := m.cut == 1
	m.cut = max(0, m.cut-1)
	m.cluster.mu.Unlock()
	if last {
		return errors.New("cut off")
	}
	ctx, cancel := context.WithTimeout(ctx, publishWait)
	defer cancel()
	return m.Members.Publish(ctx)
}

// Settle has all that live bring up to date what depends on their authority, as each does by itself.
func (c *Cluster) Settle(ctx context.Context) {
	c.t.Helper()
	for _, m := range c.masters {
		if m.live {
			c.check(m.Certificates.Follow(ctx))
		}
	}
}

// open makes the rooms of a start.
func (m *Master) open(ctx context.Context) (closing func(), err error) {
	c := m.cluster
	say := func(string, ...any) {} // what the masters say, commands answer, too
	m.Own, err = certificates.Open(certificates.Options{
		PKIDir: filepath.Join(m.Dir, "pki"), Kubeconfig: datafolder.Kubeconfig(m.Dir), URL: m.URL,
		PKI: pki.Options{Hostname: "localhost", NoEtcd: true, Now: c.Now}, Log: say, Warn: say,
	})
	if err != nil {
		return nil, err
	}
	authority := m.Own.Authority
	m.Keys = keys.New(keys.Options{File: filepath.Join(m.Dir, datafolder.EncryptionFile), Managed: true, Self: m.Name, Kinds: api.Kinds(), Log: say, Warn: say})
	caller := &admin.Caller{Introduced: func(c *admin.Client) *admin.Client { return c }, Config: m.config}
	m.Members = members.New(members.Options{
		Self: m.Name, URL: m.URL, DataDir: m.Dir, StoreKind: "memory", Joinable: true, Authority: authority,
		Parts: []membership.Shared{certificates.Shared{Authority: authority}, m.Keys}, Identity: card{}, Caller: caller,
		Privilege: admin.Privilege{Authorities: authority.ClientPool, Now: c.Now}, Now: c.Now, Log: say, Warn: say,
	})
	m.Members.Begin(members.Opened{Store: c.Store})
	if err := m.Members.CatchUp(ctx, c.list(), nil); err != nil {
		return nil, err
	}
	if err := m.Keys.Ensure(ctx, c.Store); err != nil {
		return nil, err
	}
	if m.Store, closing, err = m.Keys.Open(ctx, c.Store, func() {}); err != nil {
		return nil, err
	}
	m.Keys.Connect(keys.Needs{
		Masters: c.list, Absent: c.away, Caller: caller, Publish: m.publish, Sealed: func() map[schema.GroupResource]int { return nil },
	})
	m.Keys.Within(ctx)
	m.Members.Connect(members.Needs{
		Masters: c.list, Holder: func(string) string { return m.Name }, Encryption: m.Keys.InShort,
		Unreadable: func() (none membership.Unreadable) { return none },
	})
	tokens, err := auth.NewTokens(auth.TokenOptions{Issuers: []string{"https://kubernetes"}, Key: authority.TokenKey(), Keys: authority.TokenKeys(), Now: c.Now})
	if err != nil {
		return nil, err
	}
	m.Certificates = certificates.New(m.Own, certificates.Needs{
		Self: m.Name, Store: c.Store, Tokens: tokens, Trust: func(context.Context) error { return nil }, RenewalFailed: func() { say("a renewal failed") },
		Authenticator: auth.NewAuthenticator(auth.AuthenticatorOptions{
			ClientCAs: authority.ClientPool, Tokens: []authenticator.Token{m.Members.Tokens()}, NoAnonymous: true, Now: c.Now,
		}),
		Masters: c.list, Absent: c.away, Caller: caller, Publish: m.publish,
	})
	m.Backups = backups.New(backups.Options{
		DataDir: m.Dir, Self: m.Name, Store: c.Store, Raw: c.Store, Authority: authority,
		KeysFile: filepath.Join(m.Dir, datafolder.EncryptionFile), KeysName: datafolder.EncryptionFile, System: func() (string, error) { return "uid", nil },
		Privilege: admin.Privilege{Authorities: authority.ClientPool, Now: c.Now}, Log: say, Warn: say,
	})
	return closing, nil
}

// guarded serves commands to who shows a certificate.
func (m *Master) guarded(commands http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.cluster.mu.Lock()
		mute := m.mute
		m.cluster.mu.Unlock()
		if mute {
			panic(http.ErrAbortHandler)
		}
		who, ok, err := members.Authenticator(m.Certificates.Authenticator).AuthenticateRequest(r)
		if err != nil || !ok {
			http.Error(w, fmt.Sprintf("who is that? %v", err), http.StatusUnauthorized)
			return
		}
		commands.ServeHTTP(w, r.WithContext(request.WithUser(r.Context(), who.User)))
	})
}

// config is that of the master's own administrator.
func (m *Master) config() *rest.Config { return m.ConfigAs(m.Own.Admin()) }

// ConfigAs is the configuration of a client with a certificate, which trusts what the master trusts now.
func (m *Master) ConfigAs(pair *pki.Pair) *rest.Config {
	return &rest.Config{Host: m.URL, TLSClientConfig: rest.TLSClientConfig{
		CAData: m.Own.Authority.CA().CertPEM, CertData: pair.CertPEM, KeyData: pair.KeyPEM, NextProtos: []string{"http/1.1", membership.AuthorityProtocol},
	}}
}

// Call gives the master a command, as its administrator.
func (m *Master) Call(ctx context.Context, method, path string, in, out any) error {
	client, err := admin.NewClient(m.config())
	if err != nil {
		return err
	}
	return client.Do(ctx, method, path, in, out)
}

// Trusts tells whether a client of this master's authority, as it is in its folder, takes the other for a master, and the other the client.
func (m *Master) Trusts(ctx context.Context, other *Master) error {
	config := m.config()
	config.Host = other.URL
	client, err := admin.NewClient(config)
	if err != nil {
		return err
	}
	return client.Get(ctx, "status/own", nil)
}

// card is the identity of the store that all have in common.
type card struct{}

func (card) Card() membership.Card {
	return membership.Card{Store: membership.Store{ID: "s1"}, System: "uid"}
}
func (card) Describe(s *membership.Status) { s.System = "uid" }
func (card) Over() context.Context         { return context.Background() }
func (card) Why() error                    { return nil }
