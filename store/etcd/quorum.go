package etcd

import (
	"context"
	"fmt"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

const (
	// steadyAfter is how long a peer must have been connected, or not, before the operator is told: connections come in
	// several parts.
	steadyAfter = time.Second
	// missedAfter is how long no member may lead, though enough can be reached, before that is no election any more.
	missedAfter = 5 * time.Second
)

// Quorum is who of a group's voting members can be reached from here.
type Quorum struct {
	// Leader is 0 when this member knows none.
	Leader uint64
	// Voters are all that vote, and Needed is how many must answer. Answering includes this member.
	Voters, Needed     int
	Answering, Missing []Member
}

// Lost tells that nothing can be agreed on now.
func (q *Quorum) Lost() bool { return q.Leader == 0 }

// Count says how many answer.
func (q *Quorum) Count() string {
	return fmt.Sprintf("%d of %d voting masters answer, and %d are needed", len(q.Answering), q.Voters, q.Needed)
}

// String says who answers and who does not.
func (q *Quorum) String() string {
	if len(q.Missing) == 0 {
		return fmt.Sprintf("all %d voting masters answer, and none of them leads yet", q.Voters)
	}
	text := fmt.Sprintf("%d of %d voting masters answer (%s), and %d are needed; there is no connection to %s",
		len(q.Answering), q.Voters, labels(q.Answering), q.Needed, labels(q.Missing))
	if len(q.Answering) >= q.Needed {
		text += "; none of them leads yet"
	}
	return text
}

func labels(list []Member) string {
	if len(list) == 0 {
		return "none"
	}
	var all []string
	for _, m := range list {
		if m.Name == "" || m.PeerURL == "" {
			all = append(all, m.Name+m.PeerURL)
			continue
		}
		all = append(all, fmt.Sprintf("%s at %s", m.Name, strings.TrimPrefix(m.PeerURL, "https://")))
	}
	return strings.Join(all, ", ")
}

// Quorum is known without asking anybody. A member that vanished is missed within seconds.
func (e *Embedded) Quorum() Quorum { return e.quorum(e.gate.member()) }

func (e *Embedded) quorum(r *running) Quorum {
	q := Quorum{Leader: uint64(r.server.Leader())}
	self := uint64(r.server.MemberID())
	for _, m := range listOf(r.server.Cluster().Members()) {
		switch {
		case m.Learner:
			continue
		case m.ID == self:
			m.Name = e.o.Name // it may not have told it yet
			q.Answering = append(q.Answering, m)
		default:
			if s, _ := e.connection(m.ID); s.active {
				q.Answering = append(q.Answering, m)
			} else {
				q.Missing = append(q.Missing, m)
			}
		}
		q.Voters++
	}
	q.Needed = q.Voters/2 + 1
	return q
}

// Known lists the members as this one knows them, without asking anybody.
func (e *Embedded) Known() []Member { return listOf(e.gate.member().server.Cluster().Members()) }

// Peek reads a key as this member has it, without asking the others; nil if it does not exist here.
func (e *Embedded) Peek(ctx context.Context, key string) ([]byte, error) {
	r, err := e.gate.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer e.gate.mu.RUnlock()
	found, err := r.server.Range(ctx, &pb.RangeRequest{Key: []byte(key), Serializable: true})
	if err != nil || len(found.Kvs) == 0 {
		return nil, err
	}
	return found.Kvs[0].Value, nil
}

// Hurry has every request of a group end within a second from now on: the process is about to end, perhaps together with all
// others, which a leader notices only later.
func (e *Embedded) Hurry() {
	e.hurry.Do(func() {
		close(e.gate.hurried)
		e.gate.leaders.hurry()
	})
}

// reporter tells the operator of members that come and go, and of the quorum.
type reporter struct {
	tell func(string)
	// told is whether each peer was connected when the operator was told last.
	told map[uint64]bool
	// without is since when there is no leader, zero while there is one, and lost that the operator was told so.
	without time.Time
	lost    bool
}

// look compares what is with what was told.
func (t *reporter) look(now time.Time, q Quorum, others []Member, connection func(id uint64) (peerState, bool)) {
	for _, m := range others {
		s, known := connection(m.ID)
		if !known || now.Sub(s.since) < steadyAfter || s.active == t.told[m.ID] {
			continue
		}
		t.told[m.ID] = s.active
		if s.active {
			t.tell("the master " + labels([]Member{m}) + " is connected")
		} else {
			t.tell("the master " + labels([]Member{m}) + " does not answer any more")
		}
	}
	switch {
	case q.Leader != 0:
		t.without = time.Time{}
		if t.lost {
			t.lost = false
			t.tell("there is a quorum again: " + leaderOf(q) + " leads")
		}
	case t.without.IsZero():
		t.without = now
	case !t.lost && (len(q.Answering) < q.Needed && now.Sub(t.without) >= steadyAfter || now.Sub(t.without) >= missedAfter):
		t.lost = true
		t.tell("there is no quorum: " + q.String() + ". Watches, and reads with resourceVersion=0, go on; writes and other reads fail until then")
	}
}

func leaderOf(q Quorum) string {
	for _, m := range append(q.Answering, q.Missing...) {
		if m.ID == q.Leader {
			return labels([]Member{m})
		}
	}
	return "a member"
}

// report tells the operator what changed since it was called last.
func (e *Embedded) report(t *reporter, r *running, now time.Time) {
	if r.leaving.Load() || e.closing.Err() != nil {
		return
	}
	self := uint64(r.server.MemberID())
	var others []Member
	for _, m := range listOf(r.server.Cluster().Members()) {
		if m.ID != self && (m.Name != "" || m.PeerURL != "") {
			others = append(others, m)
		}
	}
	t.look(now, e.quorum(r), others, e.connection)
}
