package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
)

func options() Options {
	return Options{
		Hostname: "m1", ServiceIPs: []net.IP{net.ParseIP("10.96.0.1")}, AdvertiseIPs: []net.IP{net.ParseIP("192.0.2.7"), net.IPv4zero},
		ExtraSANs: []string{"api.example.com", "192.0.2.9"},
	}
}

func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files[name] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestEnsureMakesAndKeeps(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	a, err := Ensure(dir, options())
	if err != nil {
		t.Fatal(err)
	}
	first := snapshot(t, dir)
	if len(first) != 22 {
		t.Errorf("files: %d", len(first))
	}
	for name := range first {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		want := os.FileMode(0o644)
		if strings.HasSuffix(name, ".key") {
			want = 0o600
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
	for _, host := range []string{"m1", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"kubernetes.default.svc.cluster.local", "localhost", "127.0.0.1", "::1", "10.96.0.1", "192.0.2.7", "192.0.2.9", "api.example.com"} {
		_, err := a.Server().Certificate.Verify(x509.VerifyOptions{DNSName: host, Roots: a.ClientPool()})
		if err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if _, err := a.FrontProxyClient().Certificate.Verify(x509.VerifyOptions{Roots: a.FrontProxyPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	if _, err := Ensure(dir, options()); err != nil {
		t.Fatal(err)
	}
	second := snapshot(t, dir)
	for name, data := range first {
		if second[name] != data {
			t.Errorf("%s was changed by a second start", name)
		}
	}
}

func TestEnsureRepairs(t *testing.T) {
	dir := t.TempDir()
	if _, err := Ensure(dir, options()); err != nil {
		t.Fatal(err)
	}
	made := snapshot(t, dir)
	for _, c := range []struct {
		remove  string
		changed []string
	}{
		{"apiserver.crt", []string{"apiserver.crt"}},
		{"apiserver.key", []string{"apiserver.crt", "apiserver.key"}},
		{"sa.pub", nil},
		{"front-proxy-client.key", []string{"front-proxy-client.crt", "front-proxy-client.key"}},
	} {
		if err := os.Remove(filepath.Join(dir, c.remove)); err != nil {
			t.Fatal(err)
		}
		if _, err := Ensure(dir, options()); err != nil {
			t.Errorf("%s: %v", c.remove, err)
		}
		now := snapshot(t, dir)
		changed := map[string]bool{}
		for _, name := range c.changed {
			changed[name] = true
		}
		for name := range made {
			if (now[name] != made[name]) != changed[name] {
				t.Errorf("after removing %s: %s changed=%v", c.remove, name, now[name] != made[name])
			}
		}
		made = now
	}
}

func TestEnsureRenews(t *testing.T) {
	dir := t.TempDir()
	start := time.Now()
	o := options()
	o.Now = func() time.Time { return start }
	first, err := Ensure(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	if changed, err := first.Renew(); err != nil || changed {
		t.Errorf("a fresh certificate was renewed: %v, %v", changed, err)
	}
	start = start.Add(LeafLifetime - 24*time.Hour)
	before := first.Server()
	if changed, err := first.Renew(); err != nil || !changed {
		t.Errorf("an old certificate was not renewed: %v, %v", changed, err)
	}
	now, err := first.GetCertificate(nil)
	if err != nil || bytes.Equal(now.Certificate[0], before.Certificate.Raw) {
		t.Error("the server goes on with the old certificate")
	}
	// A crash between the two files would leave the new key beside the old certificate.
	if !samePublic(first.Server().Certificate.PublicKey, before.Certificate.PublicKey) {
		t.Error("a renewed certificate has another key")
	}
	o.ExtraSANs = append(o.ExtraSANs, "second.example.com")
	next, err := Ensure(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := next.Server().Certificate.VerifyHostname("second.example.com"); err != nil {
		t.Error(err)
	}
	start = start.Add(AuthorityLifetime)
	if _, err := Ensure(dir, o); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("an expired authority: %v", err)
	}
}

func TestEnsureRefuses(t *testing.T) {
	other, err := New(options())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(dir string) error
		want   string
	}{
		"corrupt certificate": {func(dir string) error { return os.WriteFile(filepath.Join(dir, "ca.crt"), []byte("x"), 0o644) }, "ca.crt: holds no PEM certificate"},
		"corrupt key":         {func(dir string) error { return os.WriteFile(filepath.Join(dir, "sa.key"), []byte("x"), 0o600) }, "sa.key: holds no PEM private key"},
		"foreign pair":        {func(dir string) error { return os.WriteFile(filepath.Join(dir, "ca.crt"), other.CA().CertPEM, 0o644) }, "do not belong together"},
		"foreign leaf": {func(dir string) error {
			if err := os.WriteFile(filepath.Join(dir, "apiserver.crt"), other.Server().CertPEM, 0o644); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, "apiserver.key"), other.Server().KeyPEM, 0o600)
		}, "not issued by the authority beside it"},
		"leaf as authority": {func(dir string) error {
			data, err := os.ReadFile(filepath.Join(dir, "apiserver.crt"))
			if err != nil {
				return err
			}
			os.Remove(filepath.Join(dir, "ca.key"))
			return os.WriteFile(filepath.Join(dir, "ca.crt"), data, 0o644)
		}, "not the certificate of an authority"},
		"only the public token key": {func(dir string) error { return os.Remove(filepath.Join(dir, "sa.key")) }, "sa.key is missing"},
		"authority elsewhere": {func(dir string) error {
			os.Remove(filepath.Join(dir, "ca.key"))
			return os.Remove(filepath.Join(dir, "apiserver.crt"))
		}, "authority's key is not here"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := Ensure(dir, options()); err != nil {
				t.Fatal(err)
			}
			if err := c.change(dir); err != nil {
				t.Fatal(err)
			}
			before := snapshot(t, dir)
			_, err := Ensure(dir, options())
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("error: %v", err)
			}
			after := snapshot(t, dir)
			if len(after) != len(before) {
				t.Error("files were written")
			}
		})
	}
}

func TestEnsureTakesOverRSA(t *testing.T) {
	dir := t.TempDir()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := selfSigned("kubernetes", key, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"ca.crt": ca.CertPEM, "ca.key": ca.KeyPEM, "sa.key": ca.KeyPEM} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a, err := Ensure(dir, options())
	if err != nil {
		t.Fatal(err)
	}
	if !key.Equal(a.TokenKey()) || len(a.TokenKeys()) != 1 {
		t.Error("the token key was replaced")
	}
	if _, err := a.Server().Certificate.Verify(x509.VerifyOptions{Roots: a.ClientPool()}); err != nil {
		t.Error(err)
	}
}

func TestTokenKeysKeepOlderPublicKeys(t *testing.T) {
	dir := t.TempDir()
	a, err := Ensure(dir, options())
	if err != nil {
		t.Fatal(err)
	}
	older, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(older.Public())
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "sa.pub"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := pem.Encode(f, &pem.Block{Type: "PUBLIC KEY", Bytes: der}); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := Ensure(dir, options())
	if err != nil {
		t.Fatal(err)
	}
	if len(b.TokenKeys()) != 2 || !a.TokenKey().(*ecdsa.PrivateKey).Equal(b.TokenKey()) {
		t.Errorf("keys: %d", len(b.TokenKeys()))
	}
}

func TestClientCertificates(t *testing.T) {
	a, err := New(options())
	if err != nil {
		t.Fatal(err)
	}
	p, err := a.Node("n1")
	if err != nil {
		t.Fatal(err)
	}
	if s := p.Certificate.Subject; s.CommonName != "system:node:n1" || len(s.Organization) != 1 || s.Organization[0] != "system:nodes" {
		t.Errorf("subject: %v", s)
	}
	if _, err := p.Certificate.Verify(x509.VerifyOptions{Roots: a.ClientPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
}

func TestAdminKubeconfig(t *testing.T) {
	a, err := New(options())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "sub", "admin.conf")
	read := func(server string) string {
		t.Helper()
		if err := a.EnsureAdminKubeconfig(path, server); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	first := read("https://127.0.0.1:6443")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode: %v, %v", info.Mode(), err)
	}
	if read("https://127.0.0.1:6443") != first {
		t.Error("a good kubeconfig was replaced")
	}
	if read("https://127.0.0.1:7443") == first {
		t.Error("another server is not written")
	}
	c, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil || c.Host != "https://127.0.0.1:7443" || len(c.CAData) == 0 || len(c.CertData) == 0 || len(c.KeyData) == 0 {
		t.Errorf("config: %v, %v", c, err)
	}
}

func BenchmarkEnsure(b *testing.B) {
	for b.Loop() {
		if _, err := Ensure(b.TempDir(), options()); err != nil {
			b.Fatal(err)
		}
	}
}
