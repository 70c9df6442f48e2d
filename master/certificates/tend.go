package certificates

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/admin"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/auth"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/pki"
	"github.com/wheelhouse-k8s/wheelhouse/store"
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

// Member is this master's member of the store.
type Member interface {
	Grouped() bool
	// Reload opens it again, so that it trusts what its authority's file holds now.
	Reload(ctx context.Context) error
}

// Needs are what certificates need of the rest of a master.
type Needs struct {
	// Self is the master's name.
	Self          string
	Store         store.Store
	Member        Member // nil with an external etcd
	Tokens        *auth.Tokens
	MaxTokenLife  time.Duration
	Authenticator *auth.Authenticator
	// Trust publishes the authorities in the cluster, unless they are.
	Trust         func(ctx context.Context) error
	RenewalFailed func()
	// Masters are those that live, and Absent the names of those that belong to the cluster and are away.
	Masters func() []membership.Master
	Absent  func(ctx context.Context) ([]string, error)
	Caller  *admin.Caller
	// Publish brings this master's authority and keys to all others.
	Publish func(ctx context.Context) error
}

// Certificates are those of a master that serves.
type Certificates struct {
	*Own
	Needs

	rotating sync.Mutex // held by a rotation's step
	// incomplete is the step of a rotation that this master did last, until all others have; guarded by rotating.
	incomplete string
}

// New has a master's own certificates tended and rotated.
func New(own *Own, n Needs) *Certificates { return &Certificates{Own: own, Needs: n} }

// Tend renews certificates in time, and has everything follow the authority when it changes, until ctx ends.
func (c *Certificates) Tend(ctx context.Context) {
	warned := map[string]time.Time{}
	for {
		changed := c.Authority.Changed()
		if err := c.Follow(ctx); err != nil && ctx.Err() == nil {
			c.Warn("what depends on the authority could not all be brought up to date, will retry: %v", err)
		}
		c.warnOfEnd(warned)
		timer := time.NewTimer(min(certificatesLook, c.Authority.CheckPeriod()))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-changed:
			timer.Stop()
		case <-timer.C:
			c.RenewDue()
		}
	}
}

// RenewDue replaces certificates that are due; new connections get the new ones, and those that exist stay.
func (c *Certificates) RenewDue() {
	renewed, err := c.Authority.Renew()
	if err != nil {
		c.RenewalFailed()
		c.Warn("certificates could not be renewed, will retry in %v: %v", certificatesLook, err)
	}
	if renewed {
		c.Log("certificates were renewed")
	}
}

// Follow brings up to date what is derived from the authority. It writes nothing that is so already.
func (c *Certificates) Follow(ctx context.Context) error {
	a := c.Authority
	return errors.Join(c.Tokens.SetKeys(a.TokenKey(), a.TokenKeys()), c.renewAdmin(), c.Trust(ctx))
}

// warnOfEnd tells of certificates that will end and that nobody renews here, once a day each.
func (c *Certificates) warnOfEnd(warned map[string]time.Time) {
	now := c.PKI.Now()
	for _, d := range c.List() {
		if d.Left(now) > d.NotAfter.Sub(d.NotBefore)/warnDivisor || now.Sub(warned[d.Name+d.Serial]).Abs() < warnAgain {
			continue
		}
		warned[d.Name+d.Serial] = now
		c.Warn("%s", warning(d, now))
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
