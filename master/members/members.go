// Package members is the group of masters as one of them serves it: it lets masters join and leave, shares files with them, makes
// tokens for newcomers, and tells how all of them are. See DESIGN.md.
package members

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/admin"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/pki"
	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
)

// Identity is what a master knows of its store.
type Identity interface {
	Card() membership.Card
	// Describe adds to a status which store this is, and who was met of others.
	Describe(*membership.Status)
	// Over ends when this master must not go on with its data, for the reason Why.
	Over() context.Context
	Why() error
}

// Options are what is known of a master before its store is open.
type Options struct {
	// Self is its name, URL where other masters reach its API.
	Self, URL string
	// DataDir is its folder, StoreKind where its data are, in a word.
	DataDir, StoreKind string
	// Joinable is false for a master in memory, which no other can join.
	Joinable bool
	// Leases that it stands for.
	Leases []string
	// Settings are the flags that all masters must have alike.
	Settings  map[string]string
	Door      *Door
	Authority *pki.Authority
	// Parts are the files that all masters share.
	Parts     []membership.Shared
	Identity  Identity
	Caller    *admin.Caller
	Privilege admin.Privilege
	Now       func() time.Time
	Log, Warn func(format string, args ...any)
}

// Opened is the store, once it is open.
type Opened struct {
	// Store is the store, values as they are kept.
	Store store.Store
	// Member is set if the store is a member in this process, Remote if it is an external etcd; both are nil in memory.
	Member *etcd.Embedded
	Remote *etcd.Remote
}

// Needs are what the group needs of a master that serves.
type Needs struct {
	// Masters are those that live.
	Masters func() []membership.Master
	// Holder of a Lease that has not run out; empty if nobody holds it.
	Holder func(lease string) string
	// Encryption says in a few words who keeps the keys.
	Encryption func() string
	// Unreadable are the values of the store that this master cannot read.
	Unreadable func() membership.Unreadable
}

// Members are the masters of a cluster, as one of them knows them. A start calls New, Begin and Connect, in this order, before it serves.
type Members struct {
	Options
	Opened
	Needs
	shares *membership.Shares
	group  *membership.Group
}

// New makes the members of a cluster whose store is not open yet.
func New(o Options) *Members { return &Members{Options: o} }

// Begin takes the store that was opened.
func (m *Members) Begin(o Opened) {
	m.Opened = o
	m.shares = m.newShares()
	m.group = &membership.Group{
		Self: m.Self, Masters: func() []membership.Master { return m.Masters() }, Settings: m.Settings, Files: m.shares.Files,
		Invitations: m.invitations(), Log: m.Log, Card: m.Identity.Card,
	}
	if m.Member != nil {
		m.group.Members, m.group.Open, m.group.TransferLeadership = m.Member, m.Open, m.transferLeadership
	}
}

// Connect gives the group what it needs of a master that is about to serve.
func (m *Members) Connect(n Needs) { m.Needs = n }

// Commands are how masters come, go and share, and how operators look at them.
func (m *Members) Commands() []admin.Command {
	return append(m.membershipCommands(), m.invitationCommands()...)
}

// membershipCommands are how masters come, go and share.
func (m *Members) membershipCommands() []admin.Command {
	return []admin.Command{
		{Method: http.MethodPost, Path: membership.JoinPath, Handler: admin.Handle(m.answerJoin)},
		{Method: http.MethodPost, Path: membership.FilesPath, Handler: admin.Handle(m.answerFiles)},
		{Method: http.MethodDelete, Path: membership.JoinPath + "/{id}", Handler: admin.HandleRequest(m.answerAbandon)},
		{Method: http.MethodGet, Path: membership.IdentityPath, Handler: admin.Handle(m.belonging)},
		{Method: http.MethodGet, Path: "members", Handler: admin.Handle(m.listMembers)},
		{Method: http.MethodDelete, Path: "members/{name}", Handler: admin.HandleRequest(m.removeMember)},
		{Method: http.MethodPost, Path: "members/{name}/promote", Handler: admin.HandleRequest(m.promoteMember)},
		{Method: http.MethodPost, Path: "leader", Handler: admin.Handle(m.moveLeader)},
		{Method: http.MethodPost, Path: "leader/own", Handler: admin.Handle(m.yieldLeader)},
		{Method: http.MethodGet, Path: "shared", Handler: admin.HandleRequest(m.giveShared)},
		{Method: http.MethodGet, Path: "shared/generation", Handler: admin.Handle(m.tellGeneration)},
		{Method: http.MethodGet, Path: "status", Handler: admin.Handle(func(ctx context.Context, _ struct{}) (membership.Status, error) { return m.Status(ctx) })},
		{Method: http.MethodGet, Path: "status/own", Handler: admin.Handle(m.tellStatus)},
		{Method: http.MethodPost, Path: "defragment", Handler: admin.Handle(m.defragment)},
		{Method: http.MethodPost, Path: "defragment/own", Handler: admin.Handle(m.defragmentOwn)},
	}
}

