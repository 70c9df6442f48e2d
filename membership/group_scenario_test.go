package membership

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
	"github.com/wheelhouse-k8s/wheelhouse/test/scenario"
)

var rewrite = scenario.Flag()

// TestGroup: what masters do for operators and newcomers, and what they refuse. Commands:
//
//	members v+ l0      the members, in the words of state; this one is the first
//	external           the data are in an etcd that runs by itself
//	token as=node      makes the token that is used from here on; "stale" has expired, "forged" was not made here
//	join n url=…       asks to join; key= is the newcomer's key, its name by default
//	bring n member=2   asks for the shared files
//	abandon 9          takes a join back
//	remove|promote n, lead n
//	tend               looks after learners, as the leader does
//	wait 2m            time passes
//	fails promote      the store refuses that from now on
//	list               the members as they are then
//
// Answers are what was done to the store, and the result.
func TestGroup(t *testing.T) {
	scenario.Run(t, "testdata/group/*.txt", rewrite, func(t *testing.T) func(string, scenario.Args) string {
		g := &groupPlay{t: t, inviter: newInviter(t), unstarted: map[uint64]time.Time{}}
		g.members(nil)
		return g.answer
	})
}

// groupPlay is a group whose store tells what is done to it.
type groupPlay struct {
	*inviter
	t         *testing.T
	group     *Group
	state     State
	token     string
	fails     string
	did       []string
	unstarted map[uint64]time.Time
}

func (g *groupPlay) ID() uint64     { return 1 }
func (g *groupPlay) Leader() uint64 { return g.state.Leader }
func (g *groupPlay) Grouped() bool  { return true }

func (g *groupPlay) Active(id uint64) time.Time {
	for _, m := range g.state.Members {
		if m.ID == id {
			return m.Since
		}
	}
	return time.Time{}
}

func (g *groupPlay) Known() []etcd.Member {
	var list []etcd.Member
	for _, m := range g.state.Members {
		list = append(list, m.Member)
	}
	return list
}

func (g *groupPlay) Members(context.Context) ([]etcd.Member, error) {
	return g.Known(), g.do("members")
}

// do something to the store, unless it refuses.
func (g *groupPlay) do(what string, to ...any) error {
	if what == g.fails {
		return errors.New("the store refuses")
	}
	if len(to) > 0 {
		g.did = append(g.did, fmt.Sprintln(append([]any{"store:", what}, to...)...))
	}
	return nil
}

func (g *groupPlay) AddLearner(_ context.Context, url string) (etcd.Member, error) {
	m := etcd.Member{ID: uint64(len(g.state.Members) + 8), PeerURL: url, Learner: true}
	err := g.do("add", url)
	if err == nil {
		g.state.Members = append(g.state.Members, MemberState{Member: m})
	}
	return m, err
}

func (g *groupPlay) Promote(_ context.Context, id uint64) error {
	err := g.do("promote", id)
	for i := range g.state.Members {
		if m := &g.state.Members[i]; m.ID == id && err == nil {
			m.Learner = false
		}
	}
	return err
}

func (g *groupPlay) Remove(_ context.Context, id uint64) error {
	err := g.do("remove", id)
	if err == nil {
		g.state.Members = slices.DeleteFunc(g.state.Members, func(m MemberState) bool { return m.ID == id })
	}
	return err
}

func (g *groupPlay) members(words []string) {
	g.state = state(cmp.Or(strings.Join(words, " "), "v+"))
	g.group = &Group{
		Self: "h1_x", Members: g, Invitations: g.Invitations, Settings: g.state.Settings, Now: func() time.Time { return g.now },
		Open:               func(context.Context) error { return g.do("open") },
		Masters:            func() []Master { return g.state.Masters },
		TransferLeadership: func(_ context.Context, to uint64) error { return g.do("transfer leadership to", to) },
		Files: func() (map[string][]byte, error) {
			return map[string][]byte{"pki/ca.key": []byte("secret")}, g.do("files")
		},
		Log: func(format string, args ...any) { g.did = append(g.did, "log: "+fmt.Sprintf(format, args...)+"\n") },
	}
}

