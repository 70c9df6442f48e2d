package registry

import (
	"context"
	"time"
)

// A sealed value cannot be decrypted: a key is missing from the configuration of encryption, or the plugin that holds it does not
// answer. It is unreadable like any other, but may become readable without a change: from time to time the store is
// asked again, and when it can decrypt one of them, everything is loaded anew.

// Pauses between attempts to read sealed values.
const (
	unsealMin = time.Second
	unsealMax = 30 * time.Second
)

// unsealTries bounds the values that are tried at once, unsealPatience the time for it.
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
	return false
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
		t.mu.RLock()
		var keys []string
		for key, u := range t.unreadable {
			if u.sealed && len(keys) < unsealTries {
				keys = append(keys, key)
			}
		}
		t.mu.RUnlock()
		for _, key := range keys {
			if _, _, err := r.store.Get(ctx, key, 0); err == nil {
				return true
			}
		}
	}
	return false
}

// reload makes Run load everything again.
func (r *Registry) reload() {
	r.again.Store(true)
	if cancel := r.cancelWatch.Load(); cancel != nil {
		(*cancel)()
	}
}
