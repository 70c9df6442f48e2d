package certificates

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/admin"
	"github.com/wheelhouse-k8s/wheelhouse/registry/notes"
	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// tokenLife is how long a token of a former key may be good unless --service-account-max-token-expiration says otherwise: those of
// pods are issued for a year.
const tokenLife = 365 * 24 * time.Hour

// replaced tells of the last replacement of the key.
type replaced struct {
	At time.Time `json:"at"`
}

// mayDropTokenKeys asks for a confirmation for as long as tokens of former keys may be good.
func (c *Certificates) mayDropTokenKeys(ctx context.Context, in TokenKeyStep) error {
	if in.Confirmed || len(c.Authority.TokenKeys()) < 2 {
		return nil
	}
	const how = "pods that hold one cannot speak to the API until their kubelet replaces it, within the hour, and programs that read theirs only once, or keep it in a Secret, not at all. " +
		"To refuse them all the same, add --yes-refuse-old-tokens"
	life := tokenLife
	if c.MaxTokenLife > life {
		life = c.MaxTokenLife
	}
	e, _, err := c.Store.Get(ctx, notes.TokenKey, 0)
	var r replaced
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && json.Unmarshal(e.Value, &r) != nil:
		return admin.Refused("it is not known when the last key was replaced, and tokens of it may be good: " + how)
	case err != nil:
		return err
	}
	if until := r.At.Add(life); c.PKI.Now().Before(until) {
		return admin.Refused(fmt.Sprintf("the key was replaced %v ago, and tokens of the former one may be good until %s: %s",
			c.PKI.Now().Sub(r.At).Round(time.Second), until.UTC().Format(time.DateOnly), how))
	}
	return nil
}

// noteTokenKey remembers that the key was replaced now.
func (c *Certificates) noteTokenKey(ctx context.Context) error {
	value, err := json.Marshal(replaced{c.PKI.Now()})
	if err != nil {
		return err
	}
	for {
		e, _, err := c.Store.Get(ctx, notes.TokenKey, 0)
		switch {
		case errors.Is(err, store.ErrNotFound):
			_, err = c.Store.Create(ctx, notes.TokenKey, value, 0)
		case err == nil:
			_, err = c.Store.Update(ctx, notes.TokenKey, e.Revision, value, 0)
		}
		var lost *store.Conflict
		if !errors.As(err, &lost) {
			return err
		}
	}
}

// TokenKeyStep says what to do about the keys of service account tokens.
type TokenKeyStep struct {
	DropOld bool `json:"dropOld,omitempty"`
	// Confirmed drops them though tokens of theirs may be good.
	Confirmed bool `json:"confirmed,omitempty"`
}

// TokenKeyStatus tells how many keys verify tokens, the one that signs included.
type TokenKeyStatus struct {
	Keys int `json:"keys"`
}

// rotateTokenKey has a new key sign service account tokens: first all masters learn its public part, then it signs.
func (c *Certificates) rotateTokenKey(ctx context.Context, in TokenKeyStep) (TokenKeyStatus, error) {
	if !c.rotating.TryLock() {
		return TokenKeyStatus{}, admin.Refused("another rotation is being worked on at this moment: try again when it is done")
	}
	defer c.rotating.Unlock()
	// The time is noted before the new key signs: one that is never used does no harm, and one that is has its time.
	steps := []func() error{c.Authority.PrepareTokenKey, func() error { return c.noteTokenKey(ctx) }, c.Authority.SwitchTokenKey}
	if in.DropOld {
		if err := c.mayDropTokenKeys(ctx, in); err != nil {
			return TokenKeyStatus{}, err
		}
		steps = []func() error{c.Authority.DropTokenKeys}
	}
	for _, step := range steps {
		if err := c.Publish(ctx); err != nil {
			return TokenKeyStatus{}, err
		}
		if err := step(); err != nil {
			return TokenKeyStatus{}, refusal(err)
		}
	}
	if err := errors.Join(c.Tokens.SetKeys(c.Authority.TokenKey(), c.Authority.TokenKeys()), c.Publish(ctx)); err != nil {
		return TokenKeyStatus{}, admin.Refused(fmt.Sprintf("the step was done on this master, but not on all: %v: repeat the command when they can be reached", err))
	}
	return TokenKeyStatus{Keys: len(c.Authority.TokenKeys())}, nil
}
