package etcd

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// falsify changes the value of a key in the database of a member that is stopped, which its ledger would tell.
func (g *group) falsify(i int, key string) {
	g.t.Helper()
	database, err := bolt.Open(g.options[i].databaseFile(), 0o600, nil)
	g.must(err)
	changed := false
	g.must(database.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte("key"))
		c := b.Cursor()
		for revision, value := c.First(); revision != nil; revision, value = c.Next() {
			var kv mvccpb.KeyValue
			g.must(proto.Unmarshal(value, &kv))
			if string(kv.Key) != key {
				continue
			}
			kv.Value = []byte("a wrong value")
			text, err := proto.Marshal(&kv)
			g.must(err)
			changed = true
			return b.Put(bytes.Clone(revision), text)
		}
		return nil
	}))
	if !changed {
		g.t.Fatalf("%s is not in the database", key)
	}
	g.must(database.Close())
	g.must(os.Remove(ledgerFile(g.options[i].Dir)))
}

// A member whose copy was changed is refused at its start.
func TestWrongCopyIsRefused(t *testing.T) {
	t.Parallel()
	g := three(t, nil)
	g.create(g.members[2], "/a")
	g.members[2].Close()
	g.falsify(2, "/a")
	g.refused(g.members[2], "differs from the other masters'")
	g.create(g.members[0], "/b")
}

// A member whose copy turns out to be wrong while it runs is removed, whether it leads or not, and the others go on.
func TestWrongCopyIsIsolated(t *testing.T) {
	t.Parallel()
	for _, leads := range []bool{false, true} {
		t.Run(fmt.Sprint("leads=", leads), func(t *testing.T) {
			t.Parallel()
			g := three(t, func(o *Options) { o.compareEvery, o.startUnchecked = 200*time.Millisecond, true })
			ctx := t.Context()
			g.create(g.members[0], "/a")
			at, err := g.members[2].Create(ctx, "/b", nil, 0) // what it answers, it has applied, and /a before it
			g.must(err)
			g.members[2].Close()
			g.falsify(2, "/a")
			bad := g.open(2)
			if got, _, err := bad.Get(ctx, "/a", 0); err != nil || string(got.Value) != "a wrong value" {
				t.Fatalf("%s, %v", got.Value, err)
			}
			g.eventually(20*time.Second, func() error {
				if lead := g.leader(); leads {
					return lead.MoveLeader(ctx, bad.ID())
				} else if lead == bad {
					return lead.MoveLeader(ctx, g.members[0].ID())
				}
				return nil
			})
			g.must(g.members[0].Compact(ctx, at))
			select {
			case <-bad.Removed():
			case <-time.After(30 * time.Second):
				t.Fatalf("the member was not removed: %+v %q", bad.Status(), g.warnings)
			}
			g.warned("the copy of the data in m2 differed")
			_, err = bad.Create(ctx, "/x", nil, 0)
			wantError(t, err, "differed from the other masters'")
			for _, e := range g.members[:2] {
				g.eventually(10*time.Second, func() error {
					_, err := e.Create(ctx, fmt.Sprint("/", time.Now().UnixNano()), nil, 0)
					return err
				})
				if s := e.Status(); len(s.Alarms) > 0 {
					t.Errorf("alarms: %v", s.Alarms)
				}
			}
			g.refused(bad, "differed from the other masters'")
			again := g.members[0]
			if members, err := again.Members(ctx); err != nil || len(members) != 2 {
				t.Errorf("%+v, %v", members, err)
			}
		})
	}
}

// When the quota of a group is used up writes fail clearly on each member; deletions work, and give space back on all.
func TestQuotaOfGroup(t *testing.T) {
	t.Parallel()
	g := three(t, func(o *Options) { o.Quota, o.turnLength, o.checkEvery = 16<<20, time.Second, 200*time.Millisecond })
	ctx := t.Context()
	e := g.follower()
	value := bytes.Repeat([]byte("x"), 1<<20)
	entries := map[string]int64{}
	for i := 0; ; i++ {
		key := fmt.Sprint("/k", i)
		r, err := g.members[i%3].Create(ctx, key, value, 0)
		if errors.Is(err, store.ErrNoSpace) {
			break
		}
		g.must(err)
		entries[key] = r
		if i == 200 {
			t.Fatal("200 MiB fit into a quota of 16 MiB")
		}
	}
	for _, m := range g.members {
		g.eventually(10*time.Second, func() error { // the alarm reaches all by the log
			if _, err := m.Create(ctx, "/no", nil, time.Hour); !errors.Is(err, store.ErrNoSpace) {
				return fmt.Errorf("a write without space: %w", err)
			}
			return nil
		})
	}
	for key, revision := range entries {
		g.eventually(10*time.Second, func() error { // the leader may change meanwhile
			_, err := e.Delete(ctx, key, revision)
			if errors.Is(err, store.ErrNoSpace) {
				t.Fatalf("deletion without space: %v", err)
			}
			if errors.Is(err, store.ErrNotFound) {
				return nil
			}
			return err
		})
	}
	g.eventually(60*time.Second, func() error {
		_, err := e.Create(ctx, fmt.Sprint("/again", time.Now().UnixNano()), nil, 0)
		return err
	})
	g.warned("the database is full")
	g.warned("has space again")
}

// Defragmenting the leader hands leadership over first, and gives the free space back.
func TestDefragment(t *testing.T) {
	t.Parallel()
	g := three(t, nil)
	ctx := t.Context()
	e := g.leader()
	for i := range 20 {
		r, err := e.Create(ctx, fmt.Sprint("/k", i), bytes.Repeat([]byte("x"), 1<<20), 0)
		g.must(err)
		_, err = e.Delete(ctx, fmt.Sprint("/k", i), r)
		g.must(err)
	}
	now, err := e.Revision(ctx)
	g.must(err)
	g.must(e.Compact(ctx, now))
	before := e.Status()
	g.eventually(20*time.Second, func() error {
		g.create(e, fmt.Sprint("/", time.Now().UnixNano())) // the database counts free pages when it writes
		if s := e.Status(); s.InUse > 4<<20 {
			return fmt.Errorf("%d bytes are still in use", s.InUse)
		}
		return nil
	})
	g.must(e.Defragment())
	if after := e.Status(); after.Size >= before.Size/2 {
		t.Errorf("%d bytes of %d are left", after.Size, before.Size)
	}
	if e.Leader() == e.ID() {
		t.Error("it led while it was defragmented")
	}
}

// Of the members of a group one has its turn at a time, and each has one.
func TestTurns(t *testing.T) {
	t.Parallel()
	g := three(t, nil)
	had := map[uint64]bool{}
	for minute := range 3 {
		turns := 0
		for _, e := range g.members {
			if e.myTurn(time.Unix(int64(minute*60+59), 0)) {
				turns++
				had[e.ID()] = true
			}
		}
		if turns != 1 {
			t.Errorf("in minute %d %d members have their turn", minute, turns)
		}
	}
	if len(had) != 3 {
		t.Errorf("%d members had a turn", len(had))
	}
}
