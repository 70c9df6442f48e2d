package certificates

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/apiserver/auth"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/pki"
	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
)

type members membership.Members

// group is a store whose members are a list; this master's is the first.
type group struct {
	members
	list []etcd.Member
	lost error
}

func (g *group) ID() uint64                   { return 1 }
func (g *group) Leader() uint64               { return 1 }
func (g *group) Active(uint64) time.Time      { return time.Time{} }
func (g *group) Grouped() bool                { return true }
func (g *group) Reload(context.Context) error { return nil }
func (g *group) Members(context.Context) ([]etcd.Member, error) {
	return g.list, g.lost
}

// TestAbsent: a status, a renewal and the end of a rotation agree on who is away. Members that have
// not told their names yet, this master's own among them, are what they could differ over.
func TestAbsent(t *testing.T) {
	live := []membership.Master{{Name: "one"}}
	own, err := Open(Options{PKIDir: filepath.Join(t.TempDir(), "pki"), PKI: pki.Options{Now: time.Now}, Log: t.Logf, Warn: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	g := &group{list: []etcd.Member{{ID: 1}, {ID: 2, Name: "two"}, {ID: 0x1f, Learner: true}}}
	masters := func() []membership.Master { return live }
	of := &membership.Group{Self: "one", Members: g, Masters: masters}
	c := New(own, Needs{
		Self: "one", Member: g, Masters: masters, Authenticator: &auth.Authenticator{}, Publish: func(context.Context) error { return nil },
		Absent: func(ctx context.Context) ([]string, error) {
			s, err := of.State(ctx)
			return s.Away(), err
		},
	})
	want := []string{"two", "1f"}
	status, err := c.tellRotation(t.Context(), struct{}{})
	if err != nil || !slices.Equal(status.Away, want) {
		t.Errorf("a status: %q, %v", status.Away, err)
	}
	if err := c.mayFinish(t.Context(), false); err == nil || !strings.Contains(err.Error(), "these masters are away and could not come back: two, 1f.") {
		t.Errorf("the end of a rotation: %v", err)
	}
	var renewed []string
	all, err := c.renewEverywhere(t.Context(), struct{}{})
	for _, one := range all[1:] {
		renewed = append(renewed, one.Master)
	}
	if err != nil || !slices.Equal(renewed, want) {
		t.Errorf("a renewal: %q, %v", renewed, err)
	}

	g.lost = errors.New("no quorum")
	if status, err := c.tellRotation(t.Context(), struct{}{}); err != nil || len(status.Authorities) == 0 || !slices.Equal(status.Away, []string{"(unknown: no quorum)"}) {
		t.Errorf("a status without a quorum: %+v, %v", status, err)
	}
	if err := c.mayFinish(t.Context(), false); !errors.Is(err, g.lost) {
		t.Errorf("the end of a rotation without a quorum: %v", err)
	}
}
