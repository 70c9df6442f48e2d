package roster

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/registry/notes"
	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// PreferLeaderOf has the roster tell which of its masters should lead: the one whose member leads the group.
func (r *Roster) PreferLeaderOf(g Group) { r.preference = newPreference(g, r.Listings, r.Changed) }

// Preference is nil without members of the store.
func (r *Roster) Preference() *Preference { return r.preference }

// Masters are the listings as callers of their commands need them.
func (r *Roster) Masters() []membership.Master {
	var all []membership.Master
	for _, l := range r.Listings() {
		all = append(all, membership.Master{Name: l.Name, URL: l.URL, Version: l.Version})
	}
	return all
}

// Others are the masters that live but for one, read from the store: for who is not on the roster yet.
func Others(ctx context.Context, s store.Store, self string) ([]membership.Master, error) {
	page, err := s.List(ctx, notes.Masters, store.ListOptions{})
	if err != nil {
		return nil, err
	}
	var all []membership.Master
	for _, e := range page.Entries {
		if r, err := decodeRecord(e.Value); err == nil && r.Name != "" && r.Name != self {
			all = append(all, membership.Master{Name: r.Name, URL: r.URL, Version: r.Version})
		}
	}
	return all, nil
}

// Live keeps this master on the roster, and what is published of it in step, until ctx ends. The roster continues from the revision at
// which this master entered. publish gets where the cluster reaches the live masters, again and again, and writes nothing that is so
// already; seen gets the listings whenever they have changed, and from time to time.
func (r *Roster) Live(ctx context.Context, revision int64, publish func(context.Context, []netip.AddrPort) error, seen func([]Listing)) {
	var running sync.WaitGroup
	running.Go(func() { r.follow(ctx, revision) })
	running.Go(func() { r.keep(ctx) })
	for ctx.Err() == nil {
		changed, again := r.Changed(), endpointsCheck
		seen(r.Listings())
		if err := publish(ctx, r.Endpoints()); err != nil && ctx.Err() == nil {
			slog.Warn("the endpoints of the service default/kubernetes could not be brought up to date, will retry", "error", err)
			again = endpointsRetry
		}
		check := time.NewTimer(again)
		select {
		case <-changed:
		case <-check.C:
		case <-ctx.Done():
		}
		check.Stop()
	}
	running.Wait()
	r.goOff(publish)
}

// goOff takes this master off the roster and the service. The last one stays in the service: it may come back.
func (r *Roster) goOff(publish func(context.Context, []netip.AddrPort) error) {
	if err := r.leave(); err != nil {
		slog.Debug("this master's record could not be removed and will expire", "error", err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), recordTimeout)
	defer cancel()
	if _, err := r.read(ctx); err != nil {
		return
	}
	if err := publish(ctx, r.Endpoints()); err != nil {
		slog.Debug("this master could not take itself off the service default/kubernetes", "error", err)
	}
}
