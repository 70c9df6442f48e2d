package membership

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/wheelhouse-k8s/wheelhouse/store"
	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
	"github.com/wheelhouse-k8s/wheelhouse/store/memory"
)

// inviter is a cluster's tokens with a clock, a key and a store that can be moved.
type inviter struct {
	*Invitations
	t          *testing.T
	now        time.Time
	key, scope string
}

func newInviter(t *testing.T) *inviter {
	return newInviterOf(t, memory.New())
}

// newInviterOf keeps the records in a store that it closes.
func newInviterOf(t *testing.T, in store.Store) *inviter {
	v := &inviter{t: t, now: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), key: "the masters' key", scope: "store-1"}
	v.Invitations = &Invitations{Store: in, Prefix: "/tokens/", Now: func() time.Time { return v.now },
		Key: func() ([]byte, error) { return []byte(v.key), nil }, Scope: func(context.Context) (string, error) { return v.scope, nil }}
	t.Cleanup(func() { v.Store.Close() })
	return v
}

func (v *inviter) token() Token {
	v.t.Helper()
	token, _, err := v.Make(v.t.Context(), time.Hour, "")
	if err != nil {
		v.t.Fatal(err)
	}
	return token
}

// use claims a token for a master with a key.
func (v *inviter) use(token Token, who string) error {
	_, err := v.claim(v.t.Context(), token, &Request{Name: who, PeerURL: "https://" + who, Key: []byte("key of " + who)})
	return err
}

func (v *inviter) value(token Token) store.Entry {
	v.t.Helper()
	e, _, err := v.Store.Get(v.t.Context(), v.Prefix+token.ID, 0)
	if err != nil {
		v.t.Fatal(err)
	}
	return e
}

func (v *inviter) put(key string, value []byte) {
	v.t.Helper()
	e, _, err := v.Store.Get(v.t.Context(), key, 0)
	if err == nil {
		_, err = v.Store.Update(v.t.Context(), key, e.Revision, value, 0)
	} else {
		_, err = v.Store.Create(v.t.Context(), key, value, 0)
	}
	if err != nil {
		v.t.Fatal(err)
	}
}

