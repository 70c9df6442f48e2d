package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"slices"
	"time"
)

// Pair is a certificate and its private key, which is nil when it is kept elsewhere.
type Pair struct {
	Certificate *x509.Certificate
	Key         crypto.Signer
	// CertPEM holds the certificate as it was read or made, KeyPEM the key.
	CertPEM, KeyPEM []byte

	tls tls.Certificate
}

// TLS is the pair for a tls.Config; the result is shared and must not be changed.
func (p *Pair) TLS() *tls.Certificate { return &p.tls }

// complete makes the pair ready for TLS, with the certificates of its chain that peers are shown besides it.
func (p *Pair) complete(chain []*x509.Certificate) *Pair {
	p.tls = tls.Certificate{Certificate: [][]byte{p.Certificate.Raw}, PrivateKey: p.Key, Leaf: p.Certificate}
	for _, c := range chain {
		p.tls.Certificate = append(p.tls.Certificate, c.Raw)
	}
	return p
}

// under is the pair with cross as its chain, nil for none: peers that know only the authority that issued cross then
// trust it too.
func (p *Pair) under(cross *x509.Certificate) *Pair {
	next := &Pair{Certificate: p.Certificate, Key: p.Key, KeyPEM: p.KeyPEM, CertPEM: encodeCertificates(p.Certificate)}
	if cross == nil {
		return next.complete(nil)
	}
	next.CertPEM = append(next.CertPEM, encodeCertificates(cross)...)
	return next.complete([]*x509.Certificate{cross})
}

// rest are the certificates that the pair's file holds besides its own.
func (p *Pair) rest() []*x509.Certificate {
	all, err := parseCertificates(p.CertPEM)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(all, func(c *x509.Certificate) bool { return c.Equal(p.Certificate) })
}

// template is what a leaf certificate says.
type template struct {
	commonName    string
	organizations []string
	dnsNames      []string
	ips           []net.IP
	usages        []x509.ExtKeyUsage
}

var (
	clientUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	serverUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	bothUsages  = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
)

func (t *template) addName(name string) {
	if name != "" && !slices.Contains(t.dnsNames, name) {
		t.dnsNames = append(t.dnsNames, name)
	}
}

func (t *template) addIP(ip net.IP) {
	if ip != nil && !ip.IsUnspecified() && !slices.ContainsFunc(t.ips, ip.Equal) {
		t.ips = append(t.ips, ip)
	}
}

// with adds what a certificate that is replaced says besides: names under which somebody had it made, and groups.
func (t template) with(c *x509.Certificate) template {
	for _, name := range c.DNSNames {
		t.addName(name)
	}
	for _, ip := range c.IPAddresses {
		t.addIP(ip)
	}
	t.organizations = c.Subject.Organization
	return t
}

// covers tells whether a certificate already says all that the template asks for.
func (t template) covers(c *x509.Certificate) bool {
	for _, name := range t.dnsNames {
		if !slices.Contains(c.DNSNames, name) {
			return false
		}
	}
	for _, ip := range t.ips {
		if !slices.ContainsFunc(c.IPAddresses, ip.Equal) {
			return false
		}
	}
	for _, usage := range t.usages {
		if !slices.Contains(c.ExtKeyUsage, usage) {
			return false
		}
	}
	// A server is known by its alternative names, whatever its common name.
	return len(t.dnsNames) > 0 || c.Subject.CommonName == t.commonName
}

func clientTemplate(name string, groups ...string) template {
	return template{commonName: name, organizations: groups, usages: clientUsage}
}

// servingTemplate names everything under which clients may reach the API server.
func servingTemplate(o Options) template {
	t := template{commonName: "kube-apiserver", usages: serverUsage}
	for _, name := range []string{
		o.Hostname, "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + o.ClusterDomain, "localhost",
	} {
		t.addName(name)
	}
	for _, list := range [][]net.IP{o.ServiceIPs, o.AdvertiseIPs, {net.IPv4(127, 0, 0, 1), net.IPv6loopback}} {
		for _, ip := range list {
			t.addIP(ip)
		}
	}
	for _, san := range o.ExtraSANs {
		if ip := net.ParseIP(san); ip != nil {
			t.addIP(ip)
		} else {
			t.addName(san)
		}
	}
	return t
}

func newKey() (crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("pki: making a key: %w", err)
	}
	return key, nil
}

// newKeyLike makes a key of the same kind as another: who verifies what the other signed then understands it.
func newKeyLike(public crypto.PublicKey) (key crypto.Signer, err error) {
	switch p := public.(type) {
	case *rsa.PublicKey:
		key, err = rsa.GenerateKey(rand.Reader, max(p.N.BitLen(), rsaBitsMin))
	case *ecdsa.PublicKey:
		key, err = ecdsa.GenerateKey(p.Curve, rand.Reader)
	default:
		return newKey()
	}
	if err != nil {
		return nil, fmt.Errorf("pki: making a key: %w", err)
	}
	return key, nil
}

// rsaBitsMin is the size of the smallest RSA key that is made.
const rsaBitsMin = 2048

func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("pki: making a serial number: %w", err)
	}
	return serial.Add(serial, big.NewInt(1)), nil
}

// selfSigned makes an authority, with a new key unless one is given.
func selfSigned(commonName string, key crypto.Signer, now time.Time) (*Pair, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	if key == nil {
		if key, err = newKey(); err != nil {
			return nil, err
		}
	}
	c := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: commonName},
		DNSNames:              []string{commonName},
		NotBefore:             now.Add(-clockSkew).UTC(),
		NotAfter:              now.Add(AuthorityLifetime).UTC(),
		KeyUsage:              x509.KeyUsageKeyEncipherment | x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	return sign(c, c, key, key)
}

// issue makes a leaf, with a new key unless one is given.
func issue(issuer *Pair, t template, key crypto.Signer, now time.Time) (*Pair, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	if key == nil {
		if key, err = newKey(); err != nil {
			return nil, err
		}
	}
	notAfter := now.Add(LeafLifetime)
	if notAfter.After(issuer.Certificate.NotAfter) {
		notAfter = issuer.Certificate.NotAfter
	}
	c := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: t.commonName, Organization: t.organizations},
		DNSNames:              t.dnsNames,
		IPAddresses:           t.ips,
		NotBefore:             now.Add(-clockSkew).UTC(),
		NotAfter:              notAfter.UTC(),
		KeyUsage:              x509.KeyUsageKeyEncipherment | x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           t.usages,
		BasicConstraintsValid: true,
	}
	return sign(c, issuer.Certificate, key, issuer.Key)
}

func sign(c, issuer *x509.Certificate, key, issuerKey crypto.Signer) (*Pair, error) {
	der, err := x509.CreateCertificate(rand.Reader, c, issuer, key.Public(), issuerKey)
	if err != nil {
		return nil, fmt.Errorf("pki: issuing a certificate for %s: %w", c.Subject.CommonName, err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("pki: issuing a certificate for %s: %w", c.Subject.CommonName, err)
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	p := &Pair{
		Certificate: parsed, Key: key, KeyPEM: keyPEM,
		CertPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
	}
	return p.complete(nil), nil
}
