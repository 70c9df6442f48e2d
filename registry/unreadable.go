package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/bounds"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// An unreadable value is one that the store cannot decrypt (sealed), that does not decode, or that is not the object that its
// key promises. It is a state of its own and never counts as absent. The mirror goes on without it, with its last
// readable state if it had one. What would have to show it fails: a list of its resource, a get, a watch; a creation under its
// name conflicts. Everything else of the resource works. The next readable value, or the deletion, ends it.

// unreadable is why a value cannot be read.
type unreadable struct {
	err      error
	revision int64
	sealed   bool
	// stray is what is known of the value without its kind.
	stray stray
}

// causesMax bounds the keys that an error names, as upstream does.
const causesMax = 100

// hide notes a value that cannot be read, and ends the watches that should have shown it.
// The caller is the mirror's goroutine.
func (r *Registry) hide(t *table, key string, u unreadable) {
	t.mu.Lock()
	if t.unreadable == nil {
		t.unreadable = map[string]unreadable{}
	}
	t.unreadable[key] = u
	t.unreadableCount.Store(int64(len(t.unreadable)))
	t.advance(u.revision)
	err := t.unreadableError([]string{key})
	t.watchers.end(func(*Watcher) error { return err })
	t.mu.Unlock()
	r.failed(t, u)
	if u.sealed {
		r.startUnsealing()
	}
}

// failed counts and logs a value that cannot be read.
func (r *Registry) failed(t *table, u unreadable) {
	t.failures.Add(1)
	r.log.Error("a stored value cannot be read", "resource", t.info.GR().String(), "error", u.err, "revision", u.revision)
}

// show notes that a key's value can be read again, or is gone. The caller is the mirror's goroutine.
func (t *table) show(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, was := t.unreadable[key]; !was {
		return
	}
	delete(t.unreadable, key)
	t.unreadableCount.Store(int64(len(t.unreadable)))
	t.kept = nil // they hold a state that the store never had
}

// hideAll replaces what is unreadable, after a load. unsealed tells that something was sealed before.
func (r *Registry) hideAll(t *table, found map[string]unreadable) (unsealed bool) {
	t.mu.Lock()
	sealed := false
	for _, u := range t.unreadable {
		unsealed = unsealed || u.sealed
	}
	before := t.unreadable
	t.unreadable = found
	t.unreadableCount.Store(int64(len(found)))
	if len(before) > 0 {
		t.kept = nil
	}
	t.mu.Unlock()
	logged := 0
	for key, u := range found {
		sealed = sealed || u.sealed
		if old, known := before[key]; known && old.revision == u.revision {
			continue
		}
		t.failures.Add(1)
		if logged++; logged <= loggedMax {
			r.log.Error("a stored value cannot be read", "resource", t.info.GR().String(), "error", u.err, "revision", u.revision)
		}
	}
	if logged > loggedMax {
		r.log.Error("stored values cannot be read", "resource", t.info.GR().String(), "count", len(found))
	}
	if sealed {
		r.startUnsealing()
	}
	return unsealed
}

// loggedMax bounds the unreadable values of a resource that a load logs one by one.
const loggedMax = 10

