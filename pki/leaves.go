package pki

import (
	"crypto/x509"
	"slices"
	"time"
)

// Names of the leaves.
const (
	leafServer     = "apiserver"
	leafKubelet    = "apiserver-kubelet-client"
	leafFrontProxy = "front-proxy-client"
	leafEtcdServer = "etcd/server"
	leafEtcdPeer   = "etcd/peer"
	leafEtcdHealth = "etcd/healthcheck-client"
	leafEtcdClient = "apiserver-etcd-client"
)

// leaf says which certificate is kept under a name.
type leaf struct {
	name     string
	issuer   string
	template func(o Options) template
	// foreign leaves may belong to an authority that is not kept here, and are then left alone.
	foreign bool
}

// The leaves, in the order in which they are made.
var leaves = []leaf{
	{name: leafServer, issuer: trustCA, template: servingTemplate},
	{name: leafKubelet, issuer: trustCA, template: clientOf("kube-apiserver-kubelet-client")},
	{name: leafFrontProxy, issuer: trustFrontProxy, template: clientOf("front-proxy-client")},
	{name: leafEtcdServer, issuer: trustEtcd, template: etcdTemplate},
	{name: leafEtcdPeer, issuer: trustEtcd, template: etcdTemplate},
	{name: leafEtcdHealth, issuer: trustEtcd, template: clientOf("kube-etcd-healthcheck-client")},
	// With an etcd outside of the cluster this is the client certificate that its operator gave.
	{name: leafEtcdClient, issuer: trustEtcd, template: clientOf("kube-apiserver-etcd-client"), foreign: true},
}

func clientOf(name string) func(Options) template {
	return func(Options) template { return clientTemplate(name) }
}

// Leaves are renewed when three fifths of their life have passed, and looked at so often that two thirds never pass.
const (
	renewNumerator, renewDenominator = 3, 5
	// checksPerLife is how often in its life a certificate is looked at.
	checksPerLife = 200
	// checkMost and checkLeast bound the time between two looks.
	checkMost, checkLeast = 12 * time.Hour, time.Second
	// worthwhile is how much longer a new certificate must live than the old one: those that end with their
	// authority gain nothing by being renewed.
	worthwhile = time.Minute
)

// due tells whether a certificate should be issued anew by its authority: it is old, or it was made by a clock that was
// ahead and is not valid yet.
func due(c, issuer *x509.Certificate, now time.Time) bool {
	if now.Before(c.NotBefore) {
		return !now.Before(issuer.NotBefore)
	}
	return !now.Before(renewalOf(c)) && min(now.Add(LeafLifetime).Unix(), issuer.NotAfter.Unix()) > c.NotAfter.Add(worthwhile).Unix()
}

// renewalOf is the time from which on a certificate is due.
func renewalOf(c *x509.Certificate) time.Time {
	return c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) / renewDenominator * renewNumerator)
}

// Renew issues those leaves anew that are due, and tells whether there were any.
func (a *Authority) Renew() (bool, error) {
	s, now := a.now.Load(), a.options.Now()
	for _, l := range leaves {
		if p := s.leaves[l.name]; p != nil && due(p.Certificate, s.trust(l.issuer).Certificate, now) {
			return a.change(nil, nil)
		}
	}
	a.writing.Lock()
	defer a.writing.Unlock()
	return false, a.finish()
}

// RenewNow issues the named leaves anew, or all without names. An unknown name is an error.
func (a *Authority) RenewNow(names ...string) error {
	if err := checkLeaves(names); err != nil {
		return err
	}
	if len(names) == 0 {
		names = LeafNames()
	}
	_, err := a.change(nil, func(b *builder) { b.force = names })
	return err
}

// CheckPeriod is how long to wait before the next Renew: short enough that no leaf passes two thirds of its life.
func (a *Authority) CheckPeriod() time.Duration {
	period := checkMost
	for _, p := range a.now.Load().leaves {
		period = min(period, p.Certificate.NotAfter.Sub(p.Certificate.NotBefore)/checksPerLife)
	}
	return max(period, checkLeast)
}

// LeafNames are the names of all leaves that an authority may keep.
func LeafNames() []string {
	var names []string
	for _, l := range leaves {
		names = append(names, l.name)
	}
	return names
}

func checkLeaves(names []string) error {
	known := LeafNames()
	for _, name := range names {
		if !slices.Contains(known, name) {
			return unknown("certificate", name, known)
		}
	}
	return nil
}
