package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/bounds"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/codec/canonical"
	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// racesMax bounds how often one update is repeated because others changed the object meanwhile.
const racesMax = 1000

// Change makes the new object from the present one, which it must not change (copy it with kind.Copy).
// It may run several times. old is nil when the object does not exist and the kind is created by update.
type Change func(ctx context.Context, old kind.Object) (kind.Object, error)

// UpdateOptions of Update.
type UpdateOptions struct {
	// Part is the subresource that is updated; empty for the main resource.
	Part   string
	DryRun bool
	// Entered: what Change gives has passed Enter, and only the server itself has changed it since.
	Entered bool
	// UID and ResourceVersion must match the present object if set.
	UID             *types.UID
	ResourceVersion *string
	// Trusted skips defaults, preparation and validation: the server itself makes the change (binding). What it leaves alone may
	// be shared with the old object.
	Trusted bool
	// Judge tells all that is wrong with the new object, given what its kind has found; nil adds nothing.
	Judge Judge
	// Admit is the validating admission; old is nil when the update creates.
	Admit func(ctx context.Context, next, old kind.Object) error
}

// Update changes one object: present object, Change, Kind.PrepareUpdate or Part.Prepare, validation, Admit,
// compare-and-swap; a lost race repeats it with the newer object unless the new object carries a resourceVersion
// of its own that no longer matches (409). A change that changes nothing is not written.
// created tells that the object did not exist before.
func (r *Resource) Update(ctx context.Context, namespace, name string, change Change, o UpdateOptions) (item *Item, created bool, err error) {
	u := &updating{r: r, o: &o, change: change, namespace: namespace, name: name}
	if o.Part != "" {
		part, ok := r.info.Part(o.Part)
		if !ok {
			return nil, false, apierrors.NewInternalError(fmt.Errorf("%s has no subresource %s", r.gr(), o.Part))
		}
		u.part = part
	}
	err = r.race(ctx, namespace, name, kind.Update, func(present *Item, certain bool) error {
		item, created, err = u.attempt(ctx, present, certain)
		return err
	})
	if err != nil {
		return nil, false, err
	}
	return r.served(item), created, nil
}

// errStale asks race for the store's own state, because the mirror's does not suffice.
var errStale = errors.New("the present state must be read from the store")

// race calls attempt with the present item (nil if there is none) until it succeeds or fails on the true present
// state. The first state is the mirror's, which may be a moment old: certain is false then, and an error counts
// only if the store confirms that state. A lost race (*store.Conflict) brings the next state with it.
func (r *Resource) race(ctx context.Context, namespace, name string, verb kind.Verb, attempt func(present *Item, certain bool) error) error {
	if err := r.live(); err != nil {
		return err
	}
	key := r.key(namespace, name)
	present, certain := r.latest(key), false
	for range racesMax {
		if present == nil && !certain {
			var err error
			if present, err = r.present(ctx, key); err != nil {
				return storeError(err, r.gr(), verb)
			}
			certain = true
		}
		err := attempt(present, certain)
		var lost *store.Conflict
		switch {
		case err == nil:
			return nil
		case errors.As(err, &lost):
			if present, err = r.readPresent(lost.Present); err != nil {
				return err
			}
			certain = true
		case certain || ctx.Err() != nil || isWriteError(err):
			return r.raceError(err, verb)
		default:
			newer, readErr := r.present(ctx, key)
			if readErr != nil {
				return storeError(readErr, r.gr(), verb)
			}
			if newer != nil && newer.revision == present.revision && !newer.stale {
				if !errors.Is(err, errStale) {
					return r.raceError(err, verb)
				}
				newer = present // keep what has been decoded
			}
			present, certain = newer, true
		}
	}
	return apierrors.NewConflict(r.gr(), name, errors.New(modified))
}

// raceError makes the store's errors into a client's; all others are made by attempts and pass.
func (r *Resource) raceError(err error, verb kind.Verb) error {
	var fromStore *writeError
	if errors.As(err, &fromStore) {
		return storeError(fromStore.error, r.gr(), verb)
	}
	return err
}

// writeError marks an error as the store's.
type writeError struct{ error }

func (e *writeError) Unwrap() error { return e.error }

func isWriteError(err error) bool {
	var e *writeError
	return errors.As(err, &e)
}

// latest is what this process knows of a key without asking: the mirror's item, or its own newer write.
func (r *Resource) latest(key string) *Item {
	i := r.table.get(key)
	if own := r.reg.outstanding.latest(key); own != nil && own.layout == r.table.layout && (i == nil || own.revision > i.revision) {
		return own
	}
	return i
}

