// Package pki makes and keeps a cluster's certificates: the authority that clients trust, the serving and client
// certificates it issues, the front proxy's and etcd's authorities, and the keys that sign service account tokens.
//
// The files and their contents are kubeadm's, so that a folder made by either is understood by both. What all masters
// of a cluster share (authorities and token keys) is separate from what each has for itself (leaves): Shared gives
// the former away, Install takes it.
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
	"sync/atomic"
	"time"
)

// Lifetimes of what is issued.
const (
	AuthorityLifetime = 10 * 365 * 24 * time.Hour
	LeafLifetime      = 365 * 24 * time.Hour
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
	// AdvertiseIPs are the addresses under which clients, and other masters, reach this one.
	AdvertiseIPs []net.IP
	// ExtraSANs are further host names or addresses of the API server.
	ExtraSANs []string
	// NoEtcd leaves etcd's authority and certificates alone: for masters whose etcd is not their own.
	NoEtcd bool
	// Now is the clock; nil means time.Now.
	Now func() time.Time

	// fault, in tests, is asked before each change of a file.
	fault func(operation string) error
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

// Authority holds a cluster's certificates and issues further ones. All of it may change while it is used, by renewal,
// rotation and Install: ask again rather than keep what it gave.
type Authority struct {
	options Options
	folder  folder

	now     atomic.Pointer[state]
	writing sync.Mutex // held by who changes now

	mu      sync.Mutex
	changed chan struct{} // closed and replaced when now changes; guarded by mu
}

// state is all that an Authority holds at one time. It never changes.
type state struct {
	// files are the contents of the folder, by name; in memory they are what the folder would hold.
	files map[string][]byte

	ca, frontProxy *Trust
	etcd           *Trust // nil if etcd's authority is not kept here
	leaves         map[string]*Pair
	tokens         *tokenKeys
}

// New makes an authority that is kept in memory only. It has no etcd authority: a cluster in memory has no peers.
func New(o Options) (*Authority, error) { return Ensure("", o) }

// Ensure loads the authority of a folder and makes what is missing; the folder is made too. An empty folder
// name keeps everything in memory. Files that cannot be understood, or do not belong together, are an error:
// nothing that somebody else wrote is ever replaced, except leaves that are due for renewal or lack a name.
func Ensure(dir string, o Options) (*Authority, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	if dir == "" {
		o.NoEtcd = true
	}
	a := &Authority{options: o, folder: folder{dir: dir, fault: o.fault}, changed: make(chan struct{})}
	files, err := a.folder.load(fileNames())
	if err != nil {
		return nil, err
	}
	b := a.builder(files)
	s, err := b.build()
	if err != nil {
		return nil, err
	}
	if _, err := a.folder.write(b.made()); err != nil {
		return nil, err
	}
	a.now.Store(s)
	return a, nil
}

// change makes a new state: with, if not nil, edits a copy of the files; ask sets what the builder is to do about leaves.
// It tells whether anything became different.
func (a *Authority) change(with func(files map[string][]byte) error, ask func(*builder)) (bool, error) {
	a.writing.Lock()
	defer a.writing.Unlock()
	before := a.now.Load()
	files := make(map[string][]byte, len(before.files))
	for name, data := range before.files {
		files[name] = data
	}
	if with != nil {
		if err := with(files); err != nil {
			return false, err
		}
	}
	b := a.builder(files)
	b.before = before
	if ask != nil {
		ask(b)
	}
	s, err := b.build()
	if err != nil {
		return false, err
	}
	changes := differences(before.files, s.files)
	if len(changes) == 0 {
		return false, a.finish()
	}
	happened, err := a.folder.write(changes)
	if happened {
		a.now.Store(s)
		a.mu.Lock()
		close(a.changed)
		a.changed = make(chan struct{})
		a.mu.Unlock()
	}
	return happened, err
}

// finish completes an earlier write, of which all counts but not all could be put into place. The caller holds writing.
func (a *Authority) finish() error {
	if !a.folder.unfinished {
		return nil
	}
	return a.folder.finish()
}

// Changed gives a channel that is closed when any certificate, authority or key changes after the call. Take it before
// reading what depends on it.
func (a *Authority) Changed() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.changed
}

// Now is the authority's clock.
func (a *Authority) Now() time.Time { return a.options.Now() }

// path of a file, for messages.
func (a *Authority) path(file string) string { return filepath.Join(a.folder.dir, file) }

// CA signs serving and client certificates.
func (a *Authority) CA() *Trust { return a.now.Load().ca }

// FrontProxyCA signs the certificates of proxies that are trusted to name users in headers.
func (a *Authority) FrontProxyCA() *Trust { return a.now.Load().frontProxy }

// EtcdCA signs the certificates of etcd's members and clients; nil if it is not kept here.
func (a *Authority) EtcdCA() *Trust { return a.now.Load().etcd }

// TokenKey signs service account tokens.
func (a *Authority) TokenKey() crypto.Signer { return a.now.Load().tokens.sign }

// TokenKeys verify service account tokens: TokenKey's public part and what else sa.pub holds.
func (a *Authority) TokenKeys() []crypto.PublicKey { return a.now.Load().tokens.verify }

// Server is the API server's serving certificate.
func (a *Authority) Server() *Pair { return a.now.Load().leaves[leafServer] }

// KubeletClient is the certificate with which the API server calls kubelets.
func (a *Authority) KubeletClient() *Pair { return a.now.Load().leaves[leafKubelet] }

// FrontProxyClient is the certificate with which the API server calls aggregated API servers.
func (a *Authority) FrontProxyClient() *Pair { return a.now.Load().leaves[leafFrontProxy] }

// GetCertificate is for tls.Config: always the present serving certificate.
func (a *Authority) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return a.Server().TLS(), nil
}

// Client issues a client certificate: name becomes the user, groups its groups. It is not stored.
func (a *Authority) Client(name string, groups ...string) (*Pair, error) {
	ca := a.CA()
	if ca.Key == nil {
		return nil, fmt.Errorf("pki: the authority's key %s is not here to issue a certificate for %s: give it, or issue the certificate where the key is",
			a.path("ca.key"), name)
	}
	return issue(ca.Pair, clientTemplate(name, groups...), nil, a.options.Now())
}

// Admin issues a client certificate that may do everything.
func (a *Authority) Admin() (*Pair, error) {
	return a.Client("kubernetes-super-admin", "system:masters")
}

// Node issues the client certificate of a node's kubelet.
func (a *Authority) Node(name string) (*Pair, error) {
	return a.Client("system:node:"+name, "system:nodes")
}

// ClientPool holds the authorities that client certificates must come from. It is the same pool as long as they are.
func (a *Authority) ClientPool() *x509.CertPool { return a.CA().pool }

// FrontProxyPool holds the authorities that front proxies' certificates must come from.
func (a *Authority) FrontProxyPool() *x509.CertPool { return a.FrontProxyCA().pool }

// Due tells whether a client certificate that Client issued should be replaced: it is old, or the authority was rotated.
func (a *Authority) Due(p *Pair) bool {
	ca := a.CA()
	_, current := ca.issued(p.Certificate)
	return !current || due(p.Certificate, ca.Certificate, a.options.Now())
}
