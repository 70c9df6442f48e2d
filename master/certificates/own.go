// Package certificates keeps a master's authority and certificates: it makes and renews them in time, rotates the authority and the key
// of service account tokens on all masters, and chooses what a client is shown. See DESIGN.md.
package certificates

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"sync/atomic"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/pki"
)

// Options say whose certificates they are, and where they lie.
type Options struct {
	// PKIDir holds the authority, Kubeconfig gets the administrator's certificate; empty writes none.
	PKIDir, Kubeconfig string
	// URL of this master's API, for clients on this machine.
	URL string
	// PKI names this master.
	PKI pki.Options
	// CertFile and KeyFile are the operator's serving certificate; empty without one.
	CertFile, KeyFile string
	Log, Warn         func(format string, args ...any)
}

// Own are the authority and the certificates of one master.
type Own struct {
	Options
	Authority *pki.Authority
	admin     atomic.Pointer[pki.Pair]
	serving   *servingFiles // nil without --tls-cert-file
}

// Open loads the authority, or makes it at the first start.
func Open(options Options) (o *Own, err error) {
	o = &Own{Options: options}
	if o.Authority, err = pki.Ensure(o.PKIDir, o.PKI); err != nil {
		return nil, err
	}
	if o.CertFile != "" {
		if o.serving, err = openServing(o.CertFile, o.KeyFile, o.PKI.Now, o.Log); err != nil {
			return nil, err
		}
	}
	if o.Authority.CA().Key == nil {
		o.Warn("the authority's key is not in %s: certificates are used as they are, and must be renewed where the key is", o.PKIDir)
	}
	return o, o.renewAdmin()
}

// Get chooses what a client is shown. Masters, and who wants to become one, get the certificate that the authority issued, and the
// authority's own. Others get the operator's certificate where it covers how the client calls this master, and else the authority's,
// which all clients trust that have a kubeconfig or a service account's files.
func (o *Own) Get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if slices.Contains(hello.SupportedProtos, membership.AuthorityProtocol) {
		return o.withAuthority(hello)
	}
	if o.serving != nil {
		if pair := o.serving.present(); covers(pair.Leaf, hello) {
			return pair, nil
		}
	}
	return o.Authority.GetCertificate(hello)
}

func (o *Own) withAuthority(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	leaf, err := o.Authority.GetCertificate(hello)
	if err != nil {
		return nil, err
	}
	shown := *leaf
	shown.Certificate = slices.Clone(leaf.Certificate)
	for block, rest := pem.Decode(o.Authority.CA().CertPEM); block != nil; block, rest = pem.Decode(rest) {
		shown.Certificate = append(shown.Certificate, block.Bytes)
	}
	return &shown, nil
}

// Admin is the pair with which this master calls others, and gives its own clients the rights of an administrator.
func (o *Own) Admin() *pki.Pair { return o.admin.Load() }

// renewAdmin makes the administrator's certificates, in the kubeconfig and in memory, if they are missing, due or not of
// the authority that signs now.
func (o *Own) renewAdmin() error {
	if o.Authority.CA().Key == nil {
		if o.Admin() == nil {
			o.admin.Store(o.givenAdmin())
		}
		return nil
	}
	if have := o.Admin(); have == nil || o.Authority.Due(have) {
		pair, err := o.Authority.Admin()
		if err != nil {
			return err
		}
		o.admin.Store(pair)
	}
	if o.Kubeconfig == "" {
		return nil
	}
	return o.Authority.EnsureAdminKubeconfig(o.Kubeconfig, o.URL)
}

// givenAdmin is what a master without the authority's key calls others with: the kubeconfig that its operator put in
// place, or else the certificate with which API servers call kubelets.
func (o *Own) givenAdmin() *pki.Pair {
	if o.Kubeconfig != "" {
		if pair, err := o.Authority.FromKubeconfig(o.Kubeconfig); err == nil {
			return pair
		}
		o.Warn("no administrator's kubeconfig can be made without the authority's key: put one at %s", o.Kubeconfig)
	}
	return o.Authority.KubeletClient()
}

func (o *Own) rewriteKubeconfig() error {
	if o.Kubeconfig == "" {
		return nil
	}
	admin, err := o.Authority.Admin()
	if err != nil {
		return err
	}
	return pki.WriteKubeconfig(o.Kubeconfig, o.URL, o.Authority.CA().CertPEM, admin)
}

// List are all that this master keeps or uses.
func (o *Own) List() []pki.Description {
	all := o.Authority.List()
	if o.Kubeconfig != "" {
		if d, err := pki.DescribeKubeconfig(datafolder.KubeconfigFile, o.Kubeconfig); err == nil {
			if o.Authority.CA().Key == nil {
				d.Renews = nil
			}
			all = append(all, d)
		}
	}
	if o.serving != nil {
		all = append(all, pki.Describe("tls-cert-file", "serving", o.serving.present().Leaf))
	}
	return all
}

// Expirations are for the metrics.
func (o *Own) Expirations() map[string]time.Time {
	all := map[string]time.Time{}
	for _, d := range o.List() {
		name := d.Name
		if d.Kind == "trusted" {
			name += " (trusted)"
		}
		all[name] = d.NotAfter
	}
	return all
}

// predecessors are the authorities that rotations are about to drop.
func (o *Own) predecessors() []*x509.Certificate {
	var all []*x509.Certificate
	for _, r := range o.Authority.Rotation() {
		if r.Stage == pki.Switched && r.Other != nil {
			all = append(all, r.Other)
		}
	}
	return all
}

// RootCA is what the controllers publish to pods.
func (o *Own) RootCA() (ca []byte, changed <-chan struct{}) {
	changed = o.Authority.Changed()
	return o.Authority.CA().CertPEM, changed
}
