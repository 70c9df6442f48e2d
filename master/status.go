package master

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/apiserver/health"
	"github.com/wheelhouse-k8s/wheelhouse/control"
	"github.com/wheelhouse-k8s/wheelhouse/election"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
)

// tellStatus is what this master knows of itself.
func (m *Master) tellStatus(context.Context, struct{}) (membership.MasterStatus, error) {
	return m.ownStatus(), nil
}

func (m *Master) ownStatus() membership.MasterStatus {
	return m.statusOf(m.member, m.shares.Generation())
}

// statusOf is this master's status with its member, which may be nil, and with the generation of the shared files that it uses.
func (m *Master) statusOf(member *etcd.Embedded, generation int64) membership.MasterStatus {
	s := membership.MasterStatus{
		Name: m.enrolment.Name, URL: m.peer().URL, Version: health.Version().GitVersion, Live: true, Generation: generation,
	}
	card := m.identity.Card()
	s.StoreID, s.System = card.Store.ID, card.System
	for _, c := range m.own.Authority.List() {
		s.Certificates = append(s.Certificates, membership.Certificate{
			Name: c.Name, Expires: c.NotAfter, Days: int(c.Left(m.own.Authority.Now()) / (24 * time.Hour)),
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
func (m *Master) statuses(ctx context.Context, state membership.State) []membership.MasterStatus {
	all := membership.List(state)
	m.askAll(ctx, all)
	return all
}

// clusterStatus is what wheelhouse status shows. It answers without the store, and soon, for it is asked when something fails.
func (m *Master) clusterStatus(ctx context.Context, _ struct{}) (membership.Status, error) {
	s := membership.Status{Store: m.storeKind(), Leaders: map[string]string{}, Encryption: m.keys.InShort(), Quorum: quorumOf(m.member)}
	var servers sync.WaitGroup
	servers.Go(func() {
		asking, cancel := context.WithTimeout(ctx, askWait)
		defer cancel()
		s.Servers = m.serverStatuses(asking)
	})
	s.Masters = m.statuses(ctx, m.known(ctx))
	servers.Wait()
	if m.member != nil {
		s.Cluster = membership.FormatID(m.member.Status().Cluster)
	}
	for component, lease := range map[Component]string{Controllers: election.ControllerManager, Scheduler: election.Scheduler} {
		if holder := m.liveHolder(ctx, lease, s.Masters); holder != "" || m.config.Runs(component) {
			s.Leaders[lease] = holder
		}
	}
	s.LastBackup = m.knownBackup(ctx)
	s.Unreadable = m.unreadableValues()
	m.identity.Describe(&s) // after all others were asked
	s.Judge()
	return s, nil
}

// holder of a Lease that has not run out; empty if nobody holds it.
func (m *Master) holder(lease string) string {
	if m.led(lease) != nil {
		return ""
	}
	leases, ok := m.registry.Resource(schema.GroupResource{Group: coordinationv1.GroupName, Resource: "leases"})
	if !ok {
		return ""
	}
	if item := leases.Peek(metav1.NamespaceSystem, lease); item != nil {
		if l, ok := item.Object().(*coordinationv1.Lease); ok && l.Spec.HolderIdentity != nil {
			return *l.Spec.HolderIdentity
		}
	}
	return ""
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
func (m *Master) defragment(ctx context.Context, _ struct{}) (defragmentations, error) {
	var done defragmentations
	if m.member == nil {
		return done, control.Refused("this cluster keeps its data in a stand-alone etcd: use etcdctl defrag")
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
		if one.Name == m.enrolment.Name {
			result, err = m.defragmentOwn(ctx, struct{}{})
		} else {
			result, err = m.defragmentAt(ctx, one)
		}
		if err != nil {
			return done, control.Refused(one.Name + " was not defragmented, and those after it were left alone: " + err.Error())
		}
		done.Members = append(done.Members, result)
	}
	return done, nil
}

func (m *Master) defragmentAt(ctx context.Context, one membership.MasterStatus) (defragmented, error) {
	var result defragmented
	if one.URL == "" {
		return result, errors.New("it does not answer")
	}
	client, err := m.caller().To(one.URL)
	if err != nil {
		return result, err
	}
	err = client.Post(ctx, "defragment/own", nil, &result)
	return result, err
}

func (m *Master) defragmentOwn(context.Context, struct{}) (defragmented, error) {
	d := defragmented{Name: m.enrolment.Name}
	if m.member == nil {
		return d, control.Refused("this cluster keeps its data in a stand-alone etcd: use etcdctl defrag")
	}
	d.Before = m.member.Status().Size
	err := m.member.Defragment()
	d.After = m.member.Status().Size
	return d, err
}
