package membership

import (
	"fmt"
	"math/rand"
	"strings"
	"testing"
	"time"
)

// TestRelations: who succeeds whom, and who must stop.
func TestRelations(t *testing.T) {
	now := time.Now()
	first := NewStore(OriginNew, now)
	restored := first.Next(OriginRestored, "c1", nil, now)
	recovered := first.Next(OriginRecovered, "c1", []Former{{Name: "b", PeerURL: "https://b:2380"}}, now)
	again := recovered.Next(OriginRecovered, "c2", nil, now)
	exercise := again.Next(OriginRestored, "c3", nil, now)
	unnamed := Store{}.Next(OriginRecovered, "c9", nil, now)
	card := func(s Store, cluster string) *Card { return &Card{Store: s, Cluster: cluster} }
	for _, c := range []struct {
		name       string
		own, other *Card
		want       Relation
	}{
		{"itself", card(first, "c1"), card(first, "c1"), Same},
		{"another cluster", card(first, "c1"), card(NewStore(OriginNew, now), "c7"), Foreign},
		{"a restored copy", card(first, "c1"), card(restored, "c4"), Foreign},
		{"what a copy was restored from", card(restored, "c4"), card(first, "c1"), Foreign},
		{"its recovery", card(first, "c1"), card(recovered, "c2"), Theirs},
		{"what it was recovered from", card(recovered, "c2"), card(first, "c1"), Ours},
		{"the recovery of its recovery", card(first, "c1"), card(again, "c3"), Theirs},
		{"a recovery's recovery", card(recovered, "c2"), card(again, "c3"), Theirs},
		{"a restored copy of its recovery", card(again, "c3"), card(exercise, "c5"), Foreign},
		{"a copy of one that gave it up", card(first, "c1"), card(exercise, "c5"), Theirs},
		{"two recoveries of one", card(recovered, "c2"), card(first.Next(OriginRecovered, "c1", nil, now), "c6"), Foreign},
		{"one without identity, same etcd", card(Store{}, "c1"), card(first, "c1"), Same},
		{"one without identity, other etcd", card(first, "c1"), card(Store{}, "c8"), Foreign},
		{"the recovery of one without identity", card(Store{}, "c9"), card(unnamed, "c2"), Theirs},
		{"the same, which has got an identity since", card(NewStore(OriginAdopted, now), "c9"), card(unnamed, "c2"), Theirs},
		{"nothing known", card(Store{}, ""), card(first, "c1"), Unknown},
		{"an external etcd", card(first, ""), card(first, ""), Same},
	} {
		if got := c.own.Toward(c.other); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if restored.Incarnation != 2 || restored.Succeeds != first.ID || exercise.Incarnation != 4 {
		t.Errorf("%+v, %+v", restored, exercise)
	}
	if unnamed.Incarnation != 2 || unnamed.Succeeds != "" {
		t.Errorf("%+v", unnamed)
	}
}

// TestRelationsAgree: whatever history two stores have, one never takes itself for superseded by what it supersedes, both
// see the same, and no restore gives anybody up.
func TestRelationsAgree(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	now := time.Now()
	opposite := map[Relation]Relation{Same: Same, Foreign: Foreign, Ours: Theirs, Theirs: Ours, Unknown: Unknown}
	for range 200 {
		all := []*Card{{Store: NewStore(OriginNew, now), Cluster: "c0"}}
		for n := 1; n < 12; n++ {
			from := all[r.Intn(len(all))]
			origin := []string{OriginRestored, OriginRecovered}[r.Intn(2)]
			next := &Card{Store: from.Store.Next(origin, from.Cluster, nil, now), Cluster: fmt.Sprintf("c%d", n)}
			if want := map[string]Relation{OriginRestored: Foreign, OriginRecovered: Theirs}[origin]; from.Toward(next) != want {
				t.Fatalf("%s: %v", origin, from.Toward(next))
			}
			all = append(all, next)
		}
		for _, a := range all {
			for _, b := range all {
				if a.Toward(b) != opposite[b.Toward(a)] || (a == b) != (a.Toward(b) == Same) {
					t.Fatalf("%+v and %+v do not agree: %v, %v", a, b, a.Toward(b), b.Toward(a))
				}
			}
		}
	}
}

// TestCards: what is shown can be read, and what cannot be read is nothing.
func TestCards(t *testing.T) {
	s := NewStore(OriginNew, time.Now())
	for range 100 {
		s = s.Next(OriginRecovered, "1234567890abcdef", []Former{{Name: "b", PeerURL: "https://b:2380"}}, time.Now())
	}
	c := Card{Store: s, Cluster: "c", Member: "m", Master: "höst_1", URL: "https://a:6443", System: "u"}
	got := ReadCard(c.Encode())
	if got == nil || got.Store.ID != s.ID || got.Master != c.Master || len(got.Store.Former) != 0 || len(got.Store.Supersedes) != supersedesMax {
		t.Errorf("%+v", got)
	}
	if n := len(c.Encode()); n > cardMax {
		t.Errorf("a card has %d bytes", n)
	}
	for _, bad := range []string{"", "{}", "e30", "bnVsbA", strings.Repeat("A", cardMax+1)} {
		if got := ReadCard(bad); got != nil {
			t.Errorf("%.20q: %+v", bad, got)
		}
	}
}
