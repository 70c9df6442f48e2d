package members

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/wheelhouse-k8s/wheelhouse/admin"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/registry/notes"
)

// invitationCommands make tokens for masters, list them and take them back.
func (m *Members) invitationCommands() []admin.Command {
	return []admin.Command{
		{Method: http.MethodPost, Path: "tokens", Handler: admin.HandleRequest(m.makeInvitation)},
		{Method: http.MethodGet, Path: "tokens", Handler: admin.Handle(func(ctx context.Context, _ struct{}) (l InvitationList, err error) {
			l.Tokens, err = m.invitations().List(ctx)
			return l, err
		})},
		{Method: http.MethodDelete, Path: "tokens/{id}", Handler: admin.HandleRequest(func(r *http.Request, _ struct{}) (struct{}, error) {
			return struct{}{}, m.invitations().Revoke(r.Context(), r.PathValue("id"))
		})},
	}
}

// InvitationRequest asks for a token with which a master joins.
type InvitationRequest struct {
	Seconds     float64 `json:"seconds"`
	Description string  `json:"description,omitempty"`
}

// InvitationAnswer is the token, and what else its holder needs.
type InvitationAnswer struct {
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
	// Servers are the URLs of the masters that live, and Hashes those of the authorities that they may have.
	Servers []string `json:"servers"`
	Hashes  []string `json:"hashes"`
}

// InvitationList is what the command tokens lists.
type InvitationList struct {
	Tokens []membership.Invitation `json:"tokens"`
}

// makeInvitation is for who could read the authority's keys anyway: who has the token gets them.
func (m *Members) makeInvitation(r *http.Request, in InvitationRequest) (*InvitationAnswer, error) {
	if err := m.Privilege.Demand(r, "a token for masters"); err != nil {
		return nil, err
	}
	if !m.Joinable {
		return nil, admin.Refused("this master keeps everything in memory: no other can join it")
	}
	a := &InvitationAnswer{}
	var err error
	if a.Hashes, err = membership.Hashes(m.Authority.CA().CertPEM); err != nil {
		return nil, err
	}
	for _, live := range m.Masters() {
		if live.URL != "" {
			a.Servers = append(a.Servers, live.URL)
		}
	}
	if len(a.Servers) == 0 {
		return nil, admin.Refused("no master lives that could be joined")
	}
	token, expires, err := m.invitations().Make(r.Context(), time.Duration(in.Seconds*float64(time.Second)), in.Description)
	if err != nil {
		return nil, err
	}
	a.Token, a.Expires = token.String(), expires
	return a, nil
}

// joinKeyPurpose is what the key of tokens for masters is derived for.
const joinKeyPurpose = "tokens with which masters join"

func (m *Members) invitations() *membership.Invitations {
	v := &membership.Invitations{
		Store: m.Store, Prefix: notes.Invitations, Now: m.Now,
		Key: func() ([]byte, error) { return m.Authority.Derive(joinKeyPurpose) },
	}
	if m.Remote != nil {
		v.Scope = m.remoteStore
	}
	return v
}

// remoteStore names the external etcd: one that was restored from a snapshot has another name if it has another token or
// other addresses, which is for its operator to see to. (A restore of a master's own
// store leaves the records out, as a recovery does.)
func (m *Members) remoteStore(ctx context.Context) (string, error) {
	for _, s := range m.Remote.Servers(ctx) {
		if s.Err == nil {
			return strconv.FormatUint(s.Status.Cluster, 16), nil
		}
	}
	return "", errors.New("no server of etcd answers")
}

// ForgetInvitations drops the records of tokens: what the others knew of their use is lost.
func (m *Members) ForgetInvitations(ctx context.Context) error { return m.invitations().Forget(ctx) }

// Tokens authenticates who has a token for masters, behind Authenticator only.
func (m *Members) Tokens() authenticator.Token { return masterTokens{m} }

// Authenticator marks requests that come to the door at which masters ask to join.
func Authenticator(next authenticator.Request) authenticator.Request { return joinDoor{next} }

// NoMaster drops the group of those who may join from what an authenticator of other tokens says.
func NoMaster(next authenticator.Token) authenticator.Token {
	return notGroup{next, membership.MastersGroup}
}

// masterTokens lets who has a token for masters to the door at which masters ask to join, and nowhere else: anywhere else nobody looks
// whether the token is still good, as the join itself does.
type masterTokens struct{ m *Members }

// doorMark marks the context of requests that knock at that door.
type doorMark struct{}

// joinDoor marks those requests before it is asked whose they are.
type joinDoor struct{ authenticator.Request }

// AuthenticateRequest implements authenticator.Request.
func (d joinDoor) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	const path = admin.Root + membership.JoinPath
	if rest, ok := strings.CutPrefix(r.URL.Path, path); ok && (rest == "" || rest[0] == '/') {
		r = r.WithContext(context.WithValue(r.Context(), doorMark{}, true))
	}
	return d.Request.AuthenticateRequest(r)
}

// AuthenticateToken implements authenticator.Token.
func (t masterTokens) AuthenticateToken(ctx context.Context, text string) (*authenticator.Response, bool, error) {
	if ctx.Value(doorMark{}) == nil {
		return nil, false, nil
	}
	token, err := membership.ParseToken(text)
	if err != nil {
		return nil, false, nil
	}
	if made, err := t.m.invitations().Made(token); err != nil || !made {
		return nil, false, err
	}
	return &authenticator.Response{User: &user.DefaultInfo{
		Name: membership.TokenUserPrefix + token.ID, Groups: []string{membership.MastersGroup},
	}}, true, nil
}

// notGroup drops a group from what an authenticator says.
type notGroup struct {
	authenticator.Token
	group string
}

// AuthenticateToken implements authenticator.Token.
func (n notGroup) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	r, ok, err := n.Token.AuthenticateToken(ctx, token)
	if !ok || err != nil || !slices.Contains(r.User.GetGroups(), n.group) {
		return r, ok, err
	}
	groups := slices.DeleteFunc(slices.Clone(r.User.GetGroups()), func(g string) bool { return g == n.group })
	return &authenticator.Response{Audiences: r.Audiences, User: &user.DefaultInfo{
		Name: r.User.GetName(), UID: r.User.GetUID(), Extra: r.User.GetExtra(), Groups: groups,
	}}, true, nil
}
