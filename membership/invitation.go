package membership

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// Invitations are the tokens with which masters join, each of which lets one master in, once.
//
// Half of a token's secret is a MAC of the other half, with a key that only masters have, so that any master can tell without the
// store whether a master made it: who may write Secrets, or the store itself, cannot. What a token is still good for
// stands in a record in the store, which is authenticated with the same key. A record that is missing, was changed, was put back as it
// had been before, or is that of another store (one restored from a backup in which the token was not used yet) is that of no token.
type Invitations struct {
	// Store holds the records below Prefix. One that others can write to is a historian.
	Store  store.Store
	Prefix string
	// Key that only masters have.
	Key func() ([]byte, error)
	// Scope names the store: what was written before it was restored has another. Nil if records do not survive that.
	Scope func(ctx context.Context) (string, error)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// historian is a store that tells at which revision a key was made, and how often it was written since.
type historian interface {
	Written(ctx context.Context, key string) (e store.Entry, made, times int64, err error)
}

// InvitationMax bounds how long a token for masters may be good.
const InvitationMax = 30 * 24 * time.Hour

// joinPurpose is what a record is for: its key may serve for others one day.
const joinPurpose = "join as a master"

// invitation is the record of a token. It does not hold the token.
type invitation struct {
	ID          string    `json:"id"`
	Purpose     string    `json:"purpose"`
	Scope       string    `json:"scope,omitempty"`
	Description string    `json:"description,omitempty"`
	Expires     time.Time `json:"expires"`
	// Token is a hash of the token.
	Token string `json:"token"`
	// Joiner is the hash of the key of the master that has used the token, with its Name and PeerURL, and when that was.
	Joiner  string    `json:"joiner,omitempty"`
	Name    string    `json:"name,omitempty"`
	PeerURL string    `json:"peerURL,omitempty"`
	Used    time.Time `json:"used,omitzero"`
	// Made and Times are what a historian says of the record: who writes it anew, though it be as it was, makes them others.
	Made  int64 `json:"made,omitempty"`
	Times int64 `json:"times,omitempty"`
	// MAC over the record without it.
	MAC string `json:"mac"`
}

// Invitation is what operators see of a token for masters: not its secret.
type Invitation struct {
	ID          string    `json:"id"`
	Description string    `json:"description,omitempty"`
	Expires     time.Time `json:"expires"`
	// UsedBy is the master that has joined with it, and Used when; empty before.
	UsedBy string    `json:"usedBy,omitempty"`
	Used   time.Time `json:"used,omitzero"`
}

func (v *Invitations) now() time.Time {
	if v.Now != nil {
		return v.Now()
	}
	return time.Now()
}

// mac of parts that cannot be taken for other parts.
func mac(key []byte, parts ...string) []byte {
	h := hmac.New(sha256.New, key)
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s,", len(p), p)
	}
	return h.Sum(nil)
}

// The two parts of a master's secret.
const (
	masterRandom = 9
	masterMAC    = 16
)

// signature is the second half of a master's token, for its first.
func (v *Invitations) signature(id, random string) (string, error) {
	key, err := v.Key()
	if err != nil {
		return "", err
	}
	text := new(big.Int).SetBytes(mac(key, "token", id, random)).Text(len(letters))
	return strings.Repeat("0", max(0, masterMAC-len(text))) + text[max(0, len(text)-masterMAC):], nil
}

// Made tells whether a master of this cluster made the token, whether or not it is still good.
func (v *Invitations) Made(t Token) (bool, error) {
	if len(t.Secret) != masterRandom+masterMAC {
		return false, nil
	}
	want, err := v.signature(t.ID, t.Secret[:masterRandom])
	return err == nil && hmac.Equal([]byte(want), []byte(t.Secret[masterRandom:])), err
}

// seal authenticates a record, and encodes it.
func (v *Invitations) seal(r invitation) ([]byte, error) {
	key, err := v.Key()
	if err != nil {
		return nil, err
	}
	r.MAC = ""
	data, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	r.MAC = hex.EncodeToString(mac(key, "record", string(data)))
	return json.Marshal(r)
}

// open decodes a record; false if no master of this cluster has written it, for this store.
func (v *Invitations) open(ctx context.Context, value []byte) (r invitation, ok bool, err error) {
	if json.Unmarshal(value, &r) != nil {
		return r, false, nil
	}
	again, err := v.seal(r)
	if err != nil || !hmac.Equal(again, value) || r.Purpose != joinPurpose {
		return r, false, err
	}
	scope, err := v.scope(ctx)
	return r, err == nil && r.Scope == scope, err
}

