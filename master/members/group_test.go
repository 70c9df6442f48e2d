package members

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
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/rest"

	"github.com/wheelhouse-k8s/wheelhouse/admin"
	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/pki"
	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
)

// group is masters that each have a member of etcd.
type group struct {
	t    *testing.T
	mu   sync.Mutex // guards live
	live []membership.Master
}

func (g *group) masters() []membership.Master {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.live)
}

func (g *group) check(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

// node is one of them.
type node struct {
	*Members
	group     *group
	url, dir  string
	authority *pki.Authority
	ended     chan error // what Watch has returned
}

// authorityFiles are the shared files of an authority.
type authorityFiles struct{ *pki.Authority }

func (a authorityFiles) Files() (map[string][]byte, error) {
	files := map[string][]byte{}
	for name, data := range a.Shared() {
		files[datafolder.SharedPKI+name] = data
	}
	return files, nil
}

func (a authorityFiles) Install(files map[string][]byte) error {
	own := map[string][]byte{}
	for name, data := range files {
		own[strings.TrimPrefix(name, datafolder.SharedPKI)] = data
	}
	return a.Authority.Install(own)
}

// start begins a group, or joins it by another master with a token.
func (g *group) start(name string, by *node, token string) *node {
	g.t.Helper()
	n := &node{group: g, dir: g.t.TempDir(), ended: make(chan error, 1)}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	g.check(err)
	n.url = "https://" + listener.Addr().String()
	door := &Door{DataDir: n.dir, BindAddress: "127.0.0.1", Host: "127.0.0.1", Authority: func() *pki.Authority { return n.authority }}
	var join *etcd.Join
	if by != nil {
		grant := g.join(n, name, door, by, token)
		join = &etcd.Join{Cluster: grant.Cluster}
	}
	n.authority, err = pki.Ensure(filepath.Join(n.dir, "pki"), pki.Options{Hostname: "localhost", AdvertiseIPs: []net.IP{net.IPv4(127, 0, 0, 1)}, Now: time.Now})
	g.check(err)
	o := etcd.Options{Dir: filepath.Join(n.dir, "etcd"), Name: name, Fatal: func(err error) { g.t.Log(err) }}
	g.check(door.Options(&o, join))
	member, err := etcd.Open(g.t.Context(), o)
	g.check(err)
	n.Members = New(Options{
		Self: name, URL: n.url, DataDir: n.dir, StoreKind: "etcd", Joinable: true, Door: door, Authority: n.authority,
		Parts: []membership.Shared{authorityFiles{n.authority}}, Identity: alone{}, Now: time.Now, Log: g.t.Logf, Warn: g.t.Logf,
		Privilege: admin.Privilege{Authorities: n.authority.ClientPool, Now: time.Now},
		Caller:    &admin.Caller{Config: n.config, Introduced: func(c *admin.Client) *admin.Client { return c }},
	})
	n.Begin(Opened{Store: member, Member: member})
	n.Connect(Needs{Masters: g.masters, Holder: func(string) string { return name }, Encryption: func() string { return "none" }, Unreadable: alone{}.unreadable})
	g.check(n.CatchUp(g.t.Context(), g.masters(), nil))
	ctx, cancel := context.WithCancel(context.Background())
	server := n.serve(listener)
	go func() { n.ended <- n.Watch(ctx) }()
	g.t.Cleanup(func() {
		cancel()
		server.Close()
		g.check(member.Close())
	})
	g.mu.Lock()
	g.live = append(g.live, membership.Master{Name: name, URL: n.url})
	g.mu.Unlock()
	return n
}

// join asks another master, and puts what it gives into place.
func (g *group) join(n *node, name string, door *Door, by *node, token string) *membership.Grant {
	g.t.Helper()
	peer, err := door.URL()
	g.check(err)
	hashes, err := membership.Hashes(by.authority.CA().CertPEM)
	g.check(err)
	parsed, err := membership.ParseToken(token)
	g.check(err)
	joiner := &membership.Joiner{Servers: []string{by.url}, Token: parsed, Hashes: hashes, Log: g.t.Logf,
		Request: membership.Request{Name: name, PeerURL: peer, Version: by.StatusOf(nil, 0).Version}}
	grant, err := joiner.Join(g.t.Context())
	g.check(err)
	for file, data := range grant.Files {
		path := filepath.Join(n.dir, "pki", strings.TrimPrefix(file, datafolder.SharedPKI))
		g.check(errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, data, 0o600)))
	}
	return grant
}

