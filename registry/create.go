package registry

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// generateAttempts is how many generated names are tried.
const generateAttempts = 8

// CreateOptions of Create.
type CreateOptions struct {
	DryRun bool
	// Entered: the object has passed Enter, and only the server itself has changed it since.
	Entered bool
	// Judge tells all that is wrong with the object, given what its kind has found; nil adds nothing. old is nil.
	Judge Judge
	// Admit is the validating admission; it sees the object as it would be stored.
	Admit func(ctx context.Context, obj kind.Object) error
}

// Judge tells all that is wrong with an object, given what its kind has found: rules that ask about more than the object. old is nil on create.
type Judge func(ctx context.Context, next, old kind.Object, found field.ErrorList) field.ErrorList

// Create stores a new object, which must be decoded, defaulted and admitted by mutation; it is changed in place
// (uid, creationTimestamp, generateName, …) and belongs to the registry afterwards.
// Kind.PrepareCreate, metadata checks and Kind.Validate run here.
func (r *Resource) Create(ctx context.Context, obj kind.Object, o CreateOptions) (*Item, error) {
	if err := r.enter(obj, nil, o.Entered); err != nil {
		return nil, err
	}
	generated := obj.GetName() == "" && obj.GetGenerateName() != ""
	for attempt := 1; ; attempt++ {
		if generated {
			obj.SetName(generateName(obj.GetGenerateName()))
		}
		i, err := r.create(ctx, obj, o)
		if err == nil || !generated || attempt == generateAttempts || !apierrors.IsAlreadyExists(err) {
			return i, err
		}
	}
}

// create makes one attempt under one name.
func (r *Resource) create(ctx context.Context, obj kind.Object, o CreateOptions) (*Item, error) {
	if err := r.live(); err != nil {
		return nil, err
	}
	r.born(obj)
	finish, err := r.prepareNew(ctx, obj, o)
	if err != nil {
		return nil, err
	}
	i, err := r.writeNew(ctx, obj, o.DryRun)
	finish(err == nil && !o.DryRun)
	if err != nil {
		return nil, r.createError(err, obj)
	}
	return r.served(i), nil
}

// prepareNew makes a new object ready to be stored. finish must be called if there is no error.
func (r *Resource) prepareNew(ctx context.Context, obj kind.Object, o CreateOptions) (finish func(bool), err error) {
	// Kinds that do not count generations keep what the client sent, which the check of metadata judges.
	if r.info.HasGeneration {
		obj.SetGeneration(1)
	}
	r.info.PrepareCreate(obj)
	if r.info.HasGeneration {
		obj.SetGeneration(1)
	}
	if finish, err = r.reserve(ctx, obj, nil, o.DryRun); err != nil {
		return nil, err
	}
	if err := r.judgeNew(ctx, obj, o); err != nil {
		finish(false)
		return nil, err
	}
	return finish, nil
}

// judgeNew judges a new object as it is to be stored.
func (r *Resource) judgeNew(ctx context.Context, obj kind.Object, o CreateOptions) error {
	if err := r.checkNew(ctx, obj, o.Judge); err != nil {
		return err
	}
	if o.Admit != nil {
		if err := o.Admit(ctx, obj); err != nil {
			return err
		}
	}
	// What is no revision is as good as none.
	if v, err := strconv.ParseInt(obj.GetResourceVersion(), 10, 64); err != nil || v <= 0 {
		obj.SetResourceVersion("")
	} else if !o.DryRun { // a dry run shows it again, as upstream's
		return unspecified(errors.New("resourceVersion should not be set on objects to be created"))
	}
	return nil
}

// reserve asks the resource's Reserver, if there is one.
func (r *Resource) reserve(ctx context.Context, next, old kind.Object, dryRun bool) (finish func(bool), err error) {
	reserver := r.reg.reservers[r.gr()]
	if reserver == nil {
		return func(bool) {}, nil
	}
	return reserver.Reserve(ctx, next, old, dryRun)
}

// writeNew stores a new object under a key that must be free; if it is not, the error is a *store.Conflict.
func (r *Resource) writeNew(ctx context.Context, obj kind.Object, dryRun bool) (*Item, error) {
	key := r.key(obj.GetNamespace(), obj.GetName())
	version := obj.GetResourceVersion()
	i, err := r.item(key, obj)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	if dryRun {
		if v, err := strconv.ParseInt(version, 10, 64); err == nil {
			i.setRevision(v)
		}
		return i, r.mustBeFree(ctx, key)
	}
	r.reg.outstanding.add(i)
	revision, err := r.reg.store.Create(ctx, key, i.value.Bytes, r.table.ttl)
	return r.reg.outstanding.resolve(i, revision), asWriteError(err)
}

// mustBeFree is what creation would answer.
func (r *Resource) mustBeFree(ctx context.Context, key string) error {
	e, _, err := r.reg.store.Get(ctx, key, 0)
	switch {
	case err == nil, e.Sealed != nil:
		return &store.Conflict{Present: &e}
	case errors.Is(err, store.ErrNotFound):
		return nil
	}
	return &writeError{err}
}

// createError is what a client is told whose object was not created.
func (r *Resource) createError(err error, obj kind.Object) error {
	var conflict *store.Conflict
	if !errors.As(err, &conflict) {
		return r.raceError(err, kind.Create)
	}
	exists := apierrors.NewAlreadyExists(r.gr(), obj.GetName())
	if obj.GetGenerateName() != "" {
		exists = apierrors.NewGenerateNameConflict(r.gr(), obj.GetName(), 1)
	}
	if conflict.Present != nil {
		i, bad := r.reg.read(r.table, conflict.Present)
		switch {
		case bad != nil:
			exists.ErrStatus.Message = fmt.Sprintf("%s, and cannot be read: %v", exists.ErrStatus.Message, bad.err)
		case i.Object().GetDeletionTimestamp() != nil:
			exists.ErrStatus.Message = fmt.Sprintf("object is being deleted: %s", exists.ErrStatus.Message)
		}
	}
	return exists
}
