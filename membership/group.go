// Package membership decides who is a master of the cluster: tokens that let one join, the request to join and its
// answer, learners and their promotion, removal, and the files that all masters share.
//
// Decisions (plan.go) are functions of what members there are and which of them answer. Group carries them out. See DESIGN.md.
package membership

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
)

const (
	// startWait is how long a learner may take from its grant to its start without being connected; then it is removed.
	startWait = 2 * time.Minute
	// tendLearners is how often the leader looks whether a learner can be promoted, and tendIdle how often it looks for one.
	tendLearners = 300 * time.Millisecond
	tendIdle     = 2 * time.Second
	// changeTimeout bounds one change of the members.
	changeTimeout = 30 * time.Second
)

// Members is what a Group asks of the cluster store; *etcd.Embedded has it.
type Members interface {
	ID() uint64
	Leader() uint64
	Grouped() bool
	Active(id uint64) time.Time
	Known() []etcd.Member
	Members(ctx context.Context) ([]etcd.Member, error)
	AddLearner(ctx context.Context, peerURL string) (etcd.Member, error)
	Promote(ctx context.Context, id uint64) error
	Remove(ctx context.Context, id uint64) error
}

// Group changes the members of the cluster on behalf of operators and newcomers.
type Group struct {
	// Self is this master's name.
	Self string
	// Members of the embedded store; nil if the data is in an external etcd, whose members are not ours.
	Members Members
	// Open makes a lone member one that others can join; it does nothing if it is one.
	Open func(ctx context.Context) error
	// Masters that live, this one included.
	Masters func() []Master
	// Settings that all masters share, by flag.
	Settings map[string]string
	// TransferLeadership makes a member the leader; only the present leader can, wherever it is.
	TransferLeadership func(ctx context.Context, to uint64) error
	// Card of this master's store; nil shows none.
	Card func() Card
	// Files that all masters share.
	Files func() (map[string][]byte, error)
	// Invitations are the tokens with which masters join.
	Invitations *Invitations
	// Log takes lines for the operator.
	Log func(format string, args ...any)
	// Now is the clock; nil means time.Now.
	Now func() time.Time

	changing sync.Mutex // held while members are changed through this master
}

func (g *Group) now() time.Time {
	if g.Now != nil {
		return g.Now()
	}
	return time.Now()
}

// State of the members now.
func (g *Group) State(ctx context.Context) (State, error) {
	s := State{Settings: g.Settings, Masters: g.Masters(), Now: g.now()}
	if g.Members == nil {
		return s, nil
	}
	members, err := g.Members.Members(ctx)
	if err != nil {
		return s, err
	}
	g.fill(&s, members)
	return s, nil
}

// Join answers a newcomer that shows a token. When it is refused nothing has changed.
func (g *Group) Join(ctx context.Context, r Request) (*Grant, error) {
	token, err := g.check(r.Token)
	if err != nil {
		return nil, err
	}
	switch {
	case r.External && g.Members != nil:
		return nil, conflict("this cluster keeps its data in its masters: start the new one without --etcd-servers")
	case !r.External && g.Members == nil:
		return nil, conflict("this cluster keeps its data in a stand-alone etcd: start the new master with the same --etcd-servers")
	}
	if !g.changing.TryLock() {
		return nil, busy("the members of the cluster are being changed: try again in a moment")
	}
	defer g.changing.Unlock()
	state, err := g.State(ctx)
	if err != nil {
		return nil, err
	}
	replace, err := Admit(state, &r)
	if err != nil {
		return nil, err
	}
	release, err := g.Invitations.claim(ctx, token, &r)
	if err != nil {
		return nil, err
	}
	grant, err := g.grant(token, &r)
	if err == nil && g.Members != nil {
		err = g.add(ctx, grant, replace, &r)
	}
	if err != nil { // nobody got anything for the token
		releasing, cancel := context.WithTimeout(context.WithoutCancel(ctx), changeTimeout)
		defer cancel()
		return nil, errors.Join(err, release(releasing))
	}
	return grant, nil
}

