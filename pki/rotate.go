package pki

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Stage is how far the rotation of an authority has come.
type Stage string

// An authority is rotated in three steps. Prepare makes its successor, which is trusted beside it from then on. Switch
// has the successor sign: all leaves are issued anew, and each is shown with a certificate of the successor from
// its predecessor, so that peers who know only the predecessor still trust it. Finish drops the predecessor.
const (
	Settled  Stage = "settled"
	Prepared Stage = "prepared"
	Switched Stage = "switched"
)

// Rotation tells where the rotation of one authority stands.
type Rotation struct {
	// Authority is its name: ca, front-proxy-ca or etcd-ca.
	Authority string
	Stage     Stage
	// KeyHere tells whether the authority's key is here to sign.
	KeyHere bool
	// Signs is the certificate that signs now; Other the one that will (prepared) or did (switched).
	Signs, Other *x509.Certificate
}

// authorityNames are what operators call the authorities.
var authorityNames = map[string]string{trustCA: "ca", trustFrontProxy: "front-proxy-ca", trustEtcd: "etcd-ca"}

// Rotation tells where the rotation of each authority stands, in the order in which they are kept.
func (a *Authority) Rotation() []Rotation {
	var all []Rotation
	s := a.now.Load()
	for _, n := range trusts {
		t := s.trust(n.name)
		if t == nil {
			continue
		}
		r := Rotation{Authority: authorityNames[n.name], Stage: Settled, Signs: t.Certificate, KeyHere: t.Key != nil}
		switch {
		case t.next != nil:
			r.Stage, r.Other = Prepared, t.next.Certificate
		case t.cross != nil:
			r.Stage, r.Other = Switched, t.predecessor()
		}
		all = append(all, r)
	}
	return all
}

// Prepare makes a successor for each of the named authorities, all without names, and trusts it. One that has a successor
// already is left as it is.
func (a *Authority) Prepare(authorities ...string) error {
	return a.step(authorities, func(name string, t *Trust, files map[string][]byte) error {
		switch {
		case t.next != nil:
			return nil
		case t.cross != nil:
			return fmt.Errorf("pki: the last rotation of %s is not finished: finish it first", authorityNames[name])
		case t.Key == nil:
			return fmt.Errorf("pki: the key of %s is kept elsewhere: rotate it there, and let %s hold the old and the new certificate meanwhile",
				authorityNames[name], a.path(name+".crt"))
		case t.Certificate.MaxPathLen == 0 && t.Certificate.MaxPathLenZero:
			return fmt.Errorf("pki: %s may not issue certificates of authorities (its path length is 0), so that clients who know only it could not trust a successor", a.path(name+".crt"))
		}
		now := a.options.Now()
		key, err := newKeyLike(t.Key.Public())
		if err != nil {
			return err
		}
		next, err := selfSigned(successorName(t.Certificate.Subject.CommonName, now), key, now)
		if err != nil {
			return err
		}
		cross, err := crossSign(t.Pair, next.Certificate)
		if err != nil {
			return err
		}
		files[name+nextSuffix+".key"], files[name+nextSuffix+".crt"] = next.KeyPEM, next.CertPEM
		files[name+crossSuffix] = encodeCertificates(cross)
		files[name+".crt"] = joinPEM(t.CertPEM, next.CertPEM)
		return nil
	})
}

// Switch has the prepared successors sign, and issues this master's leaves anew. Authorities that have switched are left
// as they are.
func (a *Authority) Switch(authorities ...string) error {
	return a.step(authorities, func(name string, t *Trust, files map[string][]byte) error {
		if t.next == nil {
			if t.cross != nil {
				return nil
			}
			return fmt.Errorf("pki: no successor of %s was prepared: prepare one first", authorityNames[name])
		}
		trusted := []*x509.Certificate{t.next.Certificate}
		for _, c := range t.Trusted {
			if !c.Equal(t.next.Certificate) {
				trusted = append(trusted, c)
			}
		}
		files[name+".key"], files[name+".crt"] = t.next.KeyPEM, encodeCertificates(trusted...)
		delete(files, name+nextSuffix+".key")
		delete(files, name+nextSuffix+".crt")
		return nil
	})
}

// Finish drops the predecessors, which are not trusted any more. Settled authorities are left as they are.
func (a *Authority) Finish(authorities ...string) error {
	return a.step(authorities, func(name string, t *Trust, files map[string][]byte) error {
		switch {
		case t.next != nil:
			return fmt.Errorf("pki: the successor of %s does not sign yet: switch first", authorityNames[name])
		case t.cross == nil:
			return nil
		}
		dropped := t.predecessor()
		files[name+".crt"] = encodeCertificates(slices.DeleteFunc(slices.Clone(t.Trusted), func(c *x509.Certificate) bool { return c == dropped })...)
		delete(files, name+crossSuffix)
		return nil
	})
}

