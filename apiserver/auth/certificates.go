package auth

import (
	"crypto/x509"
	"net/http"
	"sync"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	requestx509 "k8s.io/apiserver/pkg/authentication/request/x509"
)

// certificatesKept bounds the verified certificates that are remembered.
const certificatesKept = 4096

// certificates authenticates by client certificates: the common name is the user, the organizations are the groups.
//
// A certificate that was verified is remembered with its user, because verifying costs a hundred times more than the
// rest of a request's authentication. Each use still checks that it has not expired and that the authorities are
// the same.
type certificates struct {
	authorities func() *x509.CertPool
	verify      *requestx509.Authenticator

	mu       sync.RWMutex
	pool     *x509.CertPool // that the verified ones were verified with
	verified map[string]*verifiedCertificate
}

type verifiedCertificate struct {
	response *authenticator.Response
	// notAfter is the earliest end of validity in the chain that was presented.
	notAfter time.Time
}

func newCertificates(authorities func() *x509.CertPool) *certificates {
	return &certificates{
		authorities: authorities,
		verify:      requestx509.NewDynamic(verifyOptions(authorities), requestx509.CommonNameUserConversion),
	}
}

func (c *certificates) authenticate(r *http.Request) (*authenticator.Response, bool, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil, false, nil
	}
	leaf := r.TLS.PeerCertificates[0]
	pool := c.authorities()
	c.mu.RLock()
	known := c.verified[string(leaf.Raw)]
	same := c.pool == pool
	c.mu.RUnlock()
	if known != nil && same && time.Now().Before(known.notAfter) {
		return known.response, true, nil
	}
	response, ok, err := c.verify.AuthenticateRequest(r)
	if !ok || err != nil {
		return nil, false, err
	}
	response = withGroup(response)
	notAfter := leaf.NotAfter
	for _, p := range r.TLS.PeerCertificates[1:] {
		if p.NotAfter.Before(notAfter) {
			notAfter = p.NotAfter
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pool != pool || len(c.verified) >= certificatesKept {
		c.pool, c.verified = pool, map[string]*verifiedCertificate{}
	}
	c.verified[string(leaf.Raw)] = &verifiedCertificate{response, notAfter}
	return response, true, nil
}
