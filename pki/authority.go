// Package pki makes and keeps a cluster's certificates: the authority that clients trust, the serving and client
// certificates it issues, the front proxy's authority, and the key that signs service account tokens.
//
// The files and their contents are kubeadm's, so that a folder made by either is understood by both.
package pki

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Lifetimes of what is issued. Leaves are renewed when less than a fifth of their life is left.
const (
	AuthorityLifetime = 10 * 365 * 24 * time.Hour
	LeafLifetime      = 365 * 24 * time.Hour
	renewFraction     = 5
	// clockSkew is how long before now certificates begin, for peers whose clock is slow.
	clockSkew = 5 * time.Minute
)

// Options say for which names and addresses the API server is certified.
type Options struct {
	// ClusterDomain of service names; empty means cluster.local.
	ClusterDomain string
	// Hostname of this machine; empty means what the operating system says.
	Hostname string
	// ServiceIPs are the first addresses of the service ranges: the address of the service default/kubernetes.
	ServiceIPs []net.IP
	// AdvertiseIPs are the addresses under which clients reach the API server.
	AdvertiseIPs []net.IP
	// ExtraSANs are further host names or addresses.
	ExtraSANs []string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

func (o *Options) complete() error {
	if o.ClusterDomain == "" {
		o.ClusterDomain = "cluster.local"
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Hostname == "" {
		name, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("pki: the host name is unknown: %w", err)
		}
		o.Hostname = name
	}
	return nil
}

// Authority holds a cluster's certificates and issues further ones.
type Authority struct {
	// CA signs serving and client certificates. Its Key is nil when the authority is kept elsewhere.
	CA *Pair
	// FrontProxyCA signs the certificates of proxies that are trusted to name users in headers.
	FrontProxyCA *Pair
	// TokenKey signs service account tokens.
	TokenKey crypto.Signer
	// TokenKeys verify service account tokens: TokenKey's public part and what else sa.pub holds.
	TokenKeys []crypto.PublicKey

	options Options
	dir     string // empty: kept in memory only
	// pools hold CA and FrontProxyCA; they are made once, so that who remembers what was verified with one knows it again.
	clientPool, frontProxyPool *x509.CertPool

	mu     sync.RWMutex // guards leaves
	leaves map[string]*Pair
}

// leaf says which certificate is kept under a name.
type leaf struct {
	name     string
	template func(o Options) template
	// proxy is true if the front proxy's authority signs it.
	proxy bool
}

// The leaves, in the order in which they are made.
var leaves = []leaf{
	{name: "apiserver", template: servingTemplate},
	{name: "apiserver-kubelet-client", template: func(Options) template { return clientTemplate("kube-apiserver-kubelet-client") }},
	{name: "front-proxy-client", template: func(Options) template { return clientTemplate("front-proxy-client") }, proxy: true},
}

// New makes an authority that is kept in memory only.
func New(o Options) (*Authority, error) { return Ensure("", o) }

// Ensure loads the authority of a folder and makes what is missing; the folder is made too. An empty folder
// name keeps everything in memory. Files that cannot be understood, or do not belong together, are an error:
// nothing that somebody else wrote is ever replaced, except leaves that are about to expire or lack a name.
func Ensure(dir string, o Options) (*Authority, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	a := &Authority{options: o, dir: dir, leaves: map[string]*Pair{}}
	if dir != "" {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("pki: %w", err)
		}
	}
	w := &writer{dir: dir}
	var err error
	if a.CA, err = a.ensureAuthority(w, "ca", "kubernetes"); err != nil {
		return nil, err
	}
	if a.FrontProxyCA, err = a.ensureAuthority(w, "front-proxy-ca", "front-proxy-ca"); err != nil {
		return nil, err
	}
	a.clientPool, a.frontProxyPool = pool(a.CA), pool(a.FrontProxyCA)
	for _, l := range leaves {
		if err := a.ensureLeaf(w, l); err != nil {
			return nil, err
		}
	}
	if err := a.ensureTokenKey(w); err != nil {
		return nil, err
	}
	if err := w.flush(); err != nil {
		return nil, err
	}
	return a, nil
}

// path of a file, for messages.
func (a *Authority) path(file string) string { return filepath.Join(a.dir, file) }

func (a *Authority) ensureAuthority(w *writer, name, commonName string) (*Pair, error) {
	p, err := w.load(name)
	if err != nil {
		return nil, err
	}
	switch {
	case p.Certificate == nil:
		// Either nothing is there, or a key whose certificate was not written before a crash.
		p, err = selfSigned(commonName, p.Key, a.options.Now())
		if err != nil {
			return nil, err
		}
		w.add(name, p)
	case !p.Certificate.IsCA:
		return nil, fmt.Errorf("pki: %s is not the certificate of an authority", a.path(name+".crt"))
	case a.options.Now().After(p.Certificate.NotAfter):
		return nil, fmt.Errorf("pki: %s expired on %s", a.path(name+".crt"), p.Certificate.NotAfter.Format(time.DateOnly))
	}
	return p, nil
}