func (v *Invitations) scope(ctx context.Context) (string, error) {
	if v.Scope == nil {
		return "", nil
	}
	return v.Scope(ctx)
}

// hashOfToken is what a record knows of its token: nothing, to who has not the masters' key.
func (v *Invitations) hashOfToken(t Token) (string, error) {
	key, err := v.Key()
	return hex.EncodeToString(mac(key, "secret", t.String())), err
}

// makeTries bounds the tries to find an ID that is free.
const makeTries = 5

// Make makes a token that lets one master join within a time.
func (v *Invitations) Make(ctx context.Context, ttl time.Duration, description string) (Token, time.Time, error) {
	switch {
	case ttl < time.Second:
		return Token{}, time.Time{}, conflict("--ttl %v: a token for masters must expire, a second from now or later", ttl)
	case ttl > InvitationMax:
		return Token{}, time.Time{}, conflict("--ttl %v: a token for masters is good for %v at most: whoever has it becomes a master", ttl, InvitationMax)
	}
	scope, err := v.scope(ctx)
	if err != nil {
		return Token{}, time.Time{}, err
	}
	v.sweep(ctx)
	r := invitation{Purpose: joinPurpose, Scope: scope, Description: description, Expires: v.now().Add(ttl).UTC().Truncate(time.Second)}
	for range makeTries {
		t, err := v.invent()
		if err != nil {
			return t, r.Expires, err
		}
		r.ID = t.ID
		if r.Token, err = v.hashOfToken(t); err != nil {
			return t, r.Expires, err
		}
		var taken *store.Conflict
		if err = v.create(ctx, r, ttl); !errors.As(err, &taken) {
			return t, r.Expires, err
		}
	}
	return Token{}, time.Time{}, busy("no ID for the token is free: try again")
}

// create writes the record of a new token, for a historian twice: only then is it known when it was made.
func (v *Invitations) create(ctx context.Context, r invitation, ttl time.Duration) error {
	value, err := v.seal(r)
	if err != nil {
		return err
	}
	// The record ends by itself too: a clock that is set back does not give it a second life.
	revision, err := v.Store.Create(ctx, v.Prefix+r.ID, value, ttl)
	if _, ok := v.Store.(historian); !ok || err != nil {
		return err
	}
	r.Made, r.Times = revision, 1
	_, err = v.update(ctx, r, revision)
	return err
}

// read the record of a token; false if there is none that a master has written.
func (v *Invitations) read(ctx context.Context, id string) (r invitation, revision int64, ok bool, err error) {
	var e store.Entry
	var made, times int64
	if h, traces := v.Store.(historian); traces {
		e, made, times, err = h.Written(ctx, v.Prefix+id)
	} else {
		e, _, err = v.Store.Get(ctx, v.Prefix+id, 0)
	}
	if errors.Is(err, store.ErrNotFound) {
		return r, 0, false, nil
	}
	if err != nil {
		return r, 0, false, err
	}
	r, ok, err = v.open(ctx, e.Value)
	return r, e.Revision, ok && r.ID == id && r.Made == made && r.Times == times, err
}

// invent makes a token up.
func (v *Invitations) invent() (t Token, err error) {
	random, err := randomText(tokenIDLength + masterRandom)
	if err != nil {
		return t, err
	}
	t.ID, t.Secret = random[:tokenIDLength], random[tokenIDLength:]
	signature, err := v.signature(t.ID, t.Secret)
	t.Secret += signature
	return t, err
}

// found is a token's record in the store.
type found struct {
	invitation
	revision int64
}

// find gives the record of a token that has not expired.
func (v *Invitations) find(ctx context.Context, t Token) (*found, error) {
	wrong := unauthorized("the token is wrong or has expired: make another with wheelhouse token create")
	made, err := v.Made(t)
	if err != nil {
		return nil, err
	}
	if !made {
		return nil, wrong
	}
	r, revision, ok, err := v.read(ctx, t.ID)
	if err != nil {
		return nil, err
	}
	hash, err := v.hashOfToken(t)
	if err != nil {
		return nil, err
	}
	if !ok || !hmac.Equal([]byte(hash), []byte(r.Token)) || !v.now().Before(r.Expires) {
		return nil, wrong
	}
	return &found{r, revision}, nil
}

// claim uses a token for a master, known by the key that its files will be sealed for: that one may ask again, should it not have got
// the answer, and nobody else. The function that it returns takes the claim back, for a master that was not let in after all.
func (v *Invitations) claim(ctx context.Context, t Token, r *Request) (release func(context.Context) error, err error) {
	for range claimTries {
		release, err = v.claimOnce(ctx, t, r)
		var lost *store.Conflict
		if !errors.As(err, &lost) {
			return release, err
		}
		// Somebody was faster, perhaps this very claim, whose answer was lost: the record says who.
	}
	return nil, busy("the token is being used by others at this moment: try again")
}

