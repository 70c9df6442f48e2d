package pki

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"maps"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// kubeadm makes folders as kubeadm does: RSA keys, its names, usages and lifetimes.
type kubeadm struct {
	t   *testing.T
	dir string
	key *rsa.PrivateKey // one for all: making RSA keys takes long
	// authorities by the names of their files.
	authorities map[string]*x509.Certificate
	serial      int64
}

// rsaKeys are two keys.
var rsaKeys = sync.OnceValues(func() (keys [2]*rsa.PrivateKey, err error) {
	for n := range keys {
		if keys[n], err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			return keys, err
		}
	}
	return keys, nil
})

func newKubeadm(t *testing.T) *kubeadm {
	t.Helper()
	keys, err := rsaKeys()
	if err != nil {
		t.Fatal(err)
	}
	return &kubeadm{t: t, dir: t.TempDir(), key: keys[0], authorities: map[string]*x509.Certificate{}}
}

func (k *kubeadm) write(name string, c *x509.Certificate) {
	k.t.Helper()
	key, err := encodeKey(k.key)
	if err != nil {
		k.t.Fatal(err)
	}
	k.put(name+".key", key)
	k.put(name+".crt", encodeCertificates(c))
}

func (k *kubeadm) put(name string, data []byte) {
	k.t.Helper()
	path := filepath.Join(k.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		k.t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		k.t.Fatal(err)
	}
}

func (k *kubeadm) sign(c, issuer *x509.Certificate) *x509.Certificate {
	k.t.Helper()
	k.serial++
	c.SerialNumber, c.BasicConstraintsValid = big.NewInt(k.serial), true
	der, err := x509.CreateCertificate(rand.Reader, c, issuer, k.key.Public(), k.key)
	if err != nil {
		k.t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		k.t.Fatal(err)
	}
	return made
}

func (k *kubeadm) authority(file, name string) {
	c := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IsCA: true,
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(10 * 365 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageKeyEncipherment | x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	k.authorities[file] = k.sign(c, c)
	k.write(file, k.authorities[file])
}

func (k *kubeadm) leaf(file, authority, name string, organizations []string, usages []x509.ExtKeyUsage, names ...string) {
	c := &x509.Certificate{
		Subject:   pkix.Name{CommonName: name, Organization: organizations},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(365 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageKeyEncipherment | x509.KeyUsageDigitalSignature, ExtKeyUsage: usages,
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, n)
		}
	}
	k.write(file, k.sign(c, k.authorities[authority]))
}

// all makes what kubeadm init makes on the host m1.
func (k *kubeadm) all() {
	k.authority("ca", "kubernetes")
	k.authority("front-proxy-ca", "kubernetes-front-proxy-ca")
	k.authority("etcd/ca", "etcd-ca")
	k.leaf("apiserver", "ca", "kube-apiserver", nil, serverUsage, "kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"kubernetes.default.svc.cluster.local", "m1", "control-plane.example.com", "10.96.0.1", "192.0.2.7")
	k.leaf("apiserver-kubelet-client", "ca", "kube-apiserver-kubelet-client", []string{"kubeadm:cluster-admins"}, clientUsage)
	k.leaf("front-proxy-client", "front-proxy-ca", "front-proxy-client", nil, clientUsage)
	for _, name := range []string{"etcd/server", "etcd/peer"} {
		k.leaf(name, "etcd/ca", "m1", nil, bothUsages, "localhost", "m1", "192.0.2.7", "127.0.0.1", "::1")
	}
	k.leaf("etcd/healthcheck-client", "etcd/ca", "kube-etcd-healthcheck-client", nil, clientUsage)
	k.leaf("apiserver-etcd-client", "etcd/ca", "kube-apiserver-etcd-client", nil, clientUsage)
	k.tokenKey()
}

func (k *kubeadm) tokenKey() {
	key, err := encodeKey(k.key)
	if err != nil {
		k.t.Fatal(err)
	}
	public, err := encodePublic(k.key.Public())
	if err != nil {
		k.t.Fatal(err)
	}
	k.put("sa.key", key)
	k.put("sa.pub", public)
}

func (k *kubeadm) remove(names ...string) {
	k.t.Helper()
	for _, name := range names {
		if err := os.RemoveAll(filepath.Join(k.dir, name)); err != nil {
			k.t.Fatal(err)
		}
	}
}

// kubeadmOptions are those of a master that takes the place of kubeadm's on m1; kubeadm does not certify localhost.
func kubeadmOptions() Options {
	return Options{Hostname: "m1", ServiceIPs: []net.IP{net.ParseIP("10.96.0.1")}, AdvertiseIPs: []net.IP{net.ParseIP("192.0.2.7")}}
}

// changed are the files that differ, in order.
func changed(before, after map[string]string) string {
	var names []string
	for _, name := range fileNames() {
		if before[name] != after[name] {
			names = append(names, name)
		}
	}
	return strings.Join(names, " ")
}

// TestKubeadm takes over kubeadm's folders: nothing changes but a serving certificate that lacks a name.
func TestKubeadm(t *testing.T) {
	const etcdLeaves = "etcd/server.key etcd/server.crt etcd/peer.key etcd/peer.crt etcd/healthcheck-client.key etcd/healthcheck-client.crt"
	external := func(k *kubeadm) { // as its operator gives it: the authority's certificate, and a client's pair
		k.remove("etcd/ca.key", "etcd/server.key", "etcd/server.crt", "etcd/peer.key", "etcd/peer.crt", "etcd/healthcheck-client.key", "etcd/healthcheck-client.crt")
	}
	for name, c := range map[string]struct {
		change  func(k *kubeadm)
		changed string
		peer    bool
	}{
		"stacked etcd":            {func(*kubeadm) {}, "apiserver.crt", true},
		"external etcd":           {external, "apiserver.crt", false},
		"external etcd, apart":    {func(k *kubeadm) { k.remove("etcd") }, "etcd/ca.key etcd/ca.crt apiserver.crt " + etcdLeaves, true},
		"an older Wheelhouse's":   {func(k *kubeadm) { k.remove("etcd", "apiserver-etcd-client.crt", "apiserver-etcd-client.key") }, "etcd/ca.key etcd/ca.crt apiserver.crt " + etcdLeaves + " apiserver-etcd-client.key apiserver-etcd-client.crt", true},
		"without authority's key": {func(k *kubeadm) { k.remove("ca.key", "front-proxy-ca.key") }, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKubeadm(t)
			k.all()
			c.change(k)
			before := snapshot(t, k.dir)
			a := mustEnsure(t, k.dir, kubeadmOptions())
			after := snapshot(t, k.dir)
			if got := changed(before, after); got != c.changed {
				t.Errorf("changed: %s\nwant:    %s", got, c.changed)
			}
			if (a.EtcdReady() == nil) != c.peer {
				t.Errorf("etcd's peers: %v", a.EtcdReady())
			}
			mustEnsure(t, k.dir, kubeadmOptions())
			if !maps.Equal(after, snapshot(t, k.dir)) {
				t.Error("a second start changed something")
			}
		})
	}
}

