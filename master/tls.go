package master

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"

	cliflag "k8s.io/component-base/cli/flag"

	"github.com/wheelhouse-k8s/wheelhouse/master/certificates"
	"github.com/wheelhouse-k8s/wheelhouse/pki"
)

// tlsVersions are the values of --tls-min-version; unset is the lowest.
var tlsVersions = map[string]uint16{"": tls.VersionTLS12, "VersionTLS12": tls.VersionTLS12, "VersionTLS13": tls.VersionTLS13}

// cipherSuites of TLS 1.2 that are served.
func (c *Config) cipherSuites() ([]uint16, error) {
	if len(c.TLSCipherSuites) == 0 {
		return pki.CipherSuites(), nil
	}
	return cliflag.TLSCipherSuites(c.TLSCipherSuites)
}

func (c *Config) checkTLS() error {
	if (c.TLSCertFile == "") != (c.TLSKeyFile == "") {
		return errors.New("--tls-cert-file and --tls-private-key-file must be given together")
	}
	lowest, ok := tlsVersions[c.TLSMinVersion]
	if !ok {
		return fmt.Errorf("--tls-min-version %q: use VersionTLS12 or VersionTLS13", c.TLSMinVersion)
	}
	suites, err := c.cipherSuites()
	switch {
	case err != nil:
		return fmt.Errorf("--tls-cipher-suites: %w; use some of %s", err, strings.Join(cliflag.PreferredTLSCipherNames(), ", "))
	case lowest < tls.VersionTLS13 && !slices.Contains(suites, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256) && !slices.Contains(suites, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256):
		return errors.New("--tls-cipher-suites: HTTP/2 needs TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 or TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: add it, or set --tls-min-version=VersionTLS13")
	}
	return nil
}

// warnOfSuites tells which of the operator's cipher suites are weak.
func (c *Config) warnOfSuites() {
	for _, name := range c.TLSCipherSuites {
		if _, insecure := cliflag.InsecureTLSCiphers()[name]; insecure {
			c.warn("--tls-cipher-suites: %s is insecure; leave it out as soon as no client needs it", name)
		}
	}
}

// tlsConfig is what clients of the API meet.
func tlsConfig(c *Config, own *certificates.Own) *tls.Config {
	suites, err := c.cipherSuites()
	if err != nil {
		suites = pki.CipherSuites() // the names have been checked
	}
	return &tls.Config{
		GetCertificate: own.Get,
		ClientAuth:     tls.RequestClientCert, // the authenticator verifies it: a wrong one is answered with 401
		MinVersion:     tlsVersions[c.TLSMinVersion],
		CipherSuites:   suites,
	}
}

// maxGoawayChance is upstream's: with more, clients do little else than connect.
const maxGoawayChance = 0.02

func (c *Config) checkGoaway() error {
	if c.GoawayChance < 0 || c.GoawayChance > maxGoawayChance {
		return fmt.Errorf("--goaway-chance %v: must be from 0, never, to %v", c.GoawayChance, maxGoawayChance)
	}
	return nil
}