// Bring gives the shared files to a master that is a member already: they were changed while it was away, so that it has nothing
// left to prove itself with but a token.
func (g *Group) Bring(ctx context.Context, r Request) (*Grant, error) {
	token, err := g.check(r.Token)
	if err != nil {
		return nil, err
	}
	if !r.External || g.Members != nil { // without members of ours, whoever has a token may join as well
		state, err := g.State(ctx)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(state.Members, func(m MemberState) bool { return FormatID(m.ID) == r.Member && m.Name == r.Name }) {
			return nil, conflict("%s (member %s) is not a master of this cluster: join with an empty data folder", r.Name, r.Member)
		}
	}
	release, err := g.Invitations.claim(ctx, token, &r)
	if err != nil {
		return nil, err
	}
	grant, err := g.grant(token, &r)
	if err != nil {
		releasing, cancel := context.WithTimeout(context.WithoutCancel(ctx), changeTimeout)
		defer cancel()
		return nil, errors.Join(err, release(releasing))
	}
	g.Log("%s was given the authority and keys that it has missed", r.Name)
	return grant, nil
}

// check that a master made a token. Whether it is still good is asked of the store later: without a quorum that says nothing, and
// the newcomer is to hear what is wrong.
func (g *Group) check(text string) (Token, error) {
	token, err := ParseToken(text)
	if err != nil {
		return token, unauthorized("%v", err)
	}
	made, err := g.Invitations.Made(token)
	if err == nil && !made {
		err = forbidden("the token is not one for masters: make one with wheelhouse token create --role master")
	}
	return token, err
}

// grant seals the files.
func (g *Group) grant(token Token, r *Request) (*Grant, error) {
	files, err := g.Files()
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(files)
	if err != nil {
		return nil, err
	}
	own, err := newKeyExchange()
	if err != nil {
		return nil, err
	}
	sealed, err := own.seal(r.Key, token, data)
	if err != nil {
		return nil, conflict("%v", err)
	}
	grant := &Grant{Master: g.Self, Key: own.public(), Sealed: sealed}
	if g.Card != nil {
		grant.Card = g.Card()
	}
	return grant, nil
}

// add makes the newcomer a learner.
func (g *Group) add(ctx context.Context, grant *Grant, replace []uint64, r *Request) error {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	if err := g.Open(ctx); err != nil {
		return fmt.Errorf("this master could not open its store to others: %w", err)
	}
	for _, id := range replace {
		if err := g.Members.Remove(ctx, id); err != nil {
			return err
		}
	}
	added, err := g.Members.AddLearner(ctx, r.PeerURL)
	if err != nil {
		return err
	}
	members, err := g.Members.Members(ctx)
	if err != nil {
		return errors.Join(err, g.Members.Remove(context.WithoutCancel(ctx), added.ID))
	}
	for _, m := range members { // another master may have let somebody in at the same time
		if m.Learner && m.Name == "" && m.ID != added.ID {
			err := g.Members.Remove(context.WithoutCancel(ctx), added.ID)
			return errors.Join(busy("another master is joining (%s): try again when it has", m.PeerURL), err)
		}
	}
	grant.Member, grant.Cluster = added.ID, map[string]string{}
	for _, m := range members {
		switch {
		case m.ID == added.ID:
		case m.Name == "": // this one, just after its start
			grant.Cluster[g.Self] = m.PeerURL
		default:
			grant.Cluster[m.Name] = m.PeerURL
		}
	}
	grant.Cluster[r.Name] = r.PeerURL
	g.Log("%s joins at %s", r.Name, r.PeerURL)
	return nil
}

// Abandon removes a learner that could not start, on the request of the master that has joined with the token.
func (g *Group) Abandon(ctx context.Context, text, id string) error {
	token, err := g.check(text)
	if err != nil {
		return err
	}
	used, err := g.Invitations.find(ctx, token)
	if err != nil {
		return err
	}
	g.changing.Lock()
	defer g.changing.Unlock()
	state, err := g.State(ctx)
	if err != nil {
		return err
	}
	for _, m := range state.Members {
		if FormatID(m.ID) != id {
			continue
		}
		if !m.Learner {
			return conflict("%s is a voting member: remove it with wheelhouse member remove %s", m.label(), m.label())
		}
		if used.Joiner == "" || m.PeerURL != used.PeerURL {
			return forbidden("%s did not join with this token", m.label())
		}
		g.Log("%s gave up joining", m.label())
		return g.Members.Remove(ctx, m.ID)
	}
	return nil
}

// Remove a member that the operator names. Its data can never be used again.
func (g *Group) Remove(ctx context.Context, who string) (MemberState, error) {
	g.changing.Lock()
	defer g.changing.Unlock()
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	state, target, err := g.find(ctx, who)
	if err != nil {
		return target, err
	}
	plan, err := PlanRemoval(state, target)
	if err != nil {
		return target, err
	}
	if plan.Promote != 0 {
		if err := g.Members.Promote(ctx, plan.Promote); err != nil {
			return target, err
		}
	}
	if plan.Lead != 0 {
		if err := g.TransferLeadership(ctx, plan.Lead); err != nil {
			return target, err
		}
	}
	if err := g.Members.Remove(ctx, plan.Remove); err != nil {
		return target, err
	}
	g.Log("%s was removed", target.label())
	return target, nil
}