// Open makes this master's member one that others can join.
func (m *Members) Open(ctx context.Context) error {
	if m.Member.Grouped() {
		return nil
	}
	p, err := m.Door.Peer()
	if err != nil {
		return err
	}
	m.Log("other masters can join at %s now", p.URL)
	return m.Member.Group(ctx, *p)
}

func (m *Members) answerJoin(ctx context.Context, in membership.Request) (*membership.Grant, error) {
	return m.group.Join(ctx, in)
}

func (m *Members) answerFiles(ctx context.Context, in membership.Request) (*membership.Grant, error) {
	return m.group.Bring(ctx, in)
}

func (m *Members) answerAbandon(r *http.Request, in membership.Leave) (struct{}, error) {
	return struct{}{}, m.group.Abandon(r.Context(), in.Token, r.PathValue("id"))
}

// memberList is what wheelhouse member list shows.
type memberList struct {
	Members []membership.MasterStatus `json:"members"`
}

func (m *Members) listMembers(ctx context.Context, _ struct{}) (memberList, error) {
	return memberList{Members: membership.List(m.known(ctx))}, nil
}

// changed names the member that a command was about.
type changed struct {
	Name string `json:"name"`
	ID   string `json:"id"`
}

func changedOf(s membership.MemberState, err error) (changed, error) {
	return changed{Name: s.Name, ID: membership.FormatID(s.ID)}, err
}

func (m *Members) removeMember(r *http.Request, _ struct{}) (changed, error) {
	return changedOf(m.group.Remove(r.Context(), r.PathValue("name")))
}

func (m *Members) promoteMember(r *http.Request, _ struct{}) (changed, error) {
	return changedOf(m.group.Promote(r.Context(), r.PathValue("name")))
}

// leaderRequest names the member that shall lead.
type leaderRequest struct {
	Name string `json:"name,omitempty"`
	ID   uint64 `json:"id,omitempty"`
}

func (m *Members) moveLeader(ctx context.Context, in leaderRequest) (changed, error) {
	return changedOf(m.group.MoveLeader(ctx, in.Name))
}

// transferLeadership makes a member the leader: if another master leads it is asked to.
func (m *Members) transferLeadership(ctx context.Context, to uint64) error {
	leader := m.Member.Leader()
	if leader == m.Member.ID() {
		return m.Member.MoveLeader(ctx, to)
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
			client, err := m.Caller.To(live.URL)
			if err != nil {
				return err
			}
			return client.Post(ctx, "leader/own", leaderRequest{ID: to}, nil)
		}
	}
	return admin.Refused("the leader does not answer, and nobody else can hand its leadership over")
}

func (m *Members) yieldLeader(ctx context.Context, in leaderRequest) (struct{}, error) {
	if m.Member == nil {
		return struct{}{}, admin.Refused("this cluster keeps its data in a stand-alone etcd")
	}
	return struct{}{}, m.Member.MoveLeader(ctx, in.ID)
}

// errRemoved ends a master whose member was removed from the group.
var errRemoved = errors.New("this master was removed from the cluster; its data can never be used again: to join anew, empty its data folder first")

// Watch ends the master when it is removed, and tends the group otherwise.
func (m *Members) Watch(ctx context.Context) error {
	if m.Member == nil {
		<-ctx.Done()
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var tending sync.WaitGroup
	defer tending.Wait()
	defer cancel()
	tending.Go(func() { m.group.Tend(ctx) })
	tending.Go(func() { m.announceAddress(ctx) })
	select {
	case <-m.Member.Removed():
		return fmt.Errorf("%w (%s)", errRemoved, m.DataDir)
	case <-m.Identity.Over().Done():
		return m.Identity.Why()
	case <-ctx.Done():
		return nil
	}
}

// announcePause is the time between two attempts to tell the others a new address.
const announcePause = 5 * time.Second

// announceAddress tells the others where this member is reached, if that has changed since its last start.
func (m *Members) announceAddress(ctx context.Context) {
	for said := ""; m.Member.Grouped(); {
		p, err := m.Door.Peer()
		if err == nil {
			err = m.Member.SetPeerURL(ctx, p.URL)
		}
		if err == nil || ctx.Err() != nil {
			return
		}
		if said != err.Error() {
			said = err.Error()
			m.Warn("%v", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(announcePause):
		}
	}
}

// Absent are the masters that belong to the cluster and are away.
func (m *Members) Absent(ctx context.Context) ([]string, error) {
	state, err := m.group.State(ctx)
	if err != nil {
		return nil, err
	}
	return state.Away(), nil
}

// belonging answers who asks whether a folder is part of this master's cluster.
func (m *Members) belonging(ctx context.Context, _ struct{}) (membership.Belonging, error) {
	b := membership.Belonging{Card: m.Identity.Card()}
	b.Store.Former = nil
	if m.Member == nil {
		return b, nil
	}
	members, err := m.Member.Members(ctx)
	if err != nil {
		return b, err
	}
	for _, one := range members {
		b.Members = append(b.Members, membership.BelongingMember{ID: membership.FormatID(one.ID), Name: one.Name})
	}
	return b, nil
}

// Peer is how this master's member of the store is reached by others, or why it is not.
func (m *Members) Peer() (*etcd.Peer, error) { return m.Door.Peer() }
