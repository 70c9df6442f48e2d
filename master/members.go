package master

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/apiserver/bootstrap"
	"github.com/wheelhouse-k8s/wheelhouse/control"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
)

// membershipCommands are how masters come, go and share.
func (m *Master) membershipCommands() []control.Command {
	return []control.Command{
		{Method: http.MethodPost, Path: membership.JoinPath, Handler: control.Handle(m.answerJoin)},
		{Method: http.MethodPost, Path: membership.FilesPath, Handler: control.Handle(m.answerFiles)},
		{Method: http.MethodDelete, Path: membership.JoinPath + "/{id}", Handler: control.HandleRequest(m.answerAbandon)},
		{Method: http.MethodGet, Path: membership.IdentityPath, Handler: control.Handle(m.belonging)},
		{Method: http.MethodGet, Path: "members", Handler: control.Handle(m.listMembers)},
		{Method: http.MethodDelete, Path: "members/{name}", Handler: control.HandleRequest(m.removeMember)},
		{Method: http.MethodPost, Path: "members/{name}/promote", Handler: control.HandleRequest(m.promoteMember)},
		{Method: http.MethodPost, Path: "leader", Handler: control.Handle(m.moveLeader)},
		{Method: http.MethodPost, Path: "leader/own", Handler: control.Handle(m.yieldLeader)},
		{Method: http.MethodGet, Path: "shared", Handler: control.HandleRequest(m.giveShared)},
		{Method: http.MethodGet, Path: "shared/generation", Handler: control.Handle(m.tellGeneration)},
		{Method: http.MethodGet, Path: "status", Handler: control.Handle(m.clusterStatus)},
		{Method: http.MethodGet, Path: "status/own", Handler: control.Handle(m.tellStatus)},
		{Method: http.MethodPost, Path: "defragment", Handler: control.Handle(m.defragment)},
		{Method: http.MethodPost, Path: "defragment/own", Handler: control.Handle(m.defragmentOwn)},
	}
}

// assemble makes what masters do together; the store is open, and nothing serves yet.
func (m *Master) assemble() {
	c := &m.config
	m.group = &membership.Group{
		Self: m.enrolment.Name, Masters: m.masters, Settings: c.sharedSettings(), Files: m.shares.Files,
		Invitations: m.invitations(), Log: c.Log, Card: m.identity.Card,
	}
	if m.member != nil {
		m.group.Members, m.group.Open, m.group.HandOver = m.member, m.openGroup, m.handOver
	}
}

// masters are those that live.
func (m *Master) masters() []membership.Master { return m.roll.Masters() }

// openGroup makes this master's member one that others can join.
func (m *Master) openGroup(ctx context.Context) error {
	if m.member.Grouped() {
		return nil
	}
	p, err := m.etcdPeer()
	if err != nil {
		return err
	}
	m.config.Log("other masters can join at %s now", p.URL)
	return m.member.Group(ctx, *p)
}

func (m *Master) answerJoin(ctx context.Context, in membership.Request) (*membership.Grant, error) {
	return m.group.Join(ctx, in)
}

func (m *Master) answerFiles(ctx context.Context, in membership.Request) (*membership.Grant, error) {
	return m.group.Bring(ctx, in)
}

func (m *Master) answerAbandon(r *http.Request, in membership.Leave) (struct{}, error) {
	return struct{}{}, m.group.Abandon(r.Context(), in.Token, r.PathValue("id"))
}

// member of the cluster, as wheelhouse member list shows it.
type memberList struct {
	Members []membership.MasterStatus `json:"members"`
}

func (m *Master) listMembers(ctx context.Context, _ struct{}) (memberList, error) {
	return memberList{Members: membership.List(m.known(ctx))}, nil
}

// changed names the member that a command was about.
type changed struct {
	Name string `json:"name"`
	ID   string `json:"id"`
}

func changedOf(s membership.Standing, err error) (changed, error) {
	return changed{Name: s.Name, ID: membership.FormatID(s.ID)}, err
}

func (m *Master) removeMember(r *http.Request, _ struct{}) (changed, error) {
	return changedOf(m.group.Remove(r.Context(), r.PathValue("name")))
}

func (m *Master) promoteMember(r *http.Request, _ struct{}) (changed, error) {
	return changedOf(m.group.Promote(r.Context(), r.PathValue("name")))
}

// leaderRequest names the member that shall lead.
type leaderRequest struct {
	Name string `json:"name,omitempty"`
	ID   uint64 `json:"id,omitempty"`
}

func (m *Master) moveLeader(ctx context.Context, in leaderRequest) (changed, error) {
	return changedOf(m.group.MoveLeader(ctx, in.Name))
}