func (g *Group) find(ctx context.Context, who string) (State, MemberState, error) {
	state, err := g.State(ctx)
	if err != nil {
		return state, MemberState{}, err
	}
	if g.Members == nil {
		return state, MemberState{}, conflict("this cluster keeps its data in a stand-alone etcd: its masters come and go freely, and its members are etcdctl's matter")
	}
	target, err := Find(state, who)
	return state, target, err
}

// Promote a learner that the operator names.
func (g *Group) Promote(ctx context.Context, who string) (MemberState, error) {
	g.changing.Lock()
	defer g.changing.Unlock()
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	state, target, err := g.find(ctx, who)
	if err != nil {
		return target, err
	}
	voters, _ := state.voters()
	switch {
	case !target.Learner:
		return target, conflict("%s is a voting member already", target.label())
	case !target.started() || !target.Active:
		return target, conflict("%s does not answer: start it first", target.label())
	case voters%2 == 1:
		return target, conflict("%s stands by: with it %d masters would vote, which survive no more failures than %d; it is promoted when another joins",
			target.label(), voters+1, voters)
	}
	if err := g.Members.Promote(ctx, target.ID); err != nil {
		return target, err
	}
	return target, nil
}

// MoveLeader makes a voting member the leader; an empty name leaves the choice.
func (g *Group) MoveLeader(ctx context.Context, who string) (MemberState, error) {
	g.changing.Lock()
	defer g.changing.Unlock()
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	var target MemberState
	state, err := g.State(ctx)
	if err == nil && (who != "" || g.Members == nil) {
		state, target, err = g.find(ctx, who)
	}
	if err != nil {
		return target, err
	}
	if who == "" {
		id := state.successor(state.Leader)
		if id == 0 {
			return target, conflict("there is no other voting master that could lead")
		}
		if target, err = Find(state, FormatID(id)); err != nil {
			return target, err
		}
	}
	switch {
	case target.ID == state.Leader:
		return target, nil
	case target.Learner:
		return target, conflict("%s has no vote and cannot lead", target.label())
	case !target.Active:
		return target, conflict("%s does not answer: start it first", target.label())
	}
	return target, g.TransferLeadership(ctx, target.ID)
}

// Tend promotes learners and removes those that never start, for as long as this master's member leads, until ctx ends.
func (g *Group) Tend(ctx context.Context) {
	unstarted := map[uint64]time.Time{}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		pause, err := g.tend(ctx, unstarted)
		if err != nil && ctx.Err() == nil {
			g.Log("members: %v", err)
			pause = tendIdle
		}
		timer.Reset(pause)
	}
}

func (g *Group) tend(ctx context.Context, unstarted map[uint64]time.Time) (time.Duration, error) {
	if !g.Members.Grouped() || g.Members.Leader() != g.Members.ID() {
		clear(unstarted)
		return tendIdle, nil
	}
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	g.changing.Lock()
	defer g.changing.Unlock()
	state, err := g.State(ctx)
	if err != nil {
		return tendIdle, err
	}
	pause := tendIdle
	for _, m := range state.Members {
		switch {
		case !m.Learner:
			continue
		case m.started():
			delete(unstarted, m.ID)
			pause = tendLearners
			continue
		case unstarted[m.ID].IsZero(), m.Active: // one that is connected may be reading a large database
			unstarted[m.ID] = state.Now
		case state.Now.Sub(unstarted[m.ID]) > startWait:
			g.Log("the master that was to join at %s did not start and is forgotten", m.PeerURL)
			if err := g.Members.Remove(ctx, m.ID); err != nil {
				return tendIdle, err
			}
			delete(unstarted, m.ID)
		}
		pause = tendLearners
	}
	promoting := Promotions(state)
	if len(promoting) == 0 && len(unstarted) == 0 {
		pause = tendIdle // a learner that stands by
	}
	for _, id := range promoting {
		err := g.Members.Promote(ctx, id)
		if errors.Is(err, etcd.ErrNotCaughtUp) {
			break
		}
		if err != nil {
			return tendIdle, err
		}
		target, err := Find(state, FormatID(id))
		if err != nil {
			return tendIdle, err
		}
		g.Log("%s is a voting member now", target.label())
	}
	return pause, nil
}
