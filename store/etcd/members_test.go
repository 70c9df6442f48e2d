package etcd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/storetest"
)

// shared lets the suite have the store of a group as if it were a new one each time.
type shared struct {
	*Embedded
	base int64 // the first revision of this test
	last bool
}

func (s shared) Watch(ctx context.Context, prefix string, o store.WatchOptions) store.Watch {
	if o.From > 0 {
		o.From = max(o.From, s.base)
	}
	return s.Embedded.Watch(ctx, prefix, o)
}

func (s shared) Close() error {
	if s.last {
		return s.Embedded.Close()
	}
	return nil
}

// The suite passes over a follower and over a learner.
func TestStoreOfGroup(t *testing.T) {
	t.Parallel()
	g := newGroup(t)
	g.first(nil)
	voter := g.join(nil)
	g.join(nil) // first: a group of two voters would have to be connected for five seconds
	g.promote(voter)
	for i, name := range map[int]string{1: "follower", 2: "learner"} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) store.Store {
				e := g.members[i]
				if e.Leader() == e.ID() {
					t.Fatal("it leads")
				}
				page, err := e.List(t.Context(), "", store.ListOptions{})
				g.must(err)
				for _, kv := range page.Entries {
					if _, err := e.Delete(t.Context(), kv.Key, kv.Revision); err != nil && !errors.As(err, new(*store.Conflict)) {
						t.Fatal(err)
					}
				}
				now, err := e.Revision(t.Context())
				g.must(err)
				return shared{e, now + 1, strings.Contains(t.Name(), "close_ends")}
			})
			g.open(i)
		})
	}
}

// A member that is alone is opened for others while it serves: no write fails or is lost, and watches have no gap.
func TestOpenForOthersUnderLoad(t *testing.T) {
	t.Parallel()
	g := newGroup(t)
	g.options = append(g.options, Options{Dir: filepath.Join(g.dir, "m0"), Name: "m0", CompactionInterval: -1, Warn: g.warn("m0")})
	e := g.open(0)
	ctx := t.Context()
	first, err := e.Create(ctx, "/first", nil, 0)
	g.must(err)
	watches := []store.Watch{e.Watch(ctx, "/", store.WatchOptions{}), e.Watch(ctx, "/", store.WatchOptions{From: first})}
	stop := make(chan struct{})
	var writers sync.WaitGroup
	var written, slowest atomic.Int64
	for i := range 8 {
		writers.Go(func() {
			for j := 0; ; j++ {
				select {
				case <-stop:
					return
				default:
				}
				start := time.Now()
				if _, err := e.Create(ctx, fmt.Sprintf("/%d/%d", i, j), []byte("x"), 0); err != nil {
					t.Error(err)
					return
				}
				written.Add(1)
				for took := int64(time.Since(start)); ; {
					if before := slowest.Load(); took <= before || slowest.CompareAndSwap(before, took) {
						break
					}
				}
			}
		})
	}
	more := func() { // than were under way
		until := written.Load() + 100
		g.eventually(10*time.Second, func() error {
			if written.Load() < until {
				return errors.New("the writers do not get on")
			}
			return nil
		})
	}
	more()
	g.must(e.Group(ctx, *g.peer()))
	more()
	g.must(e.Reload(ctx))
	more()
	close(stop)
	writers.Wait()
	end, err := e.Create(ctx, "/end", nil, 0)
	g.must(err)
	t.Logf("%d writes, the slowest took %v", written.Load(), time.Duration(slowest.Load()))
	for i, w := range watches {
		seen, last := int64(0), int64(0)
		for last < end {
			select {
			case b, open := <-w.C():
				if !open {
					t.Fatalf("watch %d ended: %v", i, w.Err())
				}
				for _, ev := range b.Events {
					if ev.Revision <= last || last > 0 && ev.Revision != last+1 {
						t.Fatalf("watch %d: %d after %d", i, ev.Revision, last)
					}
					last = ev.Revision
					if strings.Count(ev.Key, "/") == 2 {
						seen++
					}
				}
			case <-time.After(20 * time.Second):
				t.Fatalf("watch %d: nothing after %d", i, last)
			}
		}
		if seen != written.Load() && i == 1 {
			t.Errorf("watch %d saw %d of %d writes", i, seen, written.Load())
		}
	}
}

