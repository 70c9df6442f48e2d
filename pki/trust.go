package pki

import (
	"crypto/x509"
	"fmt"
	"slices"
	"time"
)

// The authorities, by the names of their files.
const (
	trustCA         = "ca"
	trustFrontProxy = "front-proxy-ca"
	trustEtcd       = "etcd/ca"
)

// trusts are all authorities, each with the common name of a new one.
var trusts = []struct{ name, commonName string }{
	{trustCA, "kubernetes"}, {trustFrontProxy, "front-proxy-ca"}, {trustEtcd, "etcd-ca"},
}

// The files of a rotation, after the name of an authority: the one that will sign next, and the certificate that its
// predecessor issued for it, by which those who know only the predecessor trust it.
const (
	nextSuffix  = "-next"
	crossSuffix = "-cross.crt"
)

// Trust is an authority: the pair that signs and the certificates that are trusted. Key is nil when it is kept
// elsewhere; CertPEM holds all trusted certificates, for clients.
type Trust struct {
	*Pair
	// Trusted are the authorities whose certificates are accepted; Certificate is among them.
	Trusted []*x509.Certificate

	pool *x509.CertPool
	// next will sign after the next step of a rotation; nil if none was prepared.
	next *Pair
	// cross is next's, and then Certificate's, certificate from its predecessor; nil without a rotation.
	cross *x509.Certificate
}

// Pool holds Trusted.
func (t *Trust) Pool() *x509.CertPool { return t.pool }

// issued tells whether one of the trusted authorities issued a certificate, and whether that is the one that signs now.
func (t *Trust) issued(c *x509.Certificate) (trusted, current bool) {
	if c.CheckSignatureFrom(t.Certificate) == nil {
		return true, true
	}
	return slices.ContainsFunc(t.Trusted, func(by *x509.Certificate) bool { return c.CheckSignatureFrom(by) == nil }), false
}

// predecessor is the trusted authority that a rotation replaces; nil before the rotation has switched.
func (t *Trust) predecessor() *x509.Certificate {
	if t.cross == nil || t.next != nil {
		return nil
	}
	for _, c := range t.Trusted {
		if c != t.Certificate && t.cross.CheckSignatureFrom(c) == nil {
			return c
		}
	}
	return nil
}

// rotated tells whether the state before was in the midst of a rotation of this authority.
func (t *Trust) rotated(before *state) bool {
	if before == nil {
		return false
	}
	for _, n := range trusts {
		if was := before.trust(n.name); was != nil && was.cross != nil && samePublic(was.Certificate.PublicKey, t.Certificate.PublicKey) {
			return true
		}
	}
	return false
}

// trust loads an authority, or makes it.
func (b *builder) trust(name string) (*Trust, error) {
	files := trustFiles(name)
	if b.same(files...) {
		if t := b.before.trust(name); t != nil {
			return t, nil
		}
	}
	p, all, err := b.pair(name)
	if err != nil {
		return nil, err
	}
	now := b.o.Now()
	if p.Certificate == nil {
		// Either nothing is there, or a key whose certificate was not written before a crash.
		if p, err = selfSigned(commonName(name), p.Key, now); err != nil {
			return nil, err
		}
		b.put(name, p)
		return &Trust{Pair: p, Trusted: []*x509.Certificate{p.Certificate}, pool: poolOf(p.Certificate)}, nil
	}
	for _, c := range all {
		if !c.IsCA {
			return nil, fmt.Errorf("pki: %s is not the certificate of an authority", b.path(name+".crt"))
		}
	}
	if now.After(p.Certificate.NotAfter) {
		return nil, fmt.Errorf("pki: %s expired on %s", b.path(name+".crt"), p.Certificate.NotAfter.Format(time.DateOnly))
	}
	t := &Trust{Pair: p, Trusted: all}
	if b.before != nil {
		if was := b.before.trust(name); was != nil && sameCertificates(was.Trusted, all) {
			t.pool = was.pool
		}
	}
	if t.pool == nil {
		t.pool = poolOf(all...)
	}
	return t, b.rotation(name, t)
}

// sameCertificates tells whether two lists hold the same in any order: who remembers what was verified with a pool is
// not to forget it because another of the trusted authorities signs.
func sameCertificates(a, b []*x509.Certificate) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(c *x509.Certificate) bool { return !slices.ContainsFunc(b, c.Equal) })
}

// rotation loads what a rotation that was begun needs.
func (b *builder) rotation(name string, t *Trust) error {
	next, _, err := b.pair(name + nextSuffix)
	if err != nil {
		return err
	}
	switch {
	case next.Certificate == nil && next.Key == nil:
	case next.Certificate == nil || next.Key == nil:
		return fmt.Errorf("pki: %s and its key must be there together", b.path(name+nextSuffix+".crt"))
	case !next.Certificate.IsCA:
		return fmt.Errorf("pki: %s is not the certificate of an authority", b.path(name+nextSuffix+".crt"))
	default:
		t.next = next
	}
	file := name + crossSuffix
	if b.files[file] == nil {
		return nil
	}
	all, err := parseCertificates(b.files[file])
	if err != nil {
		return fmt.Errorf("pki: %s: %w", b.path(file), err)
	}
	t.cross = all[0]
	of := t.Certificate
	if t.next != nil {
		of = t.next.Certificate
	}
	if !samePublic(t.cross.PublicKey, of.PublicKey) {
		return fmt.Errorf("pki: %s does not belong to the authority beside it", b.path(file))
	}
	return nil
}

func commonName(trust string) string {
	for _, t := range trusts {
		if t.name == trust {
			return t.commonName
		}
	}
	return trust
}

func trustFiles(name string) []string {
	return []string{name + ".key", name + ".crt", name + nextSuffix + ".key", name + nextSuffix + ".crt", name + crossSuffix}
}

func poolOf(certificates ...*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range certificates {
		pool.AddCert(c)
	}
	return pool
}
