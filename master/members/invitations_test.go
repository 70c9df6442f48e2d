package members

import (
	"context"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"

	"github.com/wheelhouse-k8s/wheelhouse/admin"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/pki"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

// alone is what a master knows that has met nobody.
type alone struct{}

func (alone) Card() membership.Card         { return membership.Card{System: "uid"} }
func (alone) Describe(s *membership.Status) { s.System = "uid" }
func (alone) Over() context.Context         { return context.Background() }
func (alone) Why() error                    { return nil }
func (alone) masters() []membership.Master {
	return []membership.Master{{Name: "one", URL: "https://one"}}
}
func (alone) holder(string) string                     { return "one" }
func (alone) unreadable() (none membership.Unreadable) { return none }

func newMembers(t *testing.T) *Members {
	t.Helper()
	authority, err := pki.Ensure(filepath.Join(t.TempDir(), "pki"), pki.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	s := memory.New()
	t.Cleanup(func() { s.Close() })
	m := New(Options{Self: "one", URL: "https://one", StoreKind: "memory", Authority: authority, Identity: alone{}, Now: time.Now, Log: t.Logf, Warn: t.Logf})
	m.Begin(Opened{Store: s})
	m.Connect(Needs{Masters: alone{}.masters, Holder: alone{}.holder, Encryption: func() string { return "none" }, Unreadable: alone{}.unreadable})
	return m
}

// TestTokens: a token for masters lets its holder to the door at which masters ask to join, and nowhere else, until it is taken back.
func TestTokens(t *testing.T) {
	m := newMembers(t)
	token, _, err := m.invitations().Make(t.Context(), time.Hour, "")
	if err != nil {
		t.Fatal(err)
	}
	door := Authenticator(authenticator.RequestFunc(func(r *http.Request) (*authenticator.Response, bool, error) {
		return m.Tokens().AuthenticateToken(r.Context(), token.String())
	}))
	for path, want := range map[string]bool{
		admin.Root + membership.JoinPath:           true,
		admin.Root + membership.JoinPath + "/1":    true,
		admin.Root + membership.JoinPath + "other": false,
		admin.Root + "members":                     false,
		"/api/v1/secrets":                          false,
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://one"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if who, ok, err := door.AuthenticateRequest(r); err != nil || ok != want || ok && who.User.GetGroups()[0] != membership.MastersGroup {
			t.Errorf("%s: %v, %+v, %v", path, ok, who, err)
		}
	}
	others := NoMaster(authenticator.TokenFunc(func(ctx context.Context, token string) (*authenticator.Response, bool, error) {
		return m.Tokens().AuthenticateToken(context.WithValue(ctx, doorMark{}, true), token)
	}))
	if who, ok, err := others.AuthenticateToken(t.Context(), token.String()); err != nil || !ok || len(who.User.GetGroups()) != 0 {
		t.Errorf("a token of another kind: %v, %+v, %v", ok, who, err)
	}
}

// TestStatus asks a lone master how all are.
func TestStatus(t *testing.T) {
	m := newMembers(t)
	s, err := m.Status(t.Context())
	if err != nil || len(s.Masters) != 1 || !s.Masters[0].Live || s.Masters[0].Name != "one" || s.System != "uid" || s.Leaders["kube-scheduler"] != "one" || !s.Healthy {
		t.Errorf("%+v, %v", s, err)
	}
	if away, err := m.Absent(t.Context()); err != nil || len(away) != 0 {
		t.Errorf("absent: %v, %v", away, err)
	}
}