// serve answers commands: of who shows a certificate of an administrator, and of who has a token at the door for that.
func (n *node) serve(listener net.Listener) *httptest.Server {
	commands := admin.Mux(n.Commands())
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var who user.Info = &user.DefaultInfo{Name: "admin", Groups: []string{user.SystemPrivilegedGroup}}
		if len(r.TLS.PeerCertificates) == 0 {
			token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
			answer, ok, err := n.Tokens().AuthenticateToken(context.WithValue(r.Context(), doorMark{}, true), token)
			if err != nil || !ok {
				http.Error(w, "who is that?", http.StatusUnauthorized)
				return
			}
			who = answer.User
		}
		commands.ServeHTTP(w, r.WithContext(request.WithUser(r.Context(), who)))
	}))
	pair := *n.authority.Server().TLS()
	pair.Certificate = append(slices.Clone(pair.Certificate), n.authority.CA().Certificate.Raw)
	server.Listener.Close()
	server.Listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert, NextProtos: []string{"http/1.1"}})
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	return server
}

func (n *node) config() *rest.Config {
	pair, err := n.authority.Admin()
	n.group.check(err)
	return &rest.Config{TLSClientConfig: rest.TLSClientConfig{CAData: n.authority.CA().CertPEM, CertData: pair.CertPEM, KeyData: pair.KeyPEM}}
}

// call gives the master a command, as its administrator.
func (n *node) call(method, path string, in, out any) error {
	client, err := n.Caller.To(n.url)
	if err != nil {
		return err
	}
	return client.Do(n.group.t.Context(), method, path, in, out)
}

// token makes one with which a master joins.
func (n *node) token() string {
	n.group.t.Helper()
	var a InvitationAnswer
	n.group.check(n.call(http.MethodPost, "tokens", InvitationRequest{Seconds: 60}, &a))
	return a.Token
}

// roles waits until the master sees members with these roles, in some order.
func (n *node) roles(want ...string) {
	n.group.t.Helper()
	var got []string
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var list memberList
		n.group.check(n.call(http.MethodGet, "members", nil, &list))
		got = nil
		for _, one := range list.Members {
			got = append(got, fmt.Sprint(one.Role))
		}
		slices.Sort(got)
		if slices.Equal(got, want) {
			return
		}
	}
	n.group.t.Fatalf("the members are %q, not %q", got, want)
}

// refused gives a command that must be refused.
func (n *node) refused(method, path string, in any, want string) {
	n.group.t.Helper()
	if err := n.call(method, path, in, nil); err == nil || !strings.Contains(err.Error(), want) {
		n.group.t.Errorf("%s %s: %v", method, path, err)
	}
}

// TestGroup: masters join with tokens, get their votes, hand leadership on, give space back, and one that is removed ends.
func TestGroup(t *testing.T) {
	g := &group{t: t}
	one := g.start("one", nil, "")
	one.roles("leader")
	one.refused(http.MethodDelete, "members/one", nil, "one")
	one.refused(http.MethodPost, "leader", leaderRequest{Name: "nobody"}, "there is no master nobody")
	two := g.start("two", one, one.token())
	one.roles("leader", "learner")
	three := g.start("three", two, two.token()) // by one that has no vote yet
	one.roles("leader", "voter", "voter")

	// Leadership goes where it is told, whoever is asked.
	for _, to := range []string{"two", "three", "one"} {
		if err := three.call(http.MethodPost, "leader", leaderRequest{Name: to}, nil); err != nil {
			t.Errorf("to %s: %v", to, err)
		}
	}
	var b membership.Belonging
	if err := two.call(http.MethodGet, membership.IdentityPath, nil, &b); err != nil || len(b.Members) != 3 {
		t.Errorf("who belongs here: %+v, %v", b, err)
	}
	var done defragmentations
	if err := two.call(http.MethodPost, "defragment", nil, &done); err != nil || len(done.Members) != 3 || done.Members[2].Name != "one" {
		t.Errorf("the leader comes last: %+v, %v", done, err)
	}
	var s membership.Status
	if err := two.call(http.MethodGet, "status", nil, &s); err != nil || len(s.Masters) != 3 || !s.Healthy {
		t.Errorf("%+v, %v", s, err)
	}
	if s := two.StartStatus(two.Member, "it waits"); s.Healthy || len(s.Masters) != 3 || !strings.Contains(s.Problems[0], "it waits") {
		t.Errorf("%+v", s)
	}

	// What is shared goes to masters alone.
	if err := two.authority.PrepareTokenKey(); err != nil {
		t.Fatal(err)
	}
	go one.Follow(t.Context())
	go three.Follow(t.Context())
	if err := two.Publish(t.Context()); err != nil || len(one.authority.TokenKeys()) != 2 || len(three.authority.TokenKeys()) != 2 {
		t.Errorf("a new key: %v, %d and %d", err, len(one.authority.TokenKeys()), len(three.authority.TokenKeys()))
	}
	two.refused(http.MethodPost, "members/nobody/promote", nil, "there is no master nobody")
	if err := one.call(http.MethodDelete, "members/three", nil, nil); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-three.ended:
		if !errors.Is(err, errRemoved) {
			t.Errorf("three ends because of %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("three goes on")
	}
	one.roles("leader", "voter")
	if away, err := one.Absent(t.Context()); err != nil || len(away) != 0 {
		t.Errorf("away: %v, %v", away, err)
	}
}
