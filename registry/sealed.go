package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// Sealed values are those that the store could not decrypt: a key is missing from its configuration, or the plugin that
// holds it does not answer. The mirror goes on without them, with their last readable state if it had one. What would
// have to show them fails: a list of their resource, a get, a watch. Everything else of the resource works. From time to
// time the store is asked again; when it can decrypt one of them, everything is loaded anew.

// Pauses between attempts to read sealed values.
const (
	unsealMin = time.Second
	unsealMax = 30 * time.Second
)

const (
	// unsealTries bounds the values that are tried at once, unsealPatience the time for it.
	unsealTries    = 16
	unsealPatience = 10 * time.Second
	// causesMax bounds the keys that an error names, as upstream does.
	causesMax = 100
)

// seal notes a value that the store could not decrypt, and ends the watches that should have shown it.
// The caller is the mirror's goroutine.
func (r *Registry) seal(t *table, e *store.Entry) {
	t.mu.Lock()
	if t.sealed == nil {
		t.sealed = map[string]error{}
	}
	t.sealed[e.Key] = e.Sealed
	t.sealedCount.Store(int64(len(t.sealed)))
	err := t.sealedError([]string{e.Key})
	t.watchers.end(func(*Watcher) error { return err })
	t.mu.Unlock()
	r.log.Error("a stored value cannot be decrypted", "error", e.Sealed, "revision", e.Revision)
	r.startUnsealing()
}

// unseal notes that a key's value can be read again, or is gone. The caller is the mirror's goroutine.
func (t *table) unseal(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.sealed, key)
	t.sealedCount.Store(int64(len(t.sealed)))
}

// reseal replaces what is sealed, after a load. before tells whether anything was.
func (r *Registry) reseal(t *table, sealed map[string]error) (before bool) {
	t.mu.Lock()
	before = len(t.sealed) > 0
	t.sealed = sealed
	t.sealedCount.Store(int64(len(sealed)))
	t.mu.Unlock()
	if len(sealed) > 0 {
		r.log.Error("stored values cannot be decrypted", "resource", t.info.GR().String(), "count", len(sealed), "error", anyOf(sealed))
		r.startUnsealing()
	}
	return before
}

func anyOf(sealed map[string]error) error {
	for _, err := range sealed {
		return err
	}
	return nil
}

// legible fails if values in a scope (a prefix, or one key if it does not end with a slash) are sealed.
func (t *table) legible(scope string) error {
	if t.sealedCount.Load() == 0 {
		return nil
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	var keys []string
	for key := range t.sealed {
		if key == scope || strings.HasSuffix(scope, "/") && strings.HasPrefix(key, scope) {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	slices.Sort(keys)
	return t.sealedError(keys)
}

// sealedError is what a reader of sealed values is told. It is called with mu held.
func (t *table) sealedError(keys []string) *apierrors.StatusError {
	gr := t.info.GR()
	message := fmt.Sprintf("failed to read one or more %s from the storage: %v", gr, t.sealed[keys[0]])
	if more := len(keys) - 1; more > 0 {
		message = fmt.Sprintf("%s (and %d more)", message, more)
	}
	details := &metav1.StatusDetails{Group: gr.Group, Kind: gr.Resource, Name: "list"}
	for _, key := range keys[:min(len(keys), causesMax)] {
		details.Causes = append(details.Causes, metav1.StatusCause{
			Type: metav1.CauseTypeUnexpectedServerResponse, Field: key, Message: t.sealed[key].Error(),
		})
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Reason: metav1.StatusReasonStoreReadError,
		Message: message, Details: details,
	}}
}

// sealedPast is what a reader of history is told that can no longer be decrypted: to begin anew, unless the present
// cannot be read either.
func (r *Resource) sealedPast(e *store.Entry) error {
	if r.table.sealedCount.Load() > 0 {
		return apierrors.NewInternalError(e.Sealed)
	}
	return apierrors.NewResourceExpired(fmt.Sprintf("the resource version can no longer be read: %v", e.Sealed))
}

// Unseal tells that values which could not be decrypted perhaps can be now.
func (r *Registry) Unseal() {
	select {
	case r.unsealing.kick <- struct{}{}:
	default:
	}
}

func (r *Registry) anySealed() bool {
	for _, t := range r.tables {
		if t.sealedCount.Load() > 0 {
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
	for _, t := range r.tables {
		t.mu.RLock()
		var keys []string
		for key := range t.sealed {
			if len(keys) < unsealTries {
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

// deleteUnreadable removes an object whose stored value cannot be decrypted or decoded, without looking at finalizers,
// grace or preconditions. An object that can be read is refused.
func (r *Resource) deleteUnreadable(ctx context.Context, namespace, name string, o DeleteOptions) error {
	key := r.key(namespace, name)
	for range racesMax {
		e, _, err := r.reg.store.Get(ctx, key, 0)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return apierrors.NewNotFound(r.gr(), name)
		case err != nil && e.Sealed == nil:
			return storeError(err, r.gr(), "delete")
		case e.Sealed == nil && r.decodes(&e):
			return apierrors.NewConflict(r.gr(), name, errors.New("the object can be read: delete it without ignoreStoreReadErrorWithClusterBreakingPotential"))
		case o.DryRun:
			return nil
		}
		_, err = r.reg.store.Delete(ctx, key, e.Revision)
		var lost *store.Conflict
		if !errors.As(err, &lost) {
			return storeError(err, r.gr(), "delete")
		}
	}
	return apierrors.NewConflict(r.gr(), name, errors.New(modified))
}

func (r *Resource) decodes(e *store.Entry) bool {
	i, err := r.table.read(e.Key, e.Value, e.Revision)
	if err == nil {
		_, err = i.Decode()
	}
	return err == nil
}

// Sealed counts the values of each resource that the store cannot decrypt.
func (r *Registry) Sealed() map[schema.GroupResource]int {
	counts := map[schema.GroupResource]int{}
	for _, t := range r.tables {
		if n := t.sealedCount.Load(); n > 0 {
			counts[t.info.GR()] = int(n)
		}
	}
	return counts
}

// unreadableOnly tells that the options ask for the deletion of what cannot be read.
func unreadableOnly(o *metav1.DeleteOptions) bool {
	return o.IgnoreStoreReadErrorWithClusterBreakingPotential != nil && *o.IgnoreStoreReadErrorWithClusterBreakingPotential
}
