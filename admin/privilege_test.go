package admin

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/http"
	"testing"
	"time"
)

// The authority's keys go to connections of administrators only: being named one, by impersonation or by a certificate that
// nobody issued, is not enough.
func TestPrivilege(t *testing.T) {
	now := time.Now()
	issue := func(organization string, by *x509.Certificate, key *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		t.Helper()
		own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x", Organization: []string{organization}},
			NotBefore: now.Add(-time.Minute), NotAfter: now.Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
		if by == nil {
			c.IsCA, c.BasicConstraintsValid, c.KeyUsage, c.ExtKeyUsage = true, true, x509.KeyUsageCertSign, nil
			by, key = c, own
		}
		der, err := x509.CreateCertificate(rand.Reader, c, by, &own.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		if c, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
		return c, own
	}
	ca, caKey := issue("ca", nil, nil)
	other, otherKey := issue("ca", nil, nil)
	admin, _ := issue("system:masters", ca, caKey)
	reader, _ := issue("readers", ca, caKey)
	forged, _ := issue("system:masters", other, otherKey)
	trusted := x509.NewCertPool()
	trusted.AddCert(ca)
	for name, test := range map[string]struct {
		state *tls.ConnectionState
		at    time.Time
		want  bool
	}{
		"administrator":         {&tls.ConnectionState{PeerCertificates: []*x509.Certificate{admin}}, now, true},
		"expired":               {&tls.ConnectionState{PeerCertificates: []*x509.Certificate{admin}}, now.Add(2 * time.Hour), false},
		"another user":          {&tls.ConnectionState{PeerCertificates: []*x509.Certificate{reader}}, now, false},
		"of another authority":  {&tls.ConnectionState{PeerCertificates: []*x509.Certificate{forged}}, now, false},
		"behind another's":      {&tls.ConnectionState{PeerCertificates: []*x509.Certificate{reader, admin}}, now, false},
		"without a certificate": {&tls.ConnectionState{}, now, false},
		"without encryption":    {nil, now, false},
	} {
		if got := (Privilege{func() *x509.CertPool { return trusted }, func() time.Time { return test.at }}).Proven(&http.Request{TLS: test.state}); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
