package membership

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// AuthorityProtocol in a TLS client's list of protocols asks a master to show, after its certificate, those of its
// authorities, so that a client that knows only their hashes can verify it. The connection then speaks HTTP/1.1.
const AuthorityProtocol = "wheelhouse-authority"

// Hash of an authority as kubeadm gives it: of the public key, so that it outlives a renewal of the certificate.
func Hash(authority *x509.Certificate) string {
	sum := sha256.Sum256(authority.RawSubjectPublicKeyInfo)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Hashes of all authorities in a PEM file.
func Hashes(data []byte) ([]string, error) {
	var all []string
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		all = append(all, Hash(c))
	}
	if len(all) == 0 {
		return nil, errors.New("it holds no PEM certificate")
	}
	return all, nil
}

var hashForm = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// CheckHashes of --discovery-token-ca-cert-hash.
func CheckHashes(hashes []string) error {
	for _, h := range hashes {
		if !hashForm.MatchString(strings.ToLower(h)) {
			return fmt.Errorf("%q is no hash of an authority: it must be sha256: and 64 hexadecimal digits", h)
		}
	}
	return nil
}

// Pinned tells whether one of the authorities of a PEM file has one of the hashes.
func Pinned(data []byte, hashes []string) bool {
	have, err := Hashes(data)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(have, func(h string) bool { return contains(hashes, h) })
}

func contains(hashes []string, hash string) bool {
	return slices.ContainsFunc(hashes, func(h string) bool { return strings.EqualFold(h, hash) })
}

// refusal is an error that no repetition, and no other master, would change.
type refusal struct{ text string }

func (r refusal) Error() string { return r.text }

// pinnedTLS verifies a server by its authority's hash. Nothing is sent before it has been verified.
func pinnedTLS(host string, hashes []string, now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // VerifyConnection does it
		NextProtos:         []string{"http/1.1", AuthorityProtocol},
		VerifyConnection: func(s tls.ConnectionState) error {
			return verifyPinned(s.PeerCertificates, host, hashes, now())
		},
	}
}

// verifyPinned checks a server's certificates: the first must be valid for the host, and be issued by one of those that
// follow and have one of the hashes. While an authority is rotated, its successor is shown as certified by it too.
func verifyPinned(shown []*x509.Certificate, host string, hashes []string, now time.Time) error {
	var found []string
	options := x509.VerifyOptions{DNSName: host, Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now}
	pinned := false
	for _, c := range shown {
		if !c.IsCA {
			continue
		}
		hash := Hash(c)
		found = append(found, hash)
		options.Intermediates.AddCert(c)
		if contains(hashes, hash) {
			options.Roots.AddCert(c)
			pinned = true
		}
	}
	switch {
	case len(shown) == 0 || len(found) == 0:
		return refusal{host + " does not show its authority: it is not a Wheelhouse master"}
	case !pinned:
		return refusal{fmt.Sprintf("the authority of %s has the hash %s, not the one of --discovery-token-ca-cert-hash: "+
			"either this is not the cluster you mean, or somebody stands in between", host, strings.Join(found, " and "))}
	}
	_, err := shown[0].Verify(options)
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		return refusal{fmt.Sprintf("the certificate of %s is valid from %s to %s, and the clock of this machine says %s: set the clocks of both machines",
			host, invalid.Cert.NotBefore.UTC().Format(time.RFC3339), invalid.Cert.NotAfter.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))}
	}
	if err != nil {
		return refusal{fmt.Sprintf("the certificate of %s is not good: %v", host, err)}
	}
	return nil
}
