package certificates

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/pki"
)

// TestServingFiles takes new files without a restart, and keeps the last good ones. Masters are shown the authority's all the while.
func TestServingFiles(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	put := func(at time.Time) {
		t.Helper()
		a, err := pki.New(pki.Options{Hostname: "api.example.com", Now: func() time.Time { return at }})
		if err != nil {
			t.Fatal(err)
		}
		for path, data := range map[string][]byte{cert: a.Server().CertPEM, key: a.Server().KeyPEM} {
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	put(time.Now())
	o, err := Open(Options{PKIDir: filepath.Join(dir, "pki"), PKI: pki.Options{Now: time.Now}, CertFile: cert, KeyFile: key, Log: t.Logf, Warn: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	shown := func(name string, protocols ...string) string {
		t.Helper()
		pair, err := o.Get(&tls.ClientHelloInfo{ServerName: name, SupportedProtos: protocols})
		if err != nil {
			t.Fatal(err)
		}
		return pair.Leaf.SerialNumber.String()
	}
	own, first := o.Authority.Server().Certificate.SerialNumber.String(), shown("api.example.com")
	if first == own || shown("m.elsewhere") != own || shown("api.example.com", membership.AuthorityProtocol) != own {
		t.Fatal("the wrong certificate is shown")
	}
	if err := os.WriteFile(key, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	o.serving.look()
	if shown("api.example.com") != first {
		t.Error("broken files replaced good ones")
	}
	put(time.Now().Add(-2 * pki.LeafLifetime))
	o.serving.look()
	if shown("api.example.com") != first {
		t.Error("expired files replaced good ones")
	}
	put(time.Now())
	o.serving.look()
	if next := shown("api.example.com"); next == first || next == own {
		t.Error("the new certificate is not shown")
	}
}
