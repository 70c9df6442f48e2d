package membership

import (
	"bytes"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/wheelhouse-k8s/wheelhouse/pki"
)

// TestSeal: only who holds the whole token can open what was sealed for it, and only once for each exchange.
func TestSeal(t *testing.T) {
	token := Token{ID: "abcdef", Secret: "0123456789abcdef"}
	client, err := newKeyExchange()
	if err != nil {
		t.Fatal(err)
	}
	server, err := newKeyExchange()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := server.seal(client.public(), token, []byte("keys"))
	if err != nil || bytes.Contains(sealed, []byte("keys")) {
		t.Fatalf("%q, %v", sealed, err)
	}
	if data, err := client.open(server.public(), token, sealed); err != nil || string(data) != "keys" {
		t.Errorf("%q, %v", data, err)
	}
	other, err := newKeyExchange()
	if err != nil {
		t.Fatal(err)
	}
	broken := bytes.Clone(sealed)
	broken[len(broken)-1] ^= 1
	for name, open := range map[string]func() ([]byte, error){
		"another token's secret": func() ([]byte, error) {
			return client.open(server.public(), Token{"abcdef", "0123456789abcdeX"}, sealed)
		},
		"another token's ID": func() ([]byte, error) {
			return client.open(server.public(), Token{"abcdeX", "0123456789abcdef"}, sealed)
		},
		"another exchange": func() ([]byte, error) { return other.open(server.public(), token, sealed) },
		"another server":   func() ([]byte, error) { return client.open(other.public(), token, sealed) },
		"changed":          func() ([]byte, error) { return client.open(server.public(), token, broken) },
		"no key":           func() ([]byte, error) { return client.open(nil, token, sealed) },
	} {
		if data, err := open(); err == nil {
			t.Errorf("%s opens it: %q", name, data)
		}
	}
}

func TestVerifyPinned(t *testing.T) {
	a, err := pki.New(pki.Options{Hostname: "first"})
	if err != nil {
		t.Fatal(err)
	}
	other, err := pki.New(pki.Options{Hostname: "first"})
	if err != nil {
		t.Fatal(err)
	}
	leaf, ca := a.Server().Certificate, a.CA().Certificate
	hash := Hash(ca)
	now := time.Now()
	for name, c := range map[string]struct {
		shown []*x509.Certificate
		host  string
		hash  string
		now   time.Time
		fails string
	}{
		"good":             {[]*x509.Certificate{leaf, ca}, "localhost", hash, now, ""},
		"upper case":       {[]*x509.Certificate{leaf, ca}, "127.0.0.1", strings.ToUpper(hash), now, ""},
		"one of two":       {[]*x509.Certificate{leaf, other.CA().Certificate, ca}, "localhost", hash, now, ""},
		"another cluster":  {[]*x509.Certificate{leaf, ca}, "localhost", Hash(other.CA().Certificate), now, "not the one of"},
		"a foreign leaf":   {[]*x509.Certificate{other.Server().Certificate, ca}, "localhost", hash, now, "is not good"},
		"another host":     {[]*x509.Certificate{leaf, ca}, "elsewhere.example", hash, now, "is not good"},
		"no authority":     {[]*x509.Certificate{leaf}, "localhost", hash, now, "is not a Wheelhouse master"},
		"nothing":          {nil, "localhost", hash, now, "is not a Wheelhouse master"},
		"a slow clock":     {[]*x509.Certificate{leaf, ca}, "localhost", hash, now.Add(-time.Hour), "set the clocks"},
		"after its expiry": {[]*x509.Certificate{leaf, ca}, "localhost", hash, now.Add(2 * 365 * 24 * time.Hour), "set the clocks"},
	} {
		err := verifyPinned(c.shown, c.host, []string{c.hash}, c.now)
		if c.fails == "" && err != nil || c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)) {
			t.Errorf("%s: %v, want %q", name, err, c.fails)
		}
	}
}

// TestTokens: what is written is read back, and what the authenticator would refuse is no token.
func TestTokens(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	spec, err := TokenForNodes(time.Hour, now)
	if err != nil {
		t.Fatal(err)
	}
	read, ok := TokenOf(spec.Secret())
	if !ok || read.Token != spec.Token || !read.Expires.Equal(now.Add(time.Hour)) || len(read.Usages) != 2 || read.Groups[0] != spec.Groups[0] {
		t.Errorf("%+v, %v", read, ok)
	}
	if parsed, err := ParseToken(spec.Token.String()); err != nil || parsed != spec.Token {
		t.Errorf("%s: %v, %v", spec.Token, parsed, err)
	}
	for _, bad := range []string{"", "abcdef", "abcdef.0123456789abcde", "ABCDEF.0123456789abcdef", "abcdef.0123456789abcdef "} {
		if _, err := ParseToken(bad); err == nil {
			t.Errorf("%q is taken for a token", bad)
		}
	}
	if forever, err := TokenForNodes(0, now); err != nil || !forever.Expires.IsZero() {
		t.Errorf("%+v, %v", forever, err)
	}
	if longer := (&TokenSpec{Token: Token{"abcdef", strings.Repeat("0", 25)}}); longer.Check() == nil {
		t.Error("a Secret may hold a token of the masters' form")
	}
	if _, ok := TokenOf(&corev1.Secret{Type: corev1.SecretTypeOpaque}); ok {
		t.Error("any secret is taken for a token")
	}
	if line := JoinLine(RoleNode, []string{"https://a:1", "https://b:1"}, Token{"i", "s"}, []string{"sha256:x", "sha256:y"}); line !=
		"kubeadm join a:1 --token i.s --discovery-token-ca-cert-hash sha256:x --discovery-token-ca-cert-hash sha256:y" {
		t.Error(line)
	}
}
