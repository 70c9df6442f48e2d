package auth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/wheelhouse-k8s/wheelhouse/pki"
)

type world struct {
	authority, foreign *pki.Authority
	authenticator      *Authenticator
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{}
	for _, a := range []**pki.Authority{&w.authority, &w.foreign} {
		made, err := pki.New(pki.Options{Hostname: "m"})
		if err != nil {
			t.Fatal(err)
		}
		*a = made
	}
	tokens := authenticator.TokenFunc(func(_ context.Context, token string) (*authenticator.Response, bool, error) {
		switch token {
		case "good":
			return &authenticator.Response{User: &user.DefaultInfo{Name: "bearer", Groups: []string{"g"}}}, true, nil
		case "bad":
			return nil, false, errors.New("expired")
		}
		return nil, false, nil
	})
	w.authenticator = NewAuthenticator(AuthenticatorOptions{
		ClientCAs: w.authority.ClientPool, FrontProxyCAs: w.authority.FrontProxyPool, FrontProxyNames: []string{"front-proxy-client"},
		Tokens: []authenticator.Token{tokens}, Audiences: []string{"api"},
	})
	return w
}

func client(t testing.TB, a *pki.Authority, name string, groups ...string) *x509.Certificate {
	t.Helper()
	p, err := a.Client(name, groups...)
	if err != nil {
		t.Fatal(err)
	}
	return p.Certificate
}

func TestAuthenticateRequest(t *testing.T) {
	w := newWorld(t)
	alice := client(t, w.authority, "alice", "dev", "ops")
	mallory := client(t, w.foreign, "root", "system:masters")
	proxy := w.authority.FrontProxyClient().Certificate
	remote := map[string]string{"X-Remote-User": "bob", "X-Remote-Group": "g", "X-Remote-Extra-Scopes": "a"}
	bearer := func(token string) map[string]string { return map[string]string{"Authorization": token} }
	socket := "base64url.bearer.authorization.k8s.io." + base64.RawURLEncoding.EncodeToString([]byte("good"))
	for name, c := range map[string]struct {
		certificate *x509.Certificate
		headers     map[string]string
		want        string // user and groups, or empty if refused
	}{
		"nothing":                        {nil, nil, "system:anonymous system:unauthenticated"},
		"certificate":                    {alice, nil, "alice dev ops system:authenticated"},
		"foreign certificate":            {mallory, nil, ""},
		"serving certificate":            {w.authority.Server().Certificate, nil, ""},
		"token":                          {nil, bearer("Bearer good"), "bearer g system:authenticated"},
		"token in small letters":         {nil, bearer("bearer good"), "bearer g system:authenticated"},
		"expired token":                  {nil, bearer("Bearer bad"), ""},
		"unknown token":                  {nil, bearer("Bearer bogus"), ""},
		"other scheme":                   {nil, bearer("Basic YTpi"), "system:anonymous system:unauthenticated"},
		"empty token":                    {nil, bearer("Bearer "), "system:anonymous system:unauthenticated"},
		"certificate wins over token":    {alice, bearer("Bearer bogus"), "alice dev ops system:authenticated"},
		"token beside wrong certificate": {mallory, bearer("Bearer good"), "bearer g system:authenticated"},
		"proxy":                          {proxy, remote, "bob g system:authenticated"},
		"proxy without a user":           {proxy, nil, ""},
		"headers without a proxy":        {nil, remote, "system:anonymous system:unauthenticated"},
		"headers of a client":            {alice, remote, "alice dev ops system:authenticated"},
		"web socket":                     {nil, map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Protocol": socket + ", v4.channel.k8s.io"}, "bearer g system:authenticated"},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 { // the second time from memory
				r := httptest.NewRequest(http.MethodGet, "/api", nil)
				for k, v := range c.headers {
					r.Header.Set(k, v)
				}
				r.TLS = &tls.ConnectionState{}
				if c.certificate != nil {
					r.TLS.PeerCertificates = []*x509.Certificate{c.certificate}
				}
				response, ok, err := w.authenticator.AuthenticateRequest(r)
				if (c.want != "") != (ok && err == nil) {
					t.Fatalf("%v %v", ok, err)
				}
				if c.want == "" {
					continue
				}
				if got := strings.Join(append([]string{response.User.GetName()}, response.User.GetGroups()...), " "); got != c.want {
					t.Errorf("user: %s", got)
				}
				if strings.HasPrefix(c.want, "bearer") && r.Header.Get("Authorization") != "" {
					t.Error("the token is passed on")
				}
			}
		})
	}
}

func TestCertificateCredentialID(t *testing.T) {
	w := newWorld(t)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{client(t, w.authority, "a")}}
	response, _, err := w.authenticator.AuthenticateRequest(r)
	if err != nil {
		t.Fatal(err)
	}
	if id := response.User.GetExtra()[user.CredentialIDKey]; len(id) != 1 || !strings.HasPrefix(id[0], "X509SHA256=") {
		t.Errorf("credential: %v", id)
	}
}