// present reads the store; nil if there is no such object.
func (r *Resource) present(ctx context.Context, key string) (*Item, error) {
	e, _, err := r.reg.store.Get(ctx, key, 0)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, nil
	case err != nil && e.Sealed != nil:
		return nil, unreadableObject(key, unreadable{err: e.Sealed, sealed: true})
	case err != nil:
		return nil, err
	}
	return r.readPresent(&e)
}

func (r *Resource) readPresent(e *store.Entry) (*Item, error) {
	if e == nil {
		return nil, nil
	}
	i, bad := r.reg.read(r.table, e)
	if bad != nil {
		return nil, unreadableObject(e.Key, *bad)
	}
	i.stale = e.Stale
	return i, nil
}

// updating is one Update call.
type updating struct {
	r               *Resource
	o               *UpdateOptions
	part            *kind.AnyPart
	change          Change
	namespace, name string
}

// attempt updates the object as it is present. The item is the table's.
func (u *updating) attempt(ctx context.Context, present *Item, certain bool) (i *Item, created bool, err error) {
	r := u.r
	if present == nil {
		if !r.info.CreateOnUpdate || u.part != nil {
			return nil, false, apierrors.NewNotFound(r.gr(), u.name)
		}
		i, err = u.create(ctx)
		return i, true, err
	}
	old, err := r.served(present).Decode()
	if err != nil {
		return nil, false, apierrors.NewInternalError(err)
	}
	if err := u.precondition(old); err != nil {
		return nil, false, err
	}
	next, err := u.change(ctx, old)
	if err != nil {
		return nil, false, err
	}
	if next == old { // nothing to change; next is worked on, old is kept
		next = kind.Copy(old)
	}
	if u.o.Trusted { // it shares parts with the old object, where defaults must not be written
		err = r.makeExact(next, old)
	} else {
		err = r.enter(next, old, u.o.Entered)
	}
	if err != nil {
		return nil, false, err
	}
	if err := u.checkRevision(next, old); err != nil {
		return nil, false, err
	}
	if !u.o.Trusted {
		if err := r.carryOver(next, old, u.part); err != nil {
			return nil, false, err
		}
	}
	ends := r.ends(next, old)
	finish := func(bool) {}
	if u.part == nil && !ends {
		if finish, err = r.reserve(ctx, next, old, u.o.DryRun); err != nil {
			return nil, false, err
		}
	}
	if err := u.judge(ctx, next, old); err != nil {
		finish(false)
		return nil, false, err
	}
	if ends {
		i, err = u.remove(ctx, present, next, old)
	} else {
		i, err = u.write(ctx, present, next, old, certain, finish)
	}
	return i, false, err
}

// judge judges the new object as it is to be stored.
func (u *updating) judge(ctx context.Context, next, old kind.Object) error {
	if !u.o.Trusted {
		if err := u.r.checkUpdate(ctx, next, old, u); err != nil {
			return err
		}
	}
	if u.o.Admit == nil {
		return nil
	}
	return u.o.Admit(ctx, next, old)
}

func (u *updating) precondition(old kind.Object) error {
	if uid := u.o.UID; uid != nil && *uid != old.GetUID() {
		return precondition(u.r.gr(), u.name, "UID", *uid, old.GetUID())
	}
	if v := u.o.ResourceVersion; v != nil && *v != old.GetResourceVersion() {
		return precondition(u.r.gr(), u.name, "ResourceVersion", *v, old.GetResourceVersion())
	}
	return nil
}

// checkRevision compares the resourceVersion that the new object carries.
func (u *updating) checkRevision(next, old kind.Object) error {
	version := next.GetResourceVersion()
	if version == old.GetResourceVersion() {
		return nil
	}
	if version != "" && version != "0" {
		if _, err := strconv.ParseUint(version, 10, 64); err != nil {
			return unspecified(err)
		}
		return apierrors.NewConflict(u.r.gr(), u.name, errors.New(modified))
	}
	if u.r.info.RequireRevision && !u.o.Trusted {
		gk := schema.GroupKind{Group: u.r.gr().Group, Kind: u.r.gr().Resource}
		return bounds.Invalid(gk, u.name, field.ErrorList{
			field.Invalid(metadata.Child("resourceVersion"), 0, "must be specified for an update"),
		})
	}
	next.SetResourceVersion(old.GetResourceVersion()) // an update without condition is one of the present state
	return nil
}

// ends tells that an update was the last thing that a deleted object waited for.
func (r *Resource) ends(next, old kind.Object) bool {
	grace := old.GetDeletionGracePeriodSeconds()
	return old.GetDeletionTimestamp() != nil && (grace == nil || *grace == 0) &&
		len(next.GetFinalizers()) == 0 && r.info.Finalized(next)
}