func (g *groupPlay) answer(command string, args scenario.Args) string {
	g.t.Helper()
	g.did = nil
	var err error
	ctx := g.t.Context()
	switch command {
	case "members":
		g.members(args)
		return ""
	case "external":
		g.group.Members = nil
		return ""
	case "token":
		return g.makeToken(args)
	case "wait":
		d, err := time.ParseDuration(args[0])
		if err != nil {
			g.t.Fatal(err)
		}
		g.now = g.now.Add(d)
		return ""
	case "fails":
		g.fails = strings.Join(args, " ")
		return ""
	case "list":
		return g.list()
	case "join":
		err = g.join(ctx, args)
	case "bring":
		r := g.request(args)
		r.Member, _ = args.Get("member")
		_, err = g.group.Bring(ctx, r)
	case "abandon":
		err = g.group.Abandon(ctx, g.token, args[0])
	case "remove":
		_, err = g.group.Remove(ctx, args[0])
	case "promote":
		_, err = g.group.Promote(ctx, args[0])
	case "lead":
		_, err = g.group.MoveLeader(ctx, args.Word(0))
	case "tend":
		_, err = g.group.tend(ctx, g.unstarted)
	default:
		g.t.Fatalf("no command %q", command)
	}
	return strings.Join(g.did, "") + result(err)
}

// result is an error with its reason, which is what tells a newcomer whether to try again, or another master.
func result(err error) string {
	switch {
	case err == nil:
		return "ok"
	case apierrors.ReasonForError(err) != "":
		return fmt.Sprintf("%s: %v", apierrors.ReasonForError(err), err)
	}
	return err.Error()
}

func (g *groupPlay) makeToken(args scenario.Args) string {
	switch as, _ := args.Get("as"); as {
	case "node":
		g.token = "abcdef.0123456789abcdef"
	case "forged":
		g.token = "abcdef.0123456789abcdef012345678"
	case "none":
		g.token = "what"
	default:
		g.token = g.inviter.token().String()
	}
	return ""
}

func (g *groupPlay) request(args scenario.Args) Request {
	g.t.Helper()
	r := *request()
	r.Name, r.Token, r.Time = args.Word(0), g.token, g.now
	r.PeerURL, _ = args.Get("url")
	_, r.External = args.Get("external")
	key := newcomerKey(g.t, args.Word(0))
	if as, ok := args.Get("key"); ok {
		key = newcomerKey(g.t, as)
	}
	r.Key = key.public()
	return r
}

func (g *groupPlay) join(ctx context.Context, args scenario.Args) error {
	g.t.Helper()
	r := g.request(args)
	grant, err := g.group.Join(ctx, r)
	if err != nil {
		return err
	}
	token, _ := ParseToken(r.Token)
	if files, err := newcomerKey(g.t, args.Word(0)).open(grant.Key, token, grant.Sealed); err != nil || !strings.Contains(string(files), "pki/ca.key") {
		g.t.Errorf("the newcomer reads %q, %v", files, err)
	}
	if grant.Member != 0 {
		g.did = append(g.did, fmt.Sprintf("granted: member %s among %d\n", FormatID(grant.Member), len(grant.Cluster)))
	}
	return nil
}

var newcomerKeys = map[string]*keyExchange{}

func newcomerKey(t *testing.T, name string) *keyExchange {
	t.Helper()
	if newcomerKeys[name] == nil {
		e, err := newKeyExchange()
		if err != nil {
			t.Fatal(err)
		}
		newcomerKeys[name] = e
	}
	return newcomerKeys[name]
}

func (g *groupPlay) list() string {
	var out strings.Builder
	for _, m := range List(g.group.Known()) {
		fmt.Fprintln(&out, strings.TrimSpace(strings.Join([]string{cmp.Or(m.Name, "?"), m.ID, m.Role, m.PeerURL, "live=" + strconv.FormatBool(m.Live)}, " ")))
	}
	return out.String()
}