// Cancel takes Prepare back. It is refused once the successor signs.
func (a *Authority) Cancel(authorities ...string) error {
	return a.step(authorities, func(name string, t *Trust, files map[string][]byte) error {
		switch {
		case t.next == nil && t.cross != nil:
			return fmt.Errorf("pki: the successor of %s signs already: finish this rotation, and begin another", authorityNames[name])
		case t.next == nil:
			return nil
		}
		files[name+".crt"] = encodeCertificates(slices.DeleteFunc(slices.Clone(t.Trusted), t.next.Certificate.Equal)...)
		for _, suffix := range []string{nextSuffix + ".key", nextSuffix + ".crt", crossSuffix} {
			delete(files, name+suffix)
		}
		return nil
	})
}

// step edits the files of each of the named authorities, all without names.
func (a *Authority) step(authorities []string, edit func(name string, t *Trust, files map[string][]byte) error) error {
	s := a.now.Load()
	var chosen []string
	for _, n := range trusts {
		if s.trust(n.name) != nil && (len(authorities) == 0 || slices.Contains(authorities, authorityNames[n.name])) {
			chosen = append(chosen, n.name)
		}
	}
	for _, name := range authorities {
		if !slices.ContainsFunc(chosen, func(c string) bool { return authorityNames[c] == name }) {
			var known []string
			for _, n := range trusts {
				if s.trust(n.name) != nil {
					known = append(known, authorityNames[n.name])
				}
			}
			return unknown("authority", name, known)
		}
	}
	_, err := a.change(func(files map[string][]byte) error {
		s := a.now.Load() // as it is now that nobody else changes it
		for _, name := range chosen {
			if err := edit(name, s.trust(name), files); err != nil {
				return err
			}
		}
		return nil
	}, nil)
	return err
}

// successorName tells authorities with the same role apart by the time at which they were made.
func successorName(name string, now time.Time) string {
	base, _, _ := strings.Cut(name, "@")
	return fmt.Sprintf("%s@%d", base, now.Unix())
}

// crossSign is next's certificate from another authority, for those who know only that one.
func crossSign(by *Pair, next *x509.Certificate) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	notAfter := next.NotAfter
	if by.Certificate.NotAfter.Before(notAfter) {
		notAfter = by.Certificate.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, Subject: next.Subject, SubjectKeyId: next.SubjectKeyId,
		NotBefore: next.NotBefore, NotAfter: notAfter,
		KeyUsage: next.KeyUsage, BasicConstraintsValid: true, IsCA: true,
	}, by.Certificate, next.PublicKey, by.Key)
	if err != nil {
		return nil, fmt.Errorf("pki: certifying a successor: %w", err)
	}
	return x509.ParseCertificate(der)
}

// joinPEM appends certificates to a file, which may lack its last line's end.
func joinPEM(file, more []byte) []byte {
	file = bytes.TrimRight(slices.Clone(file), "\n")
	return append(append(file, '\n'), more...)
}

// PrepareTokenKey makes the key that signs service account tokens next, whose public part verifies from now on. One that
// was made already stays.
func (a *Authority) PrepareTokenKey() error {
	return a.tokenStep(func(k *tokenKeys, files map[string][]byte) error {
		if k.next != nil {
			return nil
		}
		key, err := newKeyLike(k.sign.Public())
		if err != nil {
			return err
		}
		if files[tokenNextKeyFile], err = encodeKey(key); err != nil {
			return err
		}
		files[tokenPublicFile], err = encodePublic(append(slices.Clone(k.verify), key.Public())...)
		return err
	})
}

// SwitchTokenKey has the prepared key sign. Those before it still verify.
func (a *Authority) SwitchTokenKey() error {
	return a.tokenStep(func(k *tokenKeys, files map[string][]byte) (err error) {
		if k.next == nil {
			return nil
		}
		verify := []crypto.PublicKey{k.next.Public()}
		for _, key := range k.verify {
			if !samePublic(key, k.next.Public()) {
				verify = append(verify, key)
			}
		}
		files[tokenKeyFile] = files[tokenNextKeyFile]
		delete(files, tokenNextKeyFile)
		files[tokenPublicFile], err = encodePublic(verify...)
		return err
	})
}

// DropTokenKeys leaves only the key that signs: tokens of earlier ones are refused from now on.
func (a *Authority) DropTokenKeys() error {
	return a.tokenStep(func(k *tokenKeys, files map[string][]byte) (err error) {
		if k.next != nil {
			return fmt.Errorf("pki: the next key of service account tokens was made but does not sign yet: rotate first")
		}
		if len(k.verify) > 1 {
			files[tokenPublicFile], err = encodePublic(k.sign.Public())
		}
		return err
	})
}

func (a *Authority) tokenStep(edit func(k *tokenKeys, files map[string][]byte) error) error {
	_, err := a.change(func(files map[string][]byte) error { return edit(a.now.Load().tokens, files) }, nil)
	return err
}