// remove deletes the object that an update has released. The item is its last state.
func (u *updating) remove(ctx context.Context, present *Item, next, old kind.Object) (*Item, error) {
	r := u.r
	finish, err := r.reserve(ctx, nil, old, u.o.DryRun)
	if err != nil {
		return nil, err
	}
	revision := present.revision
	if !u.o.DryRun {
		if revision, err = r.reg.store.Delete(ctx, present.key, present.revision); err != nil {
			finish(false)
			var lost *store.Conflict
			if !errors.As(err, &lost) || lost.Present != nil {
				return nil, asWriteError(err)
			}
			revision = present.revision // somebody else has removed it
		}
	}
	if err == nil {
		finish(!u.o.DryRun)
	}
	return r.final(present.key, next, revision), nil
}

// final is an item of an object that is not stored (any more).
func (r *Resource) final(key string, o kind.Object, revision int64) *Item {
	_ = canonical.MakeExact(o, canonical.Options{ReplaceInvalid: true}) // it is not stored any more: whatever it holds is shown
	o.SetResourceVersion(strconv.FormatInt(revision, 10))
	i := &Item{layout: r.layout, key: key, revision: revision}
	i.object.Store(&decoded{object: o})
	return i
}

// write stores the new object, if it differs from the present one. It finishes what was reserved.
func (u *updating) write(ctx context.Context, present *Item, next, old kind.Object, certain bool, finish func(bool)) (*Item, error) {
	r := u.r
	i, err := u.encode(present, next, old)
	if err != nil {
		finish(false)
		return nil, apierrors.NewInternalError(err)
	}
	same := bytes.Equal(i.value.Bytes, present.value.Bytes) && !present.stale
	if same || u.o.DryRun {
		finish(false)
	}
	switch {
	case (same || u.o.DryRun) && !certain:
		return nil, errStale // nothing will be written that could prove the state true
	case same:
		return present, nil
	case u.o.DryRun:
		i.setRevision(present.revision)
		return i, nil
	}
	r.reg.outstanding.add(i)
	revision, err := r.reg.store.Update(ctx, present.key, present.revision, i.value.Bytes, r.table.ttl)
	i = r.reg.outstanding.resolve(i, revision)
	finish(err == nil)
	if err != nil {
		return nil, asWriteError(err)
	}
	return i, nil
}

// asWriteError marks the store's error, but leaves a lost race to race.
func asWriteError(err error) error {
	var lost *store.Conflict
	if err == nil || errors.As(err, &lost) {
		return err
	}
	return &writeError{err}
}

// encode makes the new object's item. Managed fields that differ in nothing but times are no change.
func (u *updating) encode(present *Item, next, old kind.Object) (*Item, error) {
	fields := next.GetManagedFields()
	if !onlyTimes(fields, old.GetManagedFields()) {
		return u.r.item(present.key, next)
	}
	next.SetManagedFields(old.GetManagedFields())
	i, err := u.r.item(present.key, next)
	if err != nil || bytes.Equal(i.value.Bytes, present.value.Bytes) {
		return i, err
	}
	next.SetManagedFields(fields)
	return u.r.item(present.key, next)
}

// create makes the object that an update found missing.
func (u *updating) create(ctx context.Context) (*Item, error) {
	r := u.r
	if u.o.UID != nil && *u.o.UID != "" {
		return nil, precondition(r.gr(), u.name, "UID", *u.o.UID, "")
	}
	next, err := u.change(ctx, nil)
	if err != nil {
		return nil, err
	}
	if err := r.enter(next, nil, u.o.Entered); err != nil {
		return nil, err
	}
	if v := next.GetResourceVersion(); v != "" && v != "0" {
		if _, err := strconv.ParseUint(v, 10, 64); err != nil {
			return nil, unspecified(err)
		}
	}
	if err := r.sameNamespace(next, u.namespace); err != nil {
		return nil, err
	}
	r.born(next)
	next.SetResourceVersion("")
	o := CreateOptions{DryRun: u.o.DryRun}
	o.Judge = u.o.Judge
	if u.o.Admit != nil {
		o.Admit = func(ctx context.Context, obj kind.Object) error { return u.o.Admit(ctx, obj, nil) }
	}
	finish, err := r.prepareNew(ctx, next, o)
	if err != nil {
		return nil, err
	}
	i, err := r.writeNew(ctx, next, u.o.DryRun)
	finish(err == nil && !u.o.DryRun)
	return i, err
}
