package master

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/wheelhouse-k8s/wheelhouse/master/certificates"
	"github.com/wheelhouse-k8s/wheelhouse/master/roll"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/registry/notes"
	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// share makes this master's authority and keys those of the cluster: it may have been down when they were changed. The
// store is open, and nothing that is in it has been read.
func (m *Master) share(ctx context.Context) error {
	m.shares = &membership.Shares{
		Store: m.store, Key: notes.Shared, Parts: m.sharedParts(), Self: m.enrolment.Name, Log: m.config.Log,
		Fetch: func(ctx context.Context, from membership.Master) (membership.Bundle, error) {
			var b membership.Bundle
			err := m.caller().Ask(ctx, from.URL, "shared", &b)
			return b, err
		},
		Ask: func(ctx context.Context, of membership.Master) (int64, error) {
			var g generation
			err := m.caller().Ask(ctx, of.URL, "shared/generation", &g)
			return g.Generation, err
		},
	}
	m.publish = m.shares
	others, err := roll.Others(ctx, m.store, m.enrolment.Name)
	if err != nil {
		return err
	}
	if grant := m.enrolment.Grant(); grant != nil && !slices.ContainsFunc(others, func(o membership.Master) bool { return o.Name == grant.Master }) {
		return fmt.Errorf("the store that this master has come to is not that of %s: with an etcd of its own, --etcd-servers and --etcd-prefix must be those of the other masters", grant.Server)
	}
	m.shares.Masters = func() []membership.Master { return others }
	if err := m.shares.CatchUp(ctx); errors.Is(err, store.ErrUnavailable) {
		return err
	} else if err != nil {
		m.config.warn("%v", err)
	}
	m.shares.Masters = m.masters
	return nil
}

// sharedParts are all files that masters have alike.
func (m *Master) sharedParts() []membership.Shared {
	return []membership.Shared{certificates.Shared{Authority: m.own.Authority}, m.keys}
}

// giveShared gives the shared files, keys included, to another master: nobody else, whatever role it was given.
func (m *Master) giveShared(r *http.Request, _ struct{}) (membership.Bundle, error) {
	if err := m.privilege().Demand(r, "shared"); err != nil {
		return membership.Bundle{}, err
	}
	return m.shares.Bundle()
}

type generation struct {
	Generation int64 `json:"generation"`
}

func (m *Master) tellGeneration(context.Context, struct{}) (generation, error) {
	return generation{m.shares.Generation()}, nil
}
