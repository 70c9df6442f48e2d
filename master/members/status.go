package members

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/admin"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/health"
	"github.com/wheelhouse-k8s/wheelhouse/election"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
)

// tellStatus is what this master knows of itself.
func (m *Members) tellStatus(context.Context, struct{}) (membership.MasterStatus, error) {
	return m.ownStatus(), nil
}

func (m *Members) ownStatus() membership.MasterStatus {
	return m.StatusOf(m.Member, m.shares.Generation())
}

// StatusOf is this master's status with its member, which may be nil, and with the generation of the shared files that it uses.
func (m *Members) StatusOf(member *etcd.Embedded, generation int64) membership.MasterStatus {
	s := membership.MasterStatus{
		Name: m.Self, URL: m.URL, Version: health.Version().GitVersion, Live: true, Generation: generation,
	}
	card := m.Identity.Card()
	s.StoreID, s.System = card.Store.ID, card.System
	for _, c := range m.Authority.List() {
		s.Certificates = append(s.Certificates, membership.Certificate{
			Name: c.Name, Expires: c.NotAfter, Days: int(c.Left(m.Authority.Now()) / (24 * time.Hour)),
		})
	}
	if member == nil {
		return s
	}
	of := member.Status()
	s.ID, s.Term, s.Index, s.Applied = membership.FormatID(of.ID), of.Term, of.Index, of.Applied
	s.Revision, s.Size, s.InUse = of.Revision, of.Size, of.InUse
	own := membership.FormatID(of.ID)
	for _, alarm := range of.Alarms { // those of the group; each master tells its own
		if kind, member, ok := strings.Cut(alarm, " of member "); !ok || member == own {
			s.Alarms = append(s.Alarms, cmp.Or(kind, alarm))
		}
	}
	switch {
	case of.Leader == of.ID:
		s.Role = membership.RoleLeader
	case of.Learner:
		s.Role = membership.RoleLearner
	default:
		s.Role = membership.RoleVoter
	}
	return s
}

// statuses asks all masters. They come in the order of membership.List, whose first are the members.
func (m *Members) statuses(ctx context.Context, state membership.State) []membership.MasterStatus {
	all := membership.List(state)
	m.askAll(ctx, all)
	return all
}

// Status is what wheelhouse status shows. It answers without the store, and soon, for it is asked when something fails.
func (m *Members) Status(ctx context.Context) (membership.Status, error) {
	s := membership.Status{Store: m.StoreKind, Leaders: map[string]string{}, Encryption: m.Encryption(), Quorum: quorumOf(m.Member)}
	var servers sync.WaitGroup
	servers.Go(func() {
		asking, cancel := context.WithTimeout(ctx, askWait)
		defer cancel()
		s.Servers = m.serverStatuses(asking)
	})
	s.Masters = m.statuses(ctx, m.known(ctx))
	servers.Wait()
	if m.Member != nil {
		s.Cluster = membership.FormatID(m.Member.Status().Cluster)
	}
	for _, lease := range []string{election.ControllerManager, election.Scheduler} {
		if holder := m.liveHolder(ctx, lease, s.Masters); holder != "" || slices.Contains(m.Leases, lease) {
			s.Leaders[lease] = holder
		}
	}
	s.LastBackup = m.knownBackup(ctx)
	s.Unreadable = m.Unreadable()
	m.Identity.Describe(&s) // after all others were asked
	s.Judge()
	return s, nil
}

// defragmented is what a defragmentation gave back.
type defragmented struct {
	Name string `json:"name"`
	// Before and After are the sizes of the database file, in bytes.
	Before int64 `json:"beforeBytes"`
	After  int64 `json:"afterBytes"`
}

type defragmentations struct {
	Members []defragmented `json:"members"`
}

// defragment gives unused space back to the disk, one member after another and the leader last.
func (m *Members) defragment(ctx context.Context, _ struct{}) (defragmentations, error) {
	var done defragmentations
	if m.Member == nil {
		return done, admin.Refused("this cluster keeps its data in a stand-alone etcd: use etcdctl defrag")
	}
	state, err := m.group.State(ctx)
	if err != nil {
		return done, err
	}
	all := membership.List(state)
	slices.SortStableFunc(all, func(a, b membership.MasterStatus) int {
		rank := func(s membership.MasterStatus) int {
			if s.Role == membership.RoleLeader {
				return 1
			}
			return 0
		}
		return rank(a) - rank(b)
	})
	for _, one := range all {
		var result defragmented
		if one.Name == m.Self {
			result, err = m.defragmentOwn(ctx, struct{}{})
		} else {
			result, err = m.defragmentAt(ctx, one)
		}
		if err != nil {
			return done, admin.Refused(one.Name + " was not defragmented, and those after it were left alone: " + err.Error())
		}
		done.Members = append(done.Members, result)
	}
	return done, nil
}

func (m *Members) defragmentAt(ctx context.Context, one membership.MasterStatus) (defragmented, error) {
	var result defragmented
	if one.URL == "" {
		return result, errors.New("it does not answer")
	}
	client, err := m.Caller.To(one.URL)
	if err != nil {
		return result, err
	}
	err = client.Post(ctx, "defragment/own", nil, &result)
	return result, err
}

func (m *Members) defragmentOwn(context.Context, struct{}) (defragmented, error) {
	d := defragmented{Name: m.Self}
	if m.Member == nil {
		return d, admin.Refused("this cluster keeps its data in a stand-alone etcd: use etcdctl defrag")
	}
	d.Before = m.Member.Status().Size
	err := m.Member.Defragment()
	d.After = m.Member.Status().Size
	return d, err
}
