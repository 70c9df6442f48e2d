package members

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/registry/notes"
	"github.com/wheelhouse-k8s/wheelhouse/store"
)

func (m *Members) newShares() *membership.Shares {
	return &membership.Shares{
		Store: m.Store, Key: notes.Shared, Parts: m.Parts, Self: m.Self, Log: m.Log,
		Fetch: func(ctx context.Context, from membership.Master) (membership.Bundle, error) {
			var b membership.Bundle
			err := m.Caller.Ask(ctx, from.URL, "shared", &b)
			return b, err
		},
		Ask: func(ctx context.Context, of membership.Master) (uses membership.Uses, err error) {
			err = m.Caller.Ask(ctx, of.URL, "shared/generation", &uses)
			return uses, err
		},
	}
}

// CatchUp makes this master's authority and keys those of the cluster, as its other masters have them: it may have been down when they
// were changed. The store is open, and nothing that is in it has been read. grant is what a master that joins was given, else nil.
func (m *Members) CatchUp(ctx context.Context, others []membership.Master, grant *membership.Grant) error {
	if grant != nil && !slices.ContainsFunc(others, func(o membership.Master) bool { return o.Name == grant.Master }) {
		return fmt.Errorf("the store that this master has come to is not that of %s: with an external etcd, --etcd-servers and --etcd-prefix must be those of the other masters", grant.Server)
	}
	m.shares.Masters = func() []membership.Master { return others }
	if err := m.shares.CatchUp(ctx); errors.Is(err, store.ErrUnavailable) {
		return err
	} else if err != nil {
		m.Warn("%v", err)
	}
	m.shares.Masters = func() []membership.Master { return m.Masters() }
	return nil
}

// Follow takes over what other masters change in the shared files, until ctx ends.
func (m *Members) Follow(ctx context.Context) { m.shares.Follow(ctx) }

// Publish brings this master's shared files to all others.
func (m *Members) Publish(ctx context.Context) error { return m.shares.Publish(ctx) }

// giveShared gives the shared files, keys included, to another master: nobody else, whatever role it was given.
func (m *Members) giveShared(r *http.Request, _ struct{}) (membership.Bundle, error) {
	if err := m.Privilege.Demand(r, "shared"); err != nil {
		return membership.Bundle{}, err
	}
	return m.shares.Bundle()
}

func (m *Members) tellGeneration(context.Context, struct{}) (membership.Uses, error) {
	return m.shares.Uses(), nil
}