// TestInvitationOnce: a token lets one master in. That one may ask again, and nobody else.
func TestInvitationOnce(t *testing.T) {
	v := newInviter(t)
	token := v.token()
	for range 2 {
		if err := v.use(token, "one"); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.use(token, "two"); !apierrors.IsConflict(err) || !strings.Contains(err.Error(), "used already (by one") {
		t.Errorf("a used token: %v", err)
	}
	list, err := v.List(t.Context())
	if err != nil || len(list) != 1 || list[0].UsedBy != "one" || list[0].ID != token.ID {
		t.Errorf("%+v, %v", list, err)
	}
	// One that was not let in after all gives it back.
	token = v.token()
	release, err := v.claim(t.Context(), token, &Request{Name: "three", Key: []byte("3")})
	if err == nil {
		err = release(t.Context())
	}
	if err == nil {
		err = v.use(token, "four")
	}
	if err != nil {
		t.Error(err)
	}
	if err := v.Forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := v.use(token, "four"); !apierrors.IsUnauthorized(err) {
		t.Errorf("a token that was forgotten: %v", err)
	}
}

// TestInvitationRace: of many that come with one token at the same time, one is let in.
func TestInvitationRace(t *testing.T) {
	v := newInviter(t)
	for range 20 {
		token := v.token()
		var wait sync.WaitGroup
		in := make([]bool, 8)
		for n := range in {
			wait.Go(func() { in[n] = v.use(token, fmt.Sprint("m", n)) == nil })
		}
		wait.Wait()
		count := 0
		for _, ok := range in {
			if ok {
				count++
			}
		}
		if count != 1 {
			t.Fatalf("%d masters were let in with one token", count)
		}
	}
}

// outrun is a store in which somebody is a moment faster.
type outrun struct {
	store.Store
	before func()
}

func (o *outrun) Update(ctx context.Context, key string, expect int64, value []byte, ttl time.Duration) (int64, error) {
	if f := o.before; f != nil {
		o.before = nil
		f()
	}
	return o.Store.Update(ctx, key, expect, value, ttl)
}

// TestInvitationOutrun: who loses hears who has won, and who has won without knowing it, since the answer was lost, has won.
func TestInvitationOutrun(t *testing.T) {
	v := newInviter(t)
	slow := *v.Invitations
	token := v.token()
	claim := func(who string) error {
		_, err := slow.claim(t.Context(), token, &Request{Name: who, PeerURL: "https://" + who, Key: []byte("key of " + who)})
		return err
	}
	outrunBy := func(who string) *outrun {
		return &outrun{v.Store, func() {
			if err := v.use(token, who); err != nil {
				t.Error(err)
			}
		}}
	}
	slow.Store = outrunBy("one")
	if err := claim("one"); err != nil {
		t.Errorf("the same master: %v", err)
	}
	token = v.token()
	slow.Store = outrunBy("one")
	if err := claim("two"); !apierrors.IsConflict(err) || !strings.Contains(err.Error(), "used already (by one") {
		t.Errorf("another: %v", err)
	}
	// What was taken back meanwhile is not given back, and that is no failure.
	token = v.token()
	release, err := v.claim(t.Context(), token, &Request{Name: "one", Key: []byte("1")})
	if err == nil {
		err = v.Revoke(t.Context(), token.ID)
	}
	if err == nil {
		err = release(t.Context())
	}
	if err != nil {
		t.Error(err)
	}
	if err := v.use(token, "two"); !apierrors.IsUnauthorized(err) {
		t.Errorf("a revoked token: %v", err)
	}
}

// TestInvitationForged: what no master of this cluster wrote for this store and this token, or what has had its time, is worth nothing.
func TestInvitationForged(t *testing.T) {
	for name, attack := range map[string]func(v *inviter, token Token) Token{
		"a token made up": func(*inviter, Token) Token { return Token{"abcdef", strings.Repeat("a", masterRandom+masterMAC)} },
		"a node's":        func(*inviter, Token) Token { return Token{"abcdef", strings.Repeat("a", nodeSecret)} },
		"another secret": func(_ *inviter, t Token) Token {
			other := "0"
			if t.Secret[0] == '0' {
				other = "1"
			}
			t.Secret = other + t.Secret[1:]
			return t
		},
		"another's secret":  func(v *inviter, t Token) Token { return Token{t.ID, v.token().Secret} },
		"expired":           func(v *inviter, t Token) Token { v.now = v.now.Add(time.Hour); return t },
		"another key":       func(v *inviter, t Token) Token { v.key = "rotated"; return t },
		"a restored store":  func(v *inviter, t Token) Token { v.scope = "store-2"; return t },
		"revoked":           func(v *inviter, t Token) Token { _ = v.Revoke(v.t.Context(), t.ID); return t },
		"another's record":  func(v *inviter, t Token) Token { v.put(v.Prefix+t.ID, v.value(v.token()).Value); return t },
		"no record":         func(v *inviter, t Token) Token { v.put(v.Prefix+t.ID, []byte("{}")); return t },
		"garbage":           func(v *inviter, t Token) Token { v.put(v.Prefix+t.ID, []byte("\x00\xff")); return t },
		"prolonged":         edited(func(r *invitation) { r.Expires = r.Expires.Add(time.Hour) }),
		"for something":     edited(func(r *invitation) { r.Purpose = "read the weather" }),
		"for another store": edited(func(r *invitation) { r.Scope = "" }),
		"reset": func(v *inviter, t Token) Token {
			if err := v.use(t, "somebody"); err != nil {
				v.t.Fatal(err)
			}
			return edited(func(r *invitation) { r.Joiner, r.Name, r.PeerURL, r.Used = "", "", "", time.Time{} })(v, t)
		},
		"used-mark deleted": func(v *inviter, t Token) Token {
			if err := v.use(t, "somebody"); err != nil {
				v.t.Fatal(err)
			}
			e := v.value(t)
			if _, err := v.Store.Delete(v.t.Context(), e.Key, e.Revision); err != nil {
				v.t.Fatal(err)
			}
			return t
		},
		"made anew with another key": func(v *inviter, _ Token) Token {
			v.key = "the attacker's"
			token := v.token()
			v.key = "the masters' key"
			return token
		},
	} {
		v := newInviter(t)
		token := attack(v, v.token())
		if err := v.use(token, "attacker"); err == nil {
			t.Errorf("%s: let in", name)
		}
	}
	// A clock that was set back does not revive what was swept away in the meantime.
	v := newInviter(t)
	token := v.token()
	v.now = v.now.Add(2 * time.Hour)
	v.token()
	v.now = v.now.Add(-2 * time.Hour)
	if err := v.use(token, "late"); err == nil {
		t.Error("a token was revived by a clock that was set back")
	}
}

// TestInvitationPutBack: who has a token that was used, and may write to etcd, does not make it good by putting back the record as it was.
func TestInvitationPutBack(t *testing.T) {
	etcd, err := etcd.Open(t.Context(), etcd.Options{Dir: t.TempDir(), Name: "one", CompactionInterval: -1, Warn: func(string) {}})
	if err != nil {
		t.Fatal(err)
	}
	v := newInviterOf(t, etcd)
	for name, put := range map[string]func(key string, value []byte){
		"over the other": v.put,
		"anew": func(key string, value []byte) {
			e, _, err := etcd.Get(t.Context(), key, 0)
			if err == nil {
				_, err = etcd.Delete(t.Context(), key, e.Revision)
			}
			if err == nil {
				_, err = etcd.Create(t.Context(), key, value, 0)
			}
			if err == nil {
				e, _, err = etcd.Get(t.Context(), key, 0)
			}
			if err == nil {
				_, err = etcd.Update(t.Context(), key, e.Revision, value, 0)
			}
			if err != nil {
				t.Fatal(err)
			}
		},
	} {
		token := v.token()
		before := v.value(token)
		if err := v.use(token, "one"); err != nil {
			t.Fatal(err)
		}
		put(before.Key, before.Value)
		if err := v.use(token, "two"); !apierrors.IsUnauthorized(err) {
			t.Errorf("put back %s: %v", name, err)
		}
		if list, err := v.List(t.Context()); err != nil || len(list) != 0 {
			t.Errorf("put back %s: %+v, %v", name, list, err)
		}
	}
	// What masters do themselves keeps it good: taking a claim back, and another address of the same master's.
	token := v.token()
	for range 2 {
		release, err := v.claim(t.Context(), token, &Request{Name: "three", Key: []byte("3")})
		if err == nil {
			err = release(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, url := range []string{"https://a", "https://a", "https://b", "https://a"} {
		if _, err := v.claim(t.Context(), token, &Request{Name: "four", PeerURL: url, Key: []byte("4")}); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	if list, err := v.List(t.Context()); err != nil || len(list) != 1 || list[0].UsedBy != "four" {
		t.Errorf("%+v, %v", list, err)
	}
}

// edited changes a record as one would who may write to the store and has no key.
func edited(change func(*invitation)) func(v *inviter, token Token) Token {
	return func(v *inviter, token Token) Token {
		var r invitation
		if err := json.Unmarshal(v.value(token).Value, &r); err != nil {
			v.t.Fatal(err)
		}
		change(&r)
		data, err := json.Marshal(r)
		if err != nil {
			v.t.Fatal(err)
		}
		v.put(v.Prefix+token.ID, data)
		return token
	}
}

// TestInvitationBits: a record of which any bit was changed is that of no token, and a record does not hold the token.
func TestInvitationBits(t *testing.T) {
	v := newInviter(t)
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		token := v.token()
		value := append([]byte(nil), v.value(token).Value...)
		if strings.Contains(string(value), token.Secret) || strings.Contains(string(value), token.Secret[:masterRandom]) {
			t.Fatalf("the record holds the secret: %s", value)
		}
		value[random.IntN(len(value))] ^= 1 << random.IntN(8)
		v.put(v.Prefix+token.ID, value)
		if err := v.use(token, "attacker"); err == nil {
			t.Errorf("let in with %s", value)
		}
	}
	for _, ttl := range []time.Duration{0, -time.Hour, time.Millisecond, InvitationMax + time.Second} {
		if _, _, err := v.Make(t.Context(), ttl, ""); err == nil {
			t.Errorf("a token for %v was made", ttl)
		}
	}
}

// TestAbandon: who has not joined with the token removes nobody.
func TestAbandon(t *testing.T) {
	v := newInviter(t)
	now := v.now
	f := &fakeMembers{active: map[uint64]bool{8: true}, list: []etcd.Member{{ID: 1, Name: "one", PeerURL: "https://10.0.0.1:2380"},
		{ID: 8, PeerURL: "https://10.0.0.8:2380", Learner: true}}}
	g := newFakeGroup(f, &now)
	g.Invitations, g.Files = v.Invitations, func() (map[string][]byte, error) { return map[string][]byte{"pki/ca.key": []byte("secret")}, nil }
	token, unused := v.token(), v.token()
	f.list = f.list[:1]
	own, err := newKeyExchange()
	if err != nil {
		t.Fatal(err)
	}
	request := Request{Name: "nine", Version: "v1.37.0", PeerURL: "https://10.0.0.9:2380", Time: now, Key: own.public(), Token: token.String()}
	grant, err := g.Join(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := own.open(grant.Key, token, grant.Sealed); err != nil {
		t.Error(err)
	}
	if other, err := newKeyExchange(); err != nil {
		t.Fatal(err)
	} else if _, err := other.open(grant.Key, token, grant.Sealed); err == nil {
		t.Error("the files can be opened with another key")
	}
	for _, text := range []string{"", "abcdef.0123456789abcdef", unused.String()} {
		if err := g.Abandon(t.Context(), text, "9"); err == nil || !f.has(9) {
			t.Errorf("%q removes a newcomer: %v", text, err)
		}
	}
	if err := g.Abandon(t.Context(), token.String(), "1"); err == nil || !f.has(1) {
		t.Errorf("a token removes a voter: %v", err)
	}
	if err := g.Abandon(t.Context(), token.String(), "9"); err != nil || f.has(9) {
		t.Errorf("a newcomer cannot leave: %v", err)
	}
}