// TestKubeadmRenewal keeps what kubeadm put into the certificates that are issued anew.
func TestKubeadmRenewal(t *testing.T) {
	k := newKubeadm(t)
	k.all()
	now := time.Now()
	o := kubeadmOptions()
	o.Now = func() time.Time { return now }
	a := mustEnsure(t, k.dir, o)
	now = now.Add(LeafLifetime * 2 / 3)
	if renewed, err := a.Renew(); !renewed || err != nil {
		t.Fatal(renewed, err)
	}
	if err := a.Server().Certificate.VerifyHostname("control-plane.example.com"); err != nil {
		t.Error(err)
	}
	if groups := a.KubeletClient().Certificate.Subject.Organization; len(groups) != 1 || groups[0] != "kubeadm:cluster-admins" {
		t.Errorf("groups: %q", groups)
	}
	for _, d := range a.List() {
		if d.Renews != nil && d.Left(now) < LeafLifetime-time.Hour {
			t.Errorf("%s was not renewed", d.Name)
		}
	}
}

// TestWithoutAuthorityKey tells what cannot be done without it, and does the rest.
func TestWithoutAuthorityKey(t *testing.T) {
	k := newKubeadm(t)
	k.all()
	k.remove("ca.key")
	now := time.Now()
	o := kubeadmOptions()
	o.Now = func() time.Time { return now }
	a := mustEnsure(t, k.dir, o)
	if _, err := a.Admin(); err == nil || !strings.Contains(err.Error(), "ca.key is not here") {
		t.Errorf("issuing: %v", err)
	}
	if err := a.Prepare("ca"); err == nil || !strings.Contains(err.Error(), "kept elsewhere: rotate it there") {
		t.Errorf("rotating: %v", err)
	}
	now = now.Add(LeafLifetime * 2 / 3)
	before := a.Server()
	if renewed, err := a.Renew(); !renewed || err != nil {
		t.Errorf("the front proxy's and etcd's certificates: %v, %v", renewed, err)
	}
	if a.Server() != before && !a.Server().Certificate.Equal(before.Certificate) {
		t.Error("the serving certificate was made by nobody")
	}
	// Their operator rotates elsewhere: a bundle of the old and the new authority, and then leaves of the new one.
	older := k.authorities["ca"]
	keys, err := rsaKeys()
	if err != nil {
		t.Fatal(err)
	}
	k.key = keys[1]
	k.authority("ca", "kubernetes-new")
	k.put("ca.crt", encodeCertificates(older, k.authorities["ca"]))
	k.remove("ca.key")
	k.leaf("apiserver", "ca", "kube-apiserver", nil, serverUsage, "m1")
	a = mustEnsure(t, k.dir, kubeadmOptions())
	for _, c := range []*x509.Certificate{a.KubeletClient().Certificate, k.sign(&x509.Certificate{
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: clientUsage}, k.authorities["ca"])} {
		if !accepts(a.ClientPool(), c) {
			t.Errorf("%s of %s is refused", c.Subject, c.Issuer)
		}
	}
}

// TestExpiredLeaf: what only the holder of the key can renew is an error that says so.
func TestExpiredLeaf(t *testing.T) {
	k := newKubeadm(t)
	k.all()
	k.remove("ca.key")
	o := kubeadmOptions()
	o.Now = func() time.Time { return time.Now().Add(2 * LeafLifetime) }
	if _, err := Ensure(k.dir, o); err == nil || !strings.Contains(err.Error(), "apiserver.crt expired on") {
		t.Errorf("error: %v", err)
	}
}