func (t *table) anySealed() bool {
	if t.unreadableCount.Load() == 0 {
		return false
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, u := range t.unreadable {
		if u.sealed {
			return true
		}
	}
	return false
}

// legible fails if values in a scope (a prefix, or one key if it does not end with a slash) cannot be read.
func (r *Resource) legible(scope string) error {
	if err := r.live(); err != nil {
		return err
	}
	t := r.table
	if t.unreadableCount.Load() == 0 {
		return nil
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	if u, ok := t.unreadable[scope]; ok {
		return unreadableObject(scope, u)
	}
	var keys []string
	for key := range t.unreadable {
		if strings.HasSuffix(scope, "/") && strings.HasPrefix(key, scope) {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	slices.Sort(keys)
	return t.unreadableError(keys)
}

// unreadableError is what a reader of many values is told. It is called with mu held.
func (t *table) unreadableError(keys []string) *apierrors.StatusError {
	gr := t.info.GR()
	message := fmt.Sprintf("failed to read one or more %s from the storage: %v", gr, t.unreadable[keys[0]].err)
	if more := len(keys) - 1; more > 0 {
		message = fmt.Sprintf("%s (and %d more)", message, more)
	}
	details := &metav1.StatusDetails{Group: gr.Group, Kind: gr.Resource, Name: "list"}
	for _, key := range keys[:min(len(keys), causesMax)] {
		details.Causes = append(details.Causes, unreadableCause(key, t.unreadable[key].err))
	}
	if len(keys) > causesMax {
		details.Causes = append(details.Causes, metav1.StatusCause{Type: metav1.CauseTypeTooMany, Message: fmt.Sprintf("%d more are not listed", len(keys)-causesMax)})
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Reason: metav1.StatusReasonStoreReadError,
		Message: message, Details: details,
	}}
}

func unreadableCause(key string, err error) metav1.StatusCause {
	return metav1.StatusCause{Type: metav1.CauseTypeUnexpectedServerResponse, Field: key, Message: err.Error()}
}

// unreadableObject is what the reader or writer of one value is told.
func unreadableObject(key string, u unreadable) *apierrors.StatusError {
	told := u.err
	if !u.sealed { // what is sealed needs its key back
		told = fmt.Errorf("%w (a deletion with ignoreStoreReadErrorWithClusterBreakingPotential removes it)", u.err)
	}
	failure := apierrors.NewInternalError(told)
	failure.ErrStatus.Details.Causes = []metav1.StatusCause{unreadableCause(key, u.err)}
	return failure
}

// unreadablePast is what a reader of history is told that cannot be read: to begin anew, unless the present cannot be read either.
func (r *Resource) unreadablePast(key string, u *unreadable) error {
	if r.table.unreadableCount.Load() > 0 {
		return unreadableObject(key, *u)
	}
	return apierrors.NewResourceExpired(fmt.Sprintf("the resource version can no longer be read: %v", u.err))
}

// Unreadable is a stored value that cannot be read.
type Unreadable struct {
	Resource schema.GroupResource
	Key      string
	Err      error
	Revision int64
	// Sealed tells that it cannot be decrypted, rather than decoded.
	Sealed bool
}

// Unreadable lists the values that cannot be read, by key, at most max of them, and counts all.
func (r *Registry) Unreadable(max int) (some []Unreadable, count int) {
	for _, t := range r.kinds.Load().tables {
		if t.unreadableCount.Load() == 0 {
			continue
		}
		t.mu.RLock()
		for key, u := range t.unreadable {
			some = append(some, Unreadable{t.info.GR(), key, u.err, u.revision, u.sealed})
		}
		t.mu.RUnlock()
	}
	slices.SortFunc(some, func(a, b Unreadable) int { return strings.Compare(a.Key, b.Key) })
	count = len(some)
	return some[:min(count, max)], count
}

// Sealed counts the values of each resource that the store cannot decrypt.
func (r *Registry) Sealed() map[schema.GroupResource]int {
	counts := map[schema.GroupResource]int{}
	for _, t := range r.kinds.Load().tables {
		if t.unreadableCount.Load() == 0 {
			continue
		}
		t.mu.RLock()
		for _, u := range t.unreadable {
			if u.sealed {
				counts[t.info.GR()]++
			}
		}
		t.mu.RUnlock()
	}
	return counts
}

// Legible fails if there is a value under an object's name that cannot be read.
func (r *Resource) Legible(namespace, name string) error {
	return r.legible(r.key(namespace, name))
}

// Whole fails if values of a namespace ("" for all) cannot be read: who looks at the mirror does not see their objects, or
// sees what they were.
func (r *Resource) Whole(namespace string) error {
	return r.legible(r.filter(namespace, nil, nil).scope())
}

// deleteUnreadable removes an object whose stored value cannot be decrypted or decoded, without looking at finalizers,
// grace or preconditions. An object that can be read is refused.
func (r *Resource) deleteUnreadable(ctx context.Context, namespace, name string, o DeleteOptions) error {
	if err := r.live(); err != nil {
		return err
	}
	key := r.key(namespace, name)
	for range racesMax {
		e, _, err := r.reg.store.Get(ctx, key, 0)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return apierrors.NewNotFound(r.gr(), name)
		case err != nil && e.Sealed == nil:
			return storeError(err, r.gr(), kind.Delete)
		case e.Sealed == nil && r.decodes(&e):
			return bounds.Invalid(schema.GroupKind{Group: r.gr().Group, Kind: r.gr().Resource}, name, field.ErrorList{field.Invalid( // so upstream names it
				field.NewPath("ignoreStoreReadErrorWithClusterBreakingPotential"), true, "the object can be read: delete it without this option")})
		case o.DryRun:
			return nil
		}
		_, err = r.reg.store.Delete(ctx, key, e.Revision)
		var lost *store.Conflict
		if !errors.As(err, &lost) {
			return storeError(err, r.gr(), kind.Delete)
		}
	}
	return apierrors.NewConflict(r.gr(), name, errors.New(modified))
}

func (r *Resource) decodes(e *store.Entry) bool {
	_, err := r.table.examine(e.Key, e.Value, e.Revision)
	return err == nil
}

// unreadableOnly tells that the options ask for the deletion of what cannot be read.
func unreadableOnly(o *metav1.DeleteOptions) bool {
	return o.IgnoreStoreReadErrorWithClusterBreakingPotential != nil && *o.IgnoreStoreReadErrorWithClusterBreakingPotential
}