// handOver makes a member the leader: if another master leads it is asked to.
func (m *Master) handOver(ctx context.Context, to uint64) error {
	leader := m.member.Leader()
	if leader == m.member.ID() {
		return m.member.MoveLeader(ctx, to)
	}
	state, err := m.group.State(ctx)
	if err != nil {
		return err
	}
	for _, s := range state.Members {
		if s.ID != leader {
			continue
		}
		for _, live := range state.Masters {
			if live.Name != s.Name {
				continue
			}
			client, err := m.caller().To(live.URL)
			if err != nil {
				return err
			}
			return client.Post(ctx, "leader/own", leaderRequest{ID: to}, nil)
		}
	}
	return control.Refused("the leader does not answer, and nobody else can hand its leadership over")
}

func (m *Master) yieldLeader(ctx context.Context, in leaderRequest) (struct{}, error) {
	if m.member == nil {
		return struct{}{}, control.Refused("this cluster keeps its data in a stand-alone etcd")
	}
	return struct{}{}, m.member.MoveLeader(ctx, in.ID)
}

// errRemoved ends a master whose member is none any more.
var errRemoved = errors.New("this master was removed from the cluster; its data can never be used again: to join anew, empty its data folder first")

// watchMembership ends the master when it is removed, and tends the group otherwise.
func (m *Master) watchMembership(ctx context.Context) error {
	if m.member == nil {
		<-ctx.Done()
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var tending sync.WaitGroup
	defer tending.Wait()
	defer cancel()
	tending.Go(func() { m.group.Tend(ctx) })
	tending.Go(func() { m.settlePeer(ctx) })
	select {
	case <-m.member.Removed():
		return fmt.Errorf("%w (%s)", errRemoved, m.config.DataDir)
	case <-m.identity.Over().Done():
		return m.identity.Why()
	case <-ctx.Done():
		return nil
	}
}

// memberOptions say how this master's member is reached by others, which it has to be if it has any.
func (m *Master) memberOptions(o *etcd.Options) error {
	if grant := m.enrolment.Grant(); grant != nil {
		o.Join = &etcd.Join{Cluster: grant.Cluster}
	}
	members, err := etcd.ReadMembers(o.Dir)
	if err != nil {
		return err
	}
	if o.Join == nil && len(members) < 2 {
		if wasOpen(members) { // after a crash the log may know of others whom the database does not
			if o.Peer, err = m.etcdPeer(); err != nil {
				o.Peer = nil
			}
		}
		return nil // alone: who comes to join is let in by openGroup
	}
	o.Peer, err = m.etcdPeer()
	return err
}

// wasOpen tells whether a member that seems to be alone has ever been open to others: its address was written then.
func wasOpen(members []etcd.Member) bool {
	return len(members) == 1 && strings.HasPrefix(members[0].PeerURL, "https://")
}

// settlePause is the time between two attempts to tell the others a new address.
const settlePause = 5 * time.Second

// settlePeer tells the others where this member is reached, if that has changed since its last start.
func (m *Master) settlePeer(ctx context.Context) {
	for said := ""; m.member.Grouped(); {
		p, err := m.etcdPeer()
		if err == nil {
			err = m.member.SetPeerURL(ctx, p.URL)
		}
		if err == nil || ctx.Err() != nil {
			return
		}
		if said != err.Error() {
			said = err.Error()
			m.config.warn("%v", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(settlePause):
		}
	}
}

// whoJoins are those with a token for masters. A cluster in memory has one master for ever.
func (m *Master) whoJoins() bootstrap.Joining {
	if m.config.DataDir == "" && !m.config.external() {
		return bootstrap.Joining{}
	}
	path := control.Root + membership.JoinPath
	return bootstrap.Joining{Group: membership.MastersGroup, Paths: []string{path, path + "/*"}, Server: m.peer().URL}
}

// awayMasters are the members of the cluster that do not serve and are not on the roll of those that live. With a stand-alone
// etcd only those are known that live.
func (m *Master) awayMasters(ctx context.Context) ([]string, error) {
	state, err := m.group.State(ctx)
	if err != nil {
		return nil, err
	}
	var away []string
	for _, member := range state.Members {
		if !member.Serving && member.ID != state.Self {
			away = append(away, cmp.Or(member.Name, membership.FormatID(member.ID)))
		}
	}
	return away, nil
}

// allServe fails if a member of the cluster does not serve. With a stand-alone etcd only those are known that do.
func (m *Master) allServe(ctx context.Context) error {
	state, err := m.group.State(ctx)
	if err != nil {
		return err
	}
	for _, member := range state.Members {
		if !member.Serving {
			return control.Refused(fmt.Sprintf("master %s does not serve, and all must be there when keys change: bring it back, or remove it with wheelhouse member remove %s",
				member.Name, member.Name))
		}
	}
	return nil
}

// belonging answers who asks whether a folder is part of this master's cluster.
func (m *Master) belonging(ctx context.Context, _ struct{}) (membership.Belonging, error) {
	b := membership.Belonging{Card: m.identity.Card()}
	b.Store.Former = nil
	if m.member == nil {
		return b, nil
	}
	members, err := m.member.Members(ctx)
	if err != nil {
		return b, err
	}
	for _, one := range members {
		b.Members = append(b.Members, membership.BelongingMember{ID: membership.FormatID(one.ID), Name: one.Name})
	}
	return b, nil
}