// claimTries bounds the tries of a claim against others that use the same token.
const claimTries = 5

func (v *Invitations) claimOnce(ctx context.Context, t Token, r *Request) (release func(context.Context) error, err error) {
	f, err := v.find(ctx, t)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(r.Key)
	joiner := hex.EncodeToString(sum[:])
	nothing := func(context.Context) error { return nil }
	if f.Joiner != "" {
		if f.Joiner != joiner || f.Name != r.Name {
			return nil, usedAlready(f.Name, f.Used)
		}
		if f.PeerURL == r.PeerURL {
			return nothing, nil
		}
	}
	before := f.invitation
	after := before
	after.Joiner, after.Name, after.PeerURL, after.Used = joiner, r.Name, r.PeerURL, v.now().UTC().Truncate(time.Second)
	revision, err := v.update(ctx, after, f.revision)
	if err != nil {
		return nil, err
	}
	if before.Joiner != "" {
		return nothing, nil
	}
	return func(ctx context.Context) error {
		if before.Made != 0 {
			before.Times++ // by the claim
		}
		_, err := v.update(ctx, before, revision)
		var lost *store.Conflict
		if errors.As(err, &lost) { // it was taken back meanwhile, or is used anew by the same master
			return nil
		}
		return err
	}, nil
}

// update writes a record if nobody else has; a *store.Conflict otherwise.
func (v *Invitations) update(ctx context.Context, r invitation, revision int64) (int64, error) {
	if r.Made != 0 {
		r.Times++
	}
	value, err := v.seal(r)
	if err != nil {
		return 0, err
	}
	left := r.Expires.Sub(v.now())
	if left <= 0 {
		return 0, unauthorized("the token has expired: make another with wheelhouse token create")
	}
	return v.Store.Update(ctx, v.Prefix+r.ID, revision, value, left)
}

func usedAlready(by string, at time.Time) error {
	return conflict("the token was used already (by %s at %s), and is good for one master only: make another with wheelhouse token create. "+
		"If you did not use it, somebody else has the cluster's keys: see docs/security.md", by, at.UTC().Format(time.RFC3339))
}

// List gives the tokens that have not expired.
func (v *Invitations) List(ctx context.Context) ([]Invitation, error) {
	page, err := v.Store.List(ctx, v.Prefix, store.ListOptions{})
	if err != nil {
		return nil, err
	}
	var all []Invitation
	for _, e := range page.Entries {
		r, _, ok, err := v.read(ctx, strings.TrimPrefix(e.Key, v.Prefix))
		if err != nil {
			return nil, err
		}
		if ok && v.now().Before(r.Expires) {
			all = append(all, Invitation{ID: r.ID, Description: r.Description, Expires: r.Expires, UsedBy: r.Name, Used: r.Used})
		}
	}
	return all, nil
}

// Revoke takes a token back.
func (v *Invitations) Revoke(ctx context.Context, id string) error {
	for {
		e, _, err := v.Store.Get(ctx, v.Prefix+id, 0)
		if err == nil {
			_, err = v.Store.Delete(ctx, v.Prefix+id, e.Revision)
		}
		var lost *store.Conflict
		switch {
		case errors.Is(err, store.ErrNotFound):
			return notFound("there is no token %s for masters", id)
		case errors.As(err, &lost): // it is being used
			continue
		}
		return err
	}
}

// Forget takes all tokens back: what the store knows of their use may have been lost.
func (v *Invitations) Forget(ctx context.Context) error {
	page, err := v.Store.List(ctx, v.Prefix, store.ListOptions{})
	if err != nil {
		return err
	}
	var failed []error
	for _, e := range page.Entries {
		if err := v.Revoke(ctx, strings.TrimPrefix(e.Key, v.Prefix)); err != nil && !apierrors.IsNotFound(err) {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// sweep removes records that have expired by the clock, or are no masters' of this store; one that is not removed does no harm.
func (v *Invitations) sweep(ctx context.Context) {
	page, err := v.Store.List(ctx, v.Prefix, store.ListOptions{})
	if err != nil {
		return
	}
	for _, e := range page.Entries {
		if r, ok, err := v.open(ctx, e.Value); err == nil && (!ok || !v.now().Before(r.Expires)) {
			_, _ = v.Store.Delete(ctx, e.Key, e.Revision)
		}
	}
}
