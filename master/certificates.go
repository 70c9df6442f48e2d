package master

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/apiserver/bootstrap"
	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/pki"
)

const (
	// certificatesLook is how often certificates are looked at. It is short against their life, so that neither a clock
	// that jumps nor a machine that slept makes one expire.
	certificatesLook = time.Minute
	// warnAgain is the time between two warnings about the same certificate.
	warnAgain = 24 * time.Hour
	// warnDivisor: what nobody renews here is warned of in the last fifth of its life.
	warnDivisor = 5
)

// certify loads the authority, or makes it at the first start.
func (m *Master) certify() (err error) {
	c := &m.config
	if c.Now == nil {
		c.Now = time.Now
	}
	options := pki.Options{ExtraSANs: c.TLSNames, NoEtcd: c.external(), Now: c.Now}
	if m.advertise != nil {
		options.AdvertiseIPs = append(options.AdvertiseIPs, m.advertise)
	}
	for _, r := range c.ServiceRanges {
		options.ServiceIPs = append(options.ServiceIPs, net.IP(r.Addr().Next().AsSlice()))
	}
	if ip := net.ParseIP(c.BindAddress); ip != nil && !ip.IsUnspecified() {
		options.AdvertiseIPs = append(options.AdvertiseIPs, ip)
	}
	if m.authority, err = pki.Ensure(c.PKIDir, options); err != nil {
		return err
	}
	if c.TLSCertFile != "" {
		if m.serving, err = openServing(c.TLSCertFile, c.TLSKeyFile, c.Now, c.Log); err != nil {
			return err
		}
	}
	if m.authority.CA().Key == nil {
		c.warn("the authority's key is not in %s: certificates are used as they are, and must be renewed where the key is", c.PKIDir)
	}
	return m.renewAdmin()
}

// admin is the pair with which this master calls others, and gives its own clients the rights of an administrator.
func (m *Master) admin() *pki.Pair { return m.adminPair.Load() }

// renewAdmin makes the administrator's certificates, in the kubeconfig and in memory, if they are missing, due or not of
// the authority that signs now.
func (m *Master) renewAdmin() error {
	c := &m.config
	if m.authority.CA().Key == nil {
		if m.admin() == nil {
			m.adminPair.Store(m.givenAdmin())
		}
		return nil
	}
	if have := m.admin(); have == nil || m.authority.Due(have) {
		pair, err := m.authority.Admin()
		if err != nil {
			return err
		}
		m.adminPair.Store(pair)
	}
	if c.Kubeconfig == "" {
		return nil
	}
	return m.authority.EnsureAdminKubeconfig(c.Kubeconfig, m.URL())
}

// givenAdmin is what a master without the authority's key calls others with: the kubeconfig that its operator put in
// place, or else the certificate with which API servers call kubelets.
func (m *Master) givenAdmin() *pki.Pair {
	if m.config.Kubeconfig != "" {
		if pair, err := m.authority.FromKubeconfig(m.config.Kubeconfig); err == nil {
			return pair
		}
		m.config.warn("no administrator's kubeconfig can be made without the authority's key: put one at %s", m.config.Kubeconfig)
	}
	return m.authority.KubeletClient()
}

// tendCertificates renews certificates in time, and has everything follow the authority when it changes, until ctx ends.
func (m *Master) tendCertificates(ctx context.Context) {
	warned := map[string]time.Time{}
	for {
		changed := m.authority.Changed()
		if err := m.followAuthority(ctx); err != nil && ctx.Err() == nil {
			m.config.warn("what depends on the authority could not all be brought up to date, will retry: %v", err)
		}
		m.warnOfEnd(warned)
		timer := time.NewTimer(min(certificatesLook, m.authority.CheckPeriod()))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-changed:
			timer.Stop()
		case <-timer.C:
			m.renewDue()
		}
	}
}

// renewDue replaces certificates that are due; new connections get the new ones, and those that exist stay.
func (m *Master) renewDue() {
	renewed, err := m.authority.Renew()
	if err != nil {
		m.metrics.RenewalFailed()
		m.config.warn("certificates could not be renewed, will retry in %v: %v", certificatesLook, err)
	}
	if renewed {
		m.config.Log("certificates were renewed")
	}
}

// followAuthority brings up to date what is derived from the authority. It writes nothing that is so already.
func (m *Master) followAuthority(ctx context.Context) error {
	a := m.authority
	ca := a.CA().CertPEM
	return errors.Join(
		m.tokens.SetKeys(a.TokenKey(), a.TokenKeys()),
		m.renewAdmin(),
		bootstrap.Trust(ctx, bootstrap.Options{
			Registry: m.registry, ClientCA: ca, FrontProxyCA: a.FrontProxyCA().CertPEM, FrontProxyNames: []string{frontProxyName},
		}),
	)
}

// rootCA is what the controllers publish to pods.
func (m *Master) rootCA() (ca []byte, changed <-chan struct{}) {
	changed = m.authority.Changed()
	return m.authority.CA().CertPEM, changed
}

// warnOfEnd tells of certificates that will end and that nobody renews here, once a day each.
func (m *Master) warnOfEnd(warned map[string]time.Time) {
	now := m.config.Now()
	for _, d := range m.ownCertificates() {
		if d.Left(now) > d.NotAfter.Sub(d.NotBefore)/warnDivisor || now.Sub(warned[d.Name+d.Serial]).Abs() < warnAgain {
			continue
		}
		warned[d.Name+d.Serial] = now
		m.config.warn("%s", warning(d, now))
	}
}

func warning(d pki.Description, now time.Time) string {
	what := fmt.Sprintf("the certificate %s (%s) ends on %s", d.Name, d.Subject, d.NotAfter.UTC().Format(time.RFC3339))
	if d.Left(now) < 0 {
		what = fmt.Sprintf("the certificate %s (%s) has expired on %s", d.Name, d.Subject, d.NotAfter.UTC().Format(time.RFC3339))
	}
	switch d.Kind {
	case "authority":
		return what + ": rotate the authority with wheelhouse certs rotate-ca"
	case "trusted":
		return what + " and will not be trusted then"
	}
	if d.Renews == nil {
		return what + ": renew it where the authority's key is"
	}
	return what + " and could not be renewed yet"
}

// ownCertificates are all that this master keeps or uses.
func (m *Master) ownCertificates() []pki.Description {
	all := m.authority.List()
	if m.config.Kubeconfig != "" {
		if d, err := pki.DescribeKubeconfig(datafolder.KubeconfigFile, m.config.Kubeconfig); err == nil {
			if m.authority.CA().Key == nil {
				d.Renews = nil
			}
			all = append(all, d)
		}
	}
	if m.serving != nil {
		all = append(all, pki.Describe("tls-cert-file", "serving", m.serving.present().Leaf))
	}
	return all
}

// expirations are for the metrics.
func (m *Master) expirations() map[string]time.Time {
	all := map[string]time.Time{}
	for _, d := range m.ownCertificates() {
		name := d.Name
		if d.Kind == "trusted" {
			name += " (trusted)"
		}
		all[name] = d.NotAfter
	}
	return all
}

// predecessors are the authorities that rotations are about to drop.
func (m *Master) predecessors() []*x509.Certificate {
	var all []*x509.Certificate
	for _, r := range m.authority.Rotation() {
		if r.Stage == pki.Switched && r.Other != nil {
			all = append(all, r.Other)
		}
	}
	return all
}
