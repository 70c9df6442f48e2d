package pki

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"path/filepath"
	"slices"
	"time"
)

// builder makes a state of files: it parses them, checks that they belong together and makes what is missing. It reads
// and writes no file itself, so that a state is known to be good before anything of it is written.
type builder struct {
	o      Options
	dir    string // for messages
	before *state // what is unchanged is taken over from it; nil at the start
	files  map[string][]byte
	loaded map[string][]byte
	// reissue replaces leaves of an authority that is no longer trusted; else they are an error.
	reissue bool
	// force names leaves to issue anew though they are not due.
	force []string
}

func (a *Authority) builder(files map[string][]byte) *builder {
	b := &builder{o: a.options, dir: a.folder.dir, files: files, loaded: make(map[string][]byte, len(files))}
	for name, data := range files {
		b.loaded[name] = data
	}
	return b
}

// made are the files that differ from those that the builder began with, in the order in which they are to appear: keys
// before certificates, authorities before leaves, so that a crash leaves what a next start completes.
func (b *builder) made() []file { return differences(b.loaded, b.files) }

func (b *builder) path(file string) string { return filepath.Join(b.dir, file) }

func (b *builder) build() (*state, error) {
	s := &state{leaves: map[string]*Pair{}}
	var err error
	if s.ca, err = b.trust(trustCA); err != nil {
		return nil, err
	}
	if s.frontProxy, err = b.trust(trustFrontProxy); err != nil {
		return nil, err
	}
	if !b.o.NoEtcd {
		if s.etcd, err = b.trust(trustEtcd); err != nil {
			return nil, err
		}
	}
	for _, l := range leaves {
		issuer := s.trust(l.issuer)
		if issuer == nil {
			continue
		}
		p, err := b.leaf(l, issuer)
		if err != nil {
			return nil, err
		}
		if p != nil {
			s.leaves[l.name] = p
		}
	}
	if s.tokens, err = b.tokenKeys(); err != nil {
		return nil, err
	}
	s.files = b.files
	return s, nil
}

func (s *state) trust(name string) *Trust {
	switch name {
	case trustCA:
		return s.ca
	case trustFrontProxy:
		return s.frontProxy
	default:
		return s.etcd
	}
}

// same tells whether files are those of the state before.
func (b *builder) same(names ...string) bool {
	return b.before != nil && !slices.ContainsFunc(names, func(name string) bool {
		return !bytes.Equal(b.before.files[name], b.files[name])
	})
}

// put sets the files of a pair. A key that was read is left as it was written.
func (b *builder) put(name string, p *Pair) {
	if b.files[name+".key"] == nil {
		b.files[name+".key"] = p.KeyPEM
	}
	b.files[name+".crt"] = p.CertPEM
}

// pair reads NAME.crt and NAME.key; what is missing is nil.
func (b *builder) pair(name string) (*Pair, []*x509.Certificate, error) {
	p := &Pair{CertPEM: b.files[name+".crt"], KeyPEM: b.files[name+".key"]}
	var err error
	if p.KeyPEM != nil {
		if p.Key, err = parseKey(p.KeyPEM); err != nil {
			return nil, nil, fmt.Errorf("pki: %s: %w", b.path(name+".key"), err)
		}
	}
	if p.CertPEM == nil {
		return p, nil, nil
	}
	all, err := parseCertificates(p.CertPEM)
	if err != nil {
		return nil, nil, fmt.Errorf("pki: %s: %w", b.path(name+".crt"), err)
	}
	p.Certificate = all[0]
	if p.Key != nil {
		// A bundle may name others before the one that signs.
		n := slices.IndexFunc(all, func(c *x509.Certificate) bool { return samePublic(c.PublicKey, p.Key.Public()) })
		if n < 0 {
			return nil, nil, fmt.Errorf("pki: %s and %s do not belong together", b.path(name+".crt"), b.path(name+".key"))
		}
		p.Certificate = all[n]
	}
	return p.complete(nil), all, nil
}

// leaf loads a leaf, and issues it if it is missing, due, lacks a name, or is not of the present authority. It is nil if
// it is one of those that may be missing.
func (b *builder) leaf(l leaf, issuer *Trust) (*Pair, error) {
	forced := slices.Contains(b.force, l.name)
	p, _, err := b.pair(l.name)
	if err != nil {
		return nil, err
	}
	if p.Certificate != nil {
		p.complete(p.rest())
	}
	now := b.o.Now()
	want := l.template(b.o)
	if p.Certificate != nil && p.Key != nil {
		trusted, current := issuer.issued(p.Certificate)
		if !trusted && !b.reissue {
			if l.foreign {
				return p, nil
			}
			return nil, fmt.Errorf("pki: %s was not issued by the authority beside it; remove it to have it made anew", b.path(l.name+".crt"))
		}
		switch {
		case issuer.Key == nil && l.issuer == trustEtcd:
			return p, nil // its operator's business
		case issuer.Key == nil && !trusted:
			return nil, fmt.Errorf("pki: %s was not issued by the authority in %s, whose key is not here to issue it anew",
				b.path(l.name+".crt"), b.path(l.issuer+".crt"))
		case issuer.Key == nil && now.After(p.Certificate.NotAfter):
			return nil, fmt.Errorf("pki: %s expired on %s, and the authority's key is not here to renew it",
				b.path(l.name+".crt"), p.Certificate.NotAfter.Format(time.DateOnly))
		case issuer.Key == nil:
			return p, nil
		case current && !forced && !due(p.Certificate, issuer.Certificate, now) && want.covers(p.Certificate):
			return b.chained(l, issuer, p), nil
		}
	}
	if issuer.Key == nil {
		if l.issuer == trustEtcd {
			return nil, nil // another's etcd, to which no peer of this master belongs
		}
		return nil, fmt.Errorf("pki: %s is missing, and the authority's key is not here to issue it", b.path(l.name+".crt"))
	}
	if p.Certificate != nil {
		want = want.with(p.Certificate)
	}
	// The key stays, so that a crash between the two files leaves a pair that belongs together.
	if p, err = issue(issuer.Pair, want, p.Key, now); err != nil {
		return nil, err
	}
	if b.files[l.name+".key"] != nil {
		p.KeyPEM = b.files[l.name+".key"]
	}
	p = p.under(issuer.cross)
	b.put(l.name, p)
	return p, nil
}

// chained is the leaf with the chain that it needs now, written if that changed.
func (b *builder) chained(l leaf, issuer *Trust, p *Pair) *Pair {
	if b.same(l.name+".crt", l.name+".key", l.issuer+crossSuffix) {
		if have := b.before.leaves[l.name]; have != nil {
			return have
		}
	}
	next := p.under(issuer.cross)
	if issuer.cross != nil || issuer.rotated(b.before) {
		b.put(l.name, next)
		return next
	}
	return p
}
