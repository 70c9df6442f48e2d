package registry

import (
	"context"
	"slices"
	"time"
)

// A sealed value cannot be decrypted: a key is missing from the configuration of encryption, or the plugin that holds it does not
// answer. It is unreadable like any other, but may become readable without a change: from time to time the store is
// asked again, and when it can decrypt one of them, everything is loaded anew. Strays are tried like all others: what they name is
// known only then.

// Pauses between attempts to read sealed values.
const (
	unsealMin = time.Second
	unsealMax = 30 * time.Second
)

// unsealTries bounds the values of a kind that are tried at once, unsealPatience the time for it.
const (
	unsealTries    = 16
	unsealPatience = 10 * time.Second
)

// Unseal tells that values which could not be decrypted perhaps can be now.
func (r *Registry) Unseal() {
	select {
	case r.unsealing.kick <- struct{}{}:
	default:
	}
}

func (r *Registry) anySealed() bool {
	for _, t := range r.kinds.Load().tables {
		if t.anySealed() {
			return true
		}
	}
	return r.strays.anySealed() // asked last: a kind that goes has left its values there before it is out of kinds
}

// startUnsealing lets one goroutine try again until nothing is sealed.
func (r *Registry) startUnsealing() {
	if r.unsealing.running.CompareAndSwap(false, true) {
		go r.unsealAll(r.life)
	}
}

func (r *Registry) unsealAll(ctx context.Context) {
	pause := unsealMin
	for ctx.Err() == nil {
		select {
		case <-time.After(pause):
			pause = min(2*pause, unsealMax)
		case <-r.unsealing.kick:
			pause = unsealMin
		case <-ctx.Done():
			return
		}
		if !r.anySealed() {
			r.unsealing.running.Store(false)
			if r.anySealed() { // since then
				r.startUnsealing()
			}
			return
		}
		if r.canUnseal(ctx) {
			r.reload()
			pause = unsealMin
		}
	}
}

// canUnseal tries some of the sealed values.
func (r *Registry) canUnseal(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, unsealPatience)
	defer cancel()
	for _, t := range r.kinds.Load().tables {
		if r.canOpenAny(ctx, t.sealedKeys(unsealTries)) {
			return true
		}
	}
	return r.canOpenAny(ctx, r.strays.sealedKeys(unsealTries))
}

func (r *Registry) canOpenAny(ctx context.Context, keys []string) bool {
	return slices.ContainsFunc(keys, func(key string) bool {
		_, _, err := r.store.Get(ctx, key, 0)
		return err == nil
	})
}

// sealedKeys are some keys whose values cannot be decrypted.
func (t *table) sealedKeys(max int) (some []string) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for key, u := range t.unreadable {
		if len(some) == max {
			break
		}
		if u.sealed {
			some = append(some, key)
		}
	}
	return some
}

// reload makes Run load everything again.
func (r *Registry) reload() {
	r.again.Store(true)
	if cancel := r.cancelWatch.Load(); cancel != nil {
		(*cancel)()
	}
}