// TestCertificatesForgetOtherAuthorities: what was verified with one authority is worth nothing after it is replaced.
func TestCertificatesForgetOtherAuthorities(t *testing.T) {
	w := newWorld(t)
	pool := w.authority.ClientPool()
	a := NewAuthenticator(AuthenticatorOptions{ClientCAs: func() *x509.CertPool { return pool }, NoAnonymous: true})
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{client(t, w.authority, "a")}}
	if _, ok, err := a.AuthenticateRequest(r); !ok || err != nil {
		t.Fatal(err)
	}
	pool = w.foreign.ClientPool()
	if _, ok, err := a.AuthenticateRequest(r); ok || err == nil {
		t.Error("a certificate of the old authority is taken")
	}
	r.TLS = nil
	if _, ok, err := a.AuthenticateRequest(r); ok || err != nil {
		t.Errorf("anonymous: %v %v", ok, err)
	}
}

func TestBootstrapTokens(t *testing.T) {
	r, z := start(t)
	b := &bootstrapTokens{objects{r}, func() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }}
	n := 0
	for name, c := range map[string]struct {
		edit func(data map[string]string)
		want []string
	}{
		"good":           {func(map[string]string) {}, []string{"system:bootstrappers"}},
		"with groups":    {func(d map[string]string) { d["auth-extra-groups"] = "system:bootstrappers:kubeadm:default-node-token" }, []string{"system:bootstrappers", "system:bootstrappers:kubeadm:default-node-token"}},
		"foreign groups": {func(d map[string]string) { d["auth-extra-groups"] = "system:masters" }, nil},
		"not to log in":  {func(d map[string]string) { delete(d, "usage-bootstrap-authentication") }, nil},
		"other secret":   {func(d map[string]string) { d["token-secret"] = "abcdefabcdefabcd" }, nil},
		"expired":        {func(d map[string]string) { d["expiration"] = "2025-12-31T23:59:59Z" }, nil},
		"expires later":  {func(d map[string]string) { d["expiration"] = "2026-01-02T00:00:00Z" }, []string{"system:bootstrappers"}},
		"strange date":   {func(d map[string]string) { d["expiration"] = "soon" }, nil},
	} {
		n++
		id := "abcde" + string(rune('0'+n))
		data := map[string]string{"token-id": id, "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true"}
		c.edit(data)
		create(t, r, z, "secrets", &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "bootstrap-token-" + id}, Type: bootstrapSecretType, StringData: data,
			Data: toBytes(data),
		})
		response, ok, err := b.AuthenticateToken(t.Context(), id+".0123456789abcdef")
		if err != nil || ok != (c.want != nil) {
			t.Errorf("%s: %v %v", name, ok, err)
		} else if ok && (response.User.GetName() != "system:bootstrap:"+id || !slices.Equal(response.User.GetGroups(), c.want)) {
			t.Errorf("%s: %v", name, response.User)
		}
	}
	if _, ok, err := b.AuthenticateToken(t.Context(), "ffffff.0123456789abcdef"); ok || err != nil {
		t.Errorf("missing: %v %v", ok, err)
	}
}

func toBytes(data map[string]string) map[string][]byte {
	out := map[string][]byte{}
	for k, v := range data {
		out[k] = []byte(v)
	}
	return out
}

func BenchmarkCertificate(b *testing.B) {
	w := newWorld(b)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{client(b, w.authority, "a", "g")}}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok, err := w.authenticator.AuthenticateRequest(r); !ok || err != nil {
			b.Fatal(err)
		}
	}
}

// TestCertificatesUsed tells who came with which certificate, and forgets those who have not come for a while.
func TestCertificatesUsed(t *testing.T) {
	authority, err := pki.New(pki.Options{Hostname: "m"})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	a := NewAuthenticator(AuthenticatorOptions{ClientCAs: authority.ClientPool, Now: func() time.Time { return now }})
	come := func(c *x509.Certificate) bool {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{c}}
		_, ok, _ := a.AuthenticateRequest(r)
		return ok
	}
	alice, bob := client(t, authority, "alice"), client(t, authority, "bob")
	if !come(alice) || !come(bob) {
		t.Fatal("refused")
	}
	now = now.Add(time.Hour)
	if !come(bob) {
		t.Fatal("refused")
	}
	if used, _ := a.CertificatesUsed(now.Add(-time.Minute)); len(used) != 1 || used[0].Certificate != bob || used[0].Last.Unix() != now.Unix() {
		t.Errorf("used: %v", used)
	}
	if used, began := a.CertificatesUsed(now.Add(-2 * time.Hour)); began.After(now.Add(-time.Hour)) || len(used) != 2 {
		t.Errorf("used: %v", used)
	}
	now = now.Add(pki.LeafLifetime)
	if come(bob) {
		t.Error("an expired certificate is taken because it was good once")
	}
}