func (a *Authority) ensureLeaf(w *writer, l leaf) error {
	issuer := a.CA
	if l.proxy {
		issuer = a.FrontProxyCA
	}
	p, err := w.load(l.name)
	if err != nil {
		return err
	}
	now := a.options.Now()
	want := l.template(a.options)
	if p.Certificate != nil && p.Key != nil {
		if err := p.Certificate.CheckSignatureFrom(issuer.Certificate); err != nil {
			return fmt.Errorf("pki: %s was not issued by the authority beside it; remove it to have it made anew", a.path(l.name+".crt"))
		}
		if issuer.Key == nil || (!due(p.Certificate, now) && want.covers(p.Certificate)) {
			if now.After(p.Certificate.NotAfter) {
				return fmt.Errorf("pki: %s expired on %s, and the authority's key is not here to renew it",
					a.path(l.name+".crt"), p.Certificate.NotAfter.Format(time.DateOnly))
			}
			a.leaves[l.name] = p
			return nil
		}
	}
	if issuer.Key == nil {
		return fmt.Errorf("pki: %s is missing, and the authority's key is not here to issue it", a.path(l.name+".crt"))
	}
	if p, err = issue(issuer, want, p.Key, now); err != nil {
		return err
	}
	w.add(l.name, p)
	a.leaves[l.name] = p
	return nil
}

func (a *Authority) ensureTokenKey(w *writer) error {
	key, public, err := w.loadTokenKey()
	if err != nil {
		return err
	}
	if key == nil {
		if len(public) > 0 {
			return fmt.Errorf("pki: %s is missing beside %s", a.path("sa.key"), a.path("sa.pub"))
		}
		if key, err = newKey(); err != nil {
			return err
		}
		if err := w.addTokenKey(key); err != nil {
			return err
		}
	} else if len(public) == 0 {
		if err := w.addTokenKey(key); err != nil {
			return err
		}
	}
	a.TokenKey = key
	a.TokenKeys = []crypto.PublicKey{key.Public()}
	for _, p := range public {
		if !samePublic(p, key.Public()) {
			a.TokenKeys = append(a.TokenKeys, p)
		}
	}
	return nil
}

// Renew issues those leaves anew that are due, and tells whether there were any.
func (a *Authority) Renew() (bool, error) {
	w := &writer{dir: a.dir}
	renewed := map[string]*Pair{}
	now := a.options.Now()
	for _, l := range leaves {
		p := a.leaf(l.name)
		issuer := a.CA
		if l.proxy {
			issuer = a.FrontProxyCA
		}
		if issuer.Key == nil || !due(p.Certificate, now) {
			continue
		}
		// The key stays, so that a crash between the two files leaves a pair that belongs together.
		next, err := issue(issuer, l.template(a.options), p.Key, now)
		if err != nil {
			return false, err
		}
		w.add(l.name, next)
		renewed[l.name] = next
	}
	if len(renewed) == 0 {
		return false, nil
	}
	if err := w.flush(); err != nil {
		return false, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for name, p := range renewed {
		a.leaves[name] = p
	}
	return true, nil
}

func (a *Authority) leaf(name string) *Pair {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.leaves[name]
}

// Server is the API server's serving certificate.
func (a *Authority) Server() *Pair { return a.leaf("apiserver") }

// KubeletClient is the certificate with which the API server calls kubelets.
func (a *Authority) KubeletClient() *Pair { return a.leaf("apiserver-kubelet-client") }

// FrontProxyClient is the certificate with which the API server calls aggregated API servers.
func (a *Authority) FrontProxyClient() *Pair { return a.leaf("front-proxy-client") }

// GetCertificate is for tls.Config: always the present serving certificate, also after Renew.
func (a *Authority) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return a.Server().TLS(), nil
}

// Client issues a client certificate: name becomes the user, groups its groups. It is not stored.
func (a *Authority) Client(name string, groups ...string) (*Pair, error) {
	if a.CA.Key == nil {
		return nil, fmt.Errorf("pki: the authority's key is not here to issue a certificate for %s", name)
	}
	return issue(a.CA, clientTemplate(name, groups...), nil, a.options.Now())
}

// Admin issues a client certificate that may do everything.
func (a *Authority) Admin() (*Pair, error) {
	return a.Client("kubernetes-super-admin", "system:masters")
}

// Node issues the client certificate of a node's kubelet.
func (a *Authority) Node(name string) (*Pair, error) {
	return a.Client("system:node:"+name, "system:nodes")
}

// ClientPool holds the authority that client certificates must come from.
func (a *Authority) ClientPool() *x509.CertPool { return a.clientPool }

// FrontProxyPool holds the authority that front proxies' certificates must come from.
func (a *Authority) FrontProxyPool() *x509.CertPool { return a.frontProxyPool }

func pool(p *Pair) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(p.Certificate)
	return pool
}

// due tells whether a certificate should be issued anew.
func due(c *x509.Certificate, now time.Time) bool {
	life := c.NotAfter.Sub(c.NotBefore)
	return now.After(c.NotAfter.Add(-life / renewFraction))
}
