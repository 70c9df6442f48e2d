package master

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/master/certificates"
	"github.com/wheelhouse-k8s/wheelhouse/pki"
)

// operators is a folder with a serving certificate that an operator's own authority has issued.
type operators struct {
	t         *testing.T
	cert, key string
}

// put issues a certificate for a name, as of a time.
func (o *operators) put(name string, at time.Time) {
	o.t.Helper()
	a, err := pki.New(pki.Options{Hostname: name, Now: func() time.Time { return at }})
	if err != nil {
		o.t.Fatal(err)
	}
	for path, data := range map[string][]byte{o.cert: a.Server().CertPEM, o.key: a.Server().KeyPEM} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			o.t.Fatal(err)
		}
	}
}

// shown is the serial number of the certificate that a client is shown who asks for a name.
func shown(t *testing.T, m *Master, name string) string {
	t.Helper()
	c, err := tls.Dial("tcp", strings.TrimPrefix(m.URL(), "https://"), &tls.Config{InsecureSkipVerify: true, ServerName: name})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

// TestServingFiles serves with an operator's certificate where that covers how the client calls the master.
func TestServingFiles(t *testing.T) {
	dir := t.TempDir()
	o := &operators{t, filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")}
	o.put("api.example.com", time.Now())
	m := run(t, func(c *Config) { c.TLSCertFile, c.TLSKeyFile = o.cert, o.key })
	own := m.own.Authority.Server().Certificate.SerialNumber.String()
	first := shown(t, m, "api.example.com")
	if first == own || shown(t, m, "m.elsewhere") != own {
		t.Fatal("the wrong certificate is shown")
	}
	clients, _ := fresh(t, readFile(t, m.Kubeconfig()))
	if _, err := clients.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{}); err == nil {
		// 127.0.0.1 is in both certificates, and then the operator's is shown.
		t.Error("the operator's certificate is not shown to who comes to an address that it covers")
	}
	for _, d := range m.own.List() {
		if d.Name == "tls-cert-file" && d.Renews != nil {
			t.Error("nobody renews the operator's certificate")
		}
	}
}

// TestServingFilesRefused tells at the start what cannot be served with.
func TestServingFilesRefused(t *testing.T) {
	for want, change := range map[string]func(o *operators){
		"expired on":       func(o *operators) { o.put("a", time.Now().Add(-2*pki.LeafLifetime)) },
		"not valid before": func(o *operators) { o.put("a", time.Now().Add(pki.LeafLifetime)) },
		"does not match": func(o *operators) {
			o.put("a", time.Now())
			other := &operators{o.t, o.cert + ".other", o.key}
			other.put("a", time.Now())
		},
		"no such file": func(*operators) {},
	} {
		dir := t.TempDir()
		o := &operators{t, filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")}
		change(o)
		c := Default()
		c.DataDir, c.BindAddress, c.SecurePort = filepath.Join(dir, "data"), "127.0.0.1", 0
		c.TLSCertFile, c.TLSKeyFile = o.cert, o.key
		m, err := New(c)
		if err == nil {
			m.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "--tls-cert-file") {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// TestWithoutAuthorityKey starts on a folder whose authority's key was taken away.
func TestWithoutAuthorityKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	c := Default()
	c.DataDir, c.BindAddress, c.SecurePort = dir, "127.0.0.1", 0
	made, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	made.Close()
	for _, name := range []string{"ca.key", "front-proxy-ca.key"} {
		if err := os.Remove(filepath.Join(dir, "pki", name)); err != nil {
			t.Fatal(err)
		}
	}
	m := run(t, func(c *Config) { c.DataDir, c.SecurePort = dir, made.Port() })
	clients, commands := fresh(t, readFile(t, m.Kubeconfig()))
	if _, err := clients.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Error(err)
	}
	if m.own.Admin().Certificate.Subject.CommonName != "kubernetes-super-admin" {
		t.Errorf("the master calls others as %s", m.own.Admin().Certificate.Subject)
	}
	err = commands.Post(t.Context(), "certificates/rotation", certificates.Step{Step: "prepare"}, nil)
	if err == nil || !strings.Contains(err.Error(), "is kept elsewhere: rotate it there") {
		t.Errorf("rotating: %v", err)
	}
	err = commands.Post(t.Context(), "certificates/renew", certificates.Renewal{All: true}, nil)
	if err == nil || !strings.Contains(err.Error(), "where the key is") {
		t.Errorf("renewing: %v", err)
	}
	for _, d := range m.own.List() {
		if d.Renews != nil && (d.Name == "apiserver" || d.Name == "admin.kubeconfig") {
			t.Errorf("%s is said to be renewed", d.Name)
		}
	}
}
