package auth

import (
	"crypto/x509"
	"net/http"
	"sync"
	"sync/atomic"
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
	now         func() time.Time

	mu       sync.RWMutex   // guards all below, and no more than the map of what verified holds
	pool     *x509.CertPool // that the verified ones were verified with
	verified map[string]*verifiedCertificate
	began    time.Time // when verified was empty
}

type verifiedCertificate struct {
	response *authenticator.Response
	// notAfter is the earliest end of validity in the chain that was presented.
	notAfter time.Time
	leaf     *x509.Certificate
	used     atomic.Int64 // when it was last used, in Unix seconds
	from     atomic.Pointer[string]
}

// use notes a use; within a second it writes nothing, so that requests do not contend.
func (v *verifiedCertificate) use(now time.Time, from string) {
	if second := now.Unix(); v.used.Load() != second {
		v.used.Store(second)
		v.from.Store(&from)
	}
}

func newCertificates(authorities func() *x509.CertPool, now func() time.Time) *certificates {
	return &certificates{
		authorities: authorities, now: now, began: now(),
		verify: requestx509.NewDynamic(verifyOptions(authorities, now), requestx509.CommonNameUserConversion),
	}
}

// CertificateUse is a client certificate that was used.
type CertificateUse struct {
	Certificate *x509.Certificate
	Last        time.Time
	// From is the address, with its port, that it came from last.
	From string
}

// CertificatesUsed are the client certificates that were used since a time, as far as they are remembered: the last
// few thousand since the trusted authorities changed. Nothing is remembered of the time before began.
func (a *Authenticator) CertificatesUsed(since time.Time) (all []CertificateUse, began time.Time) {
	if a.certificates == nil {
		return nil, time.Time{}
	}
	c := a.certificates
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, v := range c.verified {
		if last := time.Unix(v.used.Load(), 0); !last.Before(since) {
			all = append(all, CertificateUse{v.leaf, last, *v.from.Load()})
		}
	}
	return all, c.began
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
	now := c.now()
	if known != nil && same && now.Before(known.notAfter) {
		known.use(now, r.RemoteAddr)
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
		if c.pool != nil { // not at the first
			c.began = now
		}
		c.pool, c.verified = pool, map[string]*verifiedCertificate{}
	}
	known = &verifiedCertificate{response: response, notAfter: notAfter, leaf: leaf}
	known.use(now, r.RemoteAddr)
	c.verified[string(leaf.Raw)] = known
	return response, true, nil
}
