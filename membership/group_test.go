package membership

import (
	"context"
	"slices"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
)

// fakeMembers is a store whose first member is this one, and leads.
type fakeMembers struct {
	list   []etcd.Member
	active map[uint64]bool
	// meanwhile is what another master adds while this one adds a learner.
	meanwhile *etcd.Member
}

func (f *fakeMembers) ID() uint64     { return 1 }
func (f *fakeMembers) Leader() uint64 { return 1 }
func (f *fakeMembers) Grouped() bool  { return true }
func (f *fakeMembers) Active(id uint64) time.Time {
	if f.active[id] {
		return time.Unix(1, 0)
	}
	return time.Time{}
}
func (f *fakeMembers) Known() []etcd.Member { return slices.Clone(f.list) }
func (f *fakeMembers) Members(context.Context) ([]etcd.Member, error) {
	return slices.Clone(f.list), nil
}
func (f *fakeMembers) AddLearner(_ context.Context, url string) (etcd.Member, error) {
	if f.meanwhile != nil {
		f.list = append(f.list, *f.meanwhile)
	}
	added := etcd.Member{ID: 9, PeerURL: url, Learner: true}
	f.list = append(f.list, added)
	return added, nil
}
func (f *fakeMembers) Promote(context.Context, uint64) error { return nil }
func (f *fakeMembers) Remove(_ context.Context, id uint64) error {
	f.list = slices.DeleteFunc(f.list, func(m etcd.Member) bool { return m.ID == id })
	return nil
}

func (f *fakeMembers) has(id uint64) bool {
	return slices.ContainsFunc(f.list, func(m etcd.Member) bool { return m.ID == id })
}

func newFakeGroup(f *fakeMembers, now *time.Time) *Group {
	return &Group{
		Self: "one", Members: f, Open: func(context.Context) error { return nil },
		Masters: func() []Master { return nil }, Log: func(string, ...any) {}, Now: func() time.Time { return *now },
	}
}

// Two masters that let newcomers in at the same time make way: there is never more than one that joins.
func TestJoinsAtOnce(t *testing.T) {
	now := time.Unix(1000, 0)
	r := &Request{Name: "new", PeerURL: "https://10.0.0.9:2380"}
	for _, meanwhile := range []*etcd.Member{nil, {ID: 8, PeerURL: "https://10.0.0.8:2380", Learner: true}} {
		f := &fakeMembers{list: []etcd.Member{{ID: 1, Name: "one", PeerURL: "https://10.0.0.1:2380"}}, meanwhile: meanwhile}
		grant := &Grant{}
		err := newFakeGroup(f, &now).add(t.Context(), grant, nil, r)
		switch {
		case meanwhile == nil && (err != nil || grant.Member != 9 || !f.has(9)):
			t.Errorf("alone: %v, %+v, %v", err, grant, f.list)
		case meanwhile != nil && (!apierrors.IsTooManyRequests(err) || f.has(9) || !f.has(8)):
			t.Errorf("with another: %v, %v", err, f.list)
		}
	}
}

// A learner that is connected may take its time over a large database; one that is not is forgotten.
func TestTendUnstarted(t *testing.T) {
	now := time.Unix(1000, 0)
	f := &fakeMembers{active: map[uint64]bool{9: true}, list: []etcd.Member{
		{ID: 1, Name: "one", PeerURL: "https://10.0.0.1:2380"}, {ID: 9, PeerURL: "https://10.0.0.9:2380", Learner: true}}}
	g, unstarted := newFakeGroup(f, &now), map[uint64]time.Time{}
	tend := func() {
		t.Helper()
		if _, err := g.tend(t.Context(), unstarted); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		tend()
		now = now.Add(startWait + time.Second)
	}
	tend()
	if !f.has(9) {
		t.Fatal("a learner that is connected was removed")
	}
	f.active[9] = false
	now = now.Add(startWait)
	tend()
	if !f.has(9) {
		t.Fatal("a learner was removed too early")
	}
	now = now.Add(time.Second)
	tend()
	if f.has(9) {
		t.Error("a learner that went away was not removed")
	}
}