// A change of the leader fails no request, and the loss of it only those under way; afterwards all is as before.
func TestLeaderLost(t *testing.T) {
	t.Parallel()
	g := three(t, nil)
	ctx := t.Context()
	old := g.leader()
	next := g.follower()
	changed := next.LeaderChanged()
	g.must(old.MoveLeader(ctx, next.ID()))
	<-changed
	if g.leader() != next {
		t.Fatal("another one leads")
	}
	wantError(t, old.MoveLeader(ctx, old.ID()), "only the leader itself")
	wantError(t, next.MoveLeader(ctx, 1), "no such master")

	survivor := g.follower()
	g.create(survivor, "/before")
	w := survivor.Watch(ctx, "/", store.WatchOptions{})
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() { // reads wait, and are made again: none fails
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := survivor.List(ctx, "/before", store.ListOptions{}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	lost := time.Now()
	next.crash()
	lead := uint64(0)
	for i := 0; ; i++ { // one write after the other, as a client makes them
		_, err := survivor.Create(ctx, fmt.Sprint("/after/", i), []byte("x"), 0)
		if err == nil {
			break
		}
		if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "the outcome is unknown") {
			t.Fatal(err)
		}
	}
	took := time.Since(lost)
	close(stop)
	readers.Wait()
	t.Log("writes again after", took)
	if took > 5*time.Second {
		t.Errorf("no write for %v", took)
	}
	if lead = survivor.Leader(); lead == next.ID() || lead == 0 {
		t.Errorf("leader %x", lead)
	}
	if survivor.InactiveSince(next.ID()).IsZero() || !survivor.Active(next.ID()).IsZero() {
		t.Error("the lost member counts as connected")
	}
	select {
	case b := <-w.C():
		if len(b.Events) == 0 || !strings.HasPrefix(b.Events[0].Key, "/after/") {
			t.Errorf("watched %+v", b)
		}
	case <-time.After(10 * time.Second):
		t.Error("the watch of a follower ended with its leader")
	}
}

// Without a majority requests wait for a while, and those that wait succeed when it is back.
func TestNoMajority(t *testing.T) {
	t.Parallel()
	g := three(t, nil)
	g.leader()
	g.members[1].Close()
	g.members[2].Close()
	e := g.members[0]
	g.eventually(10*time.Second, func() error {
		if e.Leader() != 0 {
			return errors.New("it still leads")
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	var lost *store.NoQuorum
	if _, err := e.Create(ctx, "/a", nil, 0); !errors.As(err, &lost) || lost.Unknown || !strings.Contains(lost.Why, "1 of 3 voting masters answer (m0 at ") || ctx.Err() != nil {
		t.Errorf("a write without a leader: %v, %v", err, ctx.Err())
	}
	if members, err := e.Members(t.Context()); err != nil || len(members) != 3 {
		t.Errorf("members without a leader: %v, %v", members, err)
	}
	done := make(chan error, 2)
	go func() {
		_, err := e.Create(t.Context(), "/b", nil, 0)
		done <- err
	}()
	go func() {
		_, err := e.List(t.Context(), "/", store.ListOptions{})
		done <- err
	}()
	g.open(1)
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// Members are given a vote only when they are in sync, and are removed only when enough others run.
func TestMembers(t *testing.T) {
	t.Parallel()
	g := three(t, nil)
	ctx := t.Context()
	e := g.leader()
	follower := g.follower()
	for range 20 {
		g.create(e, fmt.Sprint("/many/", time.Now().UnixNano()))
	}
	if _, err := e.AddLearner(ctx, "http://127.0.0.1:1"); err == nil {
		t.Error("an address without TLS was taken")
	}
	p := g.peer()
	var learner Member
	g.eventually(15*time.Second, func() (err error) { learner, err = follower.AddLearner(ctx, p.URL); return err })
	if again, err := e.AddLearner(ctx, p.URL); err != nil || again.ID != learner.ID {
		t.Errorf("asked again: %+v, %v, want %+v", again, err, learner)
	}
	wantError(t, e.Promote(ctx, learner.ID), "not caught up")
	wantError(t, follower.Promote(ctx, learner.ID), "not caught up")
	wantError(t, e.Promote(ctx, 1), "no such member")
	g.must(follower.Remove(ctx, learner.ID))
	wantError(t, e.Remove(ctx, learner.ID), "no such member")

	var down *Embedded
	for _, m := range g.members {
		if m != e && m != follower {
			down = m
		}
	}
	down.Close()
	g.eventually(10*time.Second, func() error {
		if !e.Active(down.ID()).IsZero() {
			return errors.New("still connected")
		}
		return nil
	})
	wantError(t, e.Remove(ctx, follower.ID()), "too few")
	g.must(e.Remove(ctx, down.ID()))
	g.must(e.Remove(ctx, follower.ID()))
	wantError(t, e.Remove(ctx, e.ID()), "only master with a vote")
	g.create(e, "/alone")

	t.Run("a member that runs learns of its removal", func(t *testing.T) {
		select {
		case <-follower.Removed():
		case <-time.After(20 * time.Second):
			t.Fatal("it did not")
		}
		_, err := follower.Create(ctx, "/x", nil, 0)
		wantError(t, err, "removed from its cluster")
		if !errors.Is(err, store.ErrClosed) {
			t.Error(err)
		}
		if err := follower.Watch(ctx, "/", store.WatchOptions{}).Err(); err != nil {
			t.Error(err)
		}
		g.refused(follower, "removed from its cluster")
	})
	t.Run("a member that was down learns of it at its start", func(t *testing.T) {
		g.refused(down, "removed from its cluster")
		g.refused(down, "removed from its cluster")
	})
}

// A member's address can be changed, and all learn of it.
func TestSetPeerURL(t *testing.T) {
	t.Parallel()
	g := newGroup(t)
	e := g.first(nil)
	g.join(nil)
	ctx := t.Context()
	wantError(t, e.SetPeerURL(ctx, "127.0.0.1:1"), "https://HOST:PORT")
	known := func(url string) {
		for _, m := range g.members {
			g.eventually(10*time.Second, func() error {
				members := listOf(m.gate.member().server.Cluster().Members())
				if i := find(members, e.ID()); members[i].PeerURL != url {
					return fmt.Errorf("%+v", members[i])
				}
				return nil
			})
		}
	}
	wantError(t, e.SetPeerURL(ctx, "https://127.0.0.1:1"), "does not lead to it")
	known(e.o.Peer.URL)
	other := strings.Replace(e.o.Peer.URL, "127.0.0.1", "localhost", 1)
	g.must(e.SetPeerURL(ctx, other))
	known(other)
	g.create(g.members[1], "/a")
}

// refused opens a member that must not open.
func (g *group) refused(e *Embedded, part string) {
	g.t.Helper()
	e.Close()
	for i, m := range g.members {
		if m != e {
			continue
		}
		again, err := Open(g.t.Context(), g.options[i])
		if err == nil {
			again.Close()
		}
		wantError(g.t, err, part)
	}
}

// All members end and start again, in whatever order; the data are there.
func TestRestartOfAll(t *testing.T) {
	t.Parallel()
	g := three(t, nil)
	g.create(g.members[2], "/a")
	for _, e := range g.members {
		e.Close()
	}
	o := g.options[0]
	o.Peer = nil
	_, err := Open(t.Context(), o)
	wantError(t, err, "one of a group")
	var opening sync.WaitGroup
	for _, i := range []int{2, 0, 1} {
		opening.Go(func() { g.open(i) })
	}
	opening.Wait()
	for _, e := range g.members {
		if _, _, err := e.Get(t.Context(), "/a", 0); err != nil {
			t.Error(err)
		}
	}
}

// A member whose join was cut off, however early, goes on with it at its next start.
func TestJoinCutOff(t *testing.T) {
	t.Parallel()
	g := newGroup(t)
	g.first(nil)
	o := Options{Dir: filepath.Join(g.dir, "m1"), Name: "m1", CompactionInterval: -1, Peer: g.peer(), Warn: g.warn("m1")}
	learner, err := g.members[0].AddLearner(t.Context(), o.Peer.URL)
	g.must(err)
	join := o
	join.Join = &Join{Cluster: map[string]string{"m0": g.options[0].Peer.URL, "m1": o.Peer.URL}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if e, err := Open(ctx, join); err == nil {
		e.Close()
	} else if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	g.options = append(g.options, o)
	e := g.open(1)
	g.promote(e)
	if e.ID() != learner.ID {
		t.Errorf("member %x, want %x", e.ID(), learner.ID)
	}
	wrong := join
	wrong.Dir, wrong.Name = filepath.Join(g.dir, "m2"), "m2"
	wrong.Peer = g.peer()
	wrong.Join = &Join{Cluster: map[string]string{"m0": g.options[0].Peer.URL, "m1": o.Peer.URL}}
	ctx, cancel = context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err = Open(ctx, wrong)
	wantError(t, err, "does not start")
}

// When the majority is lost for ever, a voter or a learner goes on alone, and others can join it.
func TestForceNew(t *testing.T) {
	t.Parallel()
	for _, i := range []int{1, 2} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			g := newGroup(t)
			g.first(nil)
			voter := g.join(nil)
			g.join(nil)
			g.promote(voter)
			g.create(g.members[i], "/a")
			for _, e := range g.members {
				e.crash()
			}
			g.options[i].ForceNew = true
			g.open(i)
			check := func() {
				e := g.members[i]
				if _, _, err := e.Get(t.Context(), "/a", 0); err != nil {
					t.Fatal(err)
				}
				g.create(e, fmt.Sprint("/", time.Now().UnixNano()))
				members, err := e.Members(t.Context())
				if err != nil || len(members) != 1 || members[0].Learner || e.Grouped() {
					t.Fatalf("%+v, %v", members, err)
				}
			}
			check()
			g.members[i].Close()
			g.options[i].ForceNew = false
			e := g.open(i)
			check()
			g.must(e.Group(t.Context(), *g.options[i].Peer))
			g.members[0] = e
			g.members = g.members[:1]
			g.options = append(g.options[:0], g.options[i])
			j := g.joinAs("new", nil)
			if _, _, err := j.Get(t.Context(), "/a", 0); err != nil {
				t.Error(err)
			}
		})
	}
}

// A snapshot is of one moment and can be restored; its reader holds up no write, and not the end of the store.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	e := open(t, Options{})
	for i := range 50 {
		if _, err := e.Create(t.Context(), fmt.Sprint("/k", i), bytes.Repeat([]byte{byte(i)}, 100<<10), 0); err != nil {
			t.Fatal(err)
		}
	}
	r, size, err := e.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	first := make([]byte, 10)
	if _, err := r.Read(first); err != nil {
		t.Fatal(err)
	}
	late, err := e.Create(t.Context(), "/late", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, e.Defragment(), "snapshot")
	file := filepath.Join(t.TempDir(), "snapshot.db")
	if n := save(t, file, first, r); n != size {
		t.Errorf("%d bytes, want %d", n, size)
	}
	r.Close()
	if err := e.Defragment(); err != nil {
		t.Error(err)
	}
	dir := filepath.Join(t.TempDir(), "restored")
	if _, err := Restore(RestoreOptions{Snapshot: file, Dir: dir, Name: "master", Token: "t", Bump: 1000}); err != nil {
		t.Fatal(err)
	}
	again := open(t, Options{Dir: dir})
	if got, _, err := again.Get(t.Context(), "/k49", 0); err != nil || len(got.Value) != 100<<10 {
		t.Errorf("%d bytes, %v", len(got.Value), err)
	}
	if _, _, err := again.Get(t.Context(), "/late", 0); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a write of revision %d is in a snapshot from before: %v", late, err)
	}

	left, _, err := e.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil { // does not wait for the reader
		t.Fatal(err)
	}
	if _, err := left.Read(first); !errors.Is(err, store.ErrClosed) {
		t.Errorf("reading after the end: %v", err)
	}
}

func save(t *testing.T, file string, first []byte, rest io.Reader) int64 {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n, err := io.Copy(f, io.MultiReader(bytes.NewReader(first), rest))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A learner that was removed can be added again at once: members' IDs are made of address and second, and those of members that have left
// are no use any more.
func TestSameAddressAgain(t *testing.T) {
	t.Parallel()
	g := newGroup(t)
	e := g.first(nil)
	p := g.peer()
	had := map[uint64]bool{}
	for range 3 {
		learner, err := e.AddLearner(t.Context(), p.URL)
		g.must(err)
		if had[learner.ID] {
			t.Errorf("the ID %x was given again", learner.ID)
		}
		had[learner.ID] = true
		g.must(e.Remove(t.Context(), learner.ID))
	}
}
