package members

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/registry/notes"
	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/backup"
	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
)

const (
	// knownWait is how long the store may take to tell what this master otherwise tells as it knows it by itself.
	knownWait = 400 * time.Millisecond
	// askWait is how long other masters may take to tell how they are.
	askWait = 1200 * time.Millisecond
)

// known is the state of the members: the newest if the store tells it soon, and else what this master knows.
func (m *Members) known(ctx context.Context) membership.State {
	if m.Member == nil || m.Member.Leader() != 0 {
		asking, cancel := context.WithTimeout(ctx, knownWait)
		defer cancel()
		if state, err := m.group.State(asking); err == nil {
			return state
		}
	}
	return m.group.Known()
}

// quorumOf is what a member knows of the group's quorum; nil if it is alone.
func quorumOf(member *etcd.Embedded) *membership.Quorum {
	if member == nil || !member.Grouped() {
		return nil
	}
	q := member.Quorum()
	return &membership.Quorum{Voters: q.Voters, Answering: len(q.Answering), Needed: q.Needed, Lost: q.Lost()}
}

// local reads a key as this master knows it: from its own member, if it has one, without asking others.
func (m *Members) local(ctx context.Context, key string) ([]byte, error) {
	if m.Member != nil {
		return m.Member.Peek(ctx, key)
	}
	ctx, cancel := context.WithTimeout(ctx, knownWait)
	defer cancel()
	e, _, err := m.Store.Get(ctx, key, 0)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	return e.Value, err
}

// knownBackup is what this master knows of the last backup; nil if there was none, or nothing is known.
func (m *Members) knownBackup(ctx context.Context) *membership.Backup {
	data, err := m.local(ctx, notes.Backup)
	var record backup.Record
	if err != nil || data == nil || json.Unmarshal(data, &record) != nil || record.Success == nil && record.Failure == nil {
		return nil
	}
	b := &membership.Backup{}
	if o := record.Success; o != nil {
		b.Name, b.At = o.Name, o.Time
	}
	if o := record.Failure; o != nil {
		b.Problem = o.Error
	}
	return b
}

// liveHolder is the holder of a Lease that has not run out, unless it is a master that does not answer.
func (m *Members) liveHolder(ctx context.Context, lease string, masters []membership.MasterStatus) string {
	holder := m.Holder(lease)
	if holder == "" || holder == m.Self {
		return holder
	}
	for _, one := range masters {
		if one.Name == holder {
			if one.Live {
				return holder
			}
			return ""
		}
	}
	// It may be upstream's own component, which is no master. A master's term has moved the fence.
	if last, err := m.local(ctx, notes.Terms+lease); err == nil && string(last) == holder {
		return ""
	}
	return holder
}

// StartStatus is what a master knows of the cluster that has not come to serve yet.
func (m *Members) StartStatus(member *etcd.Embedded, reason string) membership.Status {
	s := membership.Status{Store: m.StoreKind, Leaders: map[string]string{}, Quorum: quorumOf(member)}
	own := m.StatusOf(member, 0)
	if member == nil {
		s.Masters = []membership.MasterStatus{own}
	} else {
		s.Cluster = membership.FormatID(member.Status().Cluster)
		state := membership.State{Self: member.ID(), Leader: member.Leader(), Members: membership.MemberStates(member, m.Self)}
		for _, one := range membership.List(state) {
			if one.ID == own.ID {
				one = own
			} else if !one.Live {
				one.Problem = "there is no connection to its member of the store"
			}
			s.Masters = append(s.Masters, one)
		}
	}
	m.Identity.Describe(&s)
	s.Judge()
	s.Healthy, s.Problems = false, append([]string{m.Self + " starts and does not serve yet: " + reason}, s.Problems...)
	return s
}

// askAll asks the masters on a list how they are, at the same time.
func (m *Members) askAll(ctx context.Context, all []membership.MasterStatus) {
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	var asking sync.WaitGroup
	for i := range all {
		asking.Go(func() {
			listed := all[i]
			all[i].Live = false
			switch {
			case listed.Name == m.Self:
				all[i] = m.ownStatus()
			case listed.URL == "":
				all[i].Problem = "it is not on the list of live masters"
			default:
				var told membership.MasterStatus
				if err := m.Caller.Ask(ctx, listed.URL, "status/own", &told); err != nil {
					all[i].Problem = err.Error()
					break
				}
				all[i] = told
			}
			if one := &all[i]; !one.Live && one.Role == membership.RoleLeader {
				one.Role = membership.RoleVoter // who leads answers
			}
			all[i].PeerURL = listed.PeerURL
		})
	}
	asking.Wait()
}
