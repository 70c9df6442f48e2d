package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/bounds"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// DeleteOptions of Delete and DeleteCollection.
type DeleteOptions struct {
	metav1.DeleteOptions
	DryRun bool
	// Admit is the admission of the deletion.
	Admit func(ctx context.Context, old kind.Object) error
}

// Delete removes an object, or marks it for removal: preconditions, grace, finalizers and propagation apply.
// The item is the last (or the marked) state, nil if that could not be read; removed tells that it is gone from the store.
func (r *Resource) Delete(ctx context.Context, namespace, name string, o DeleteOptions) (item *Item, removed bool, err error) {
	if unreadableOnly(&o.DeleteOptions) {
		return nil, true, r.deleteUnreadable(ctx, namespace, name, o)
	}
	err = r.race(ctx, namespace, name, kind.Delete, func(present *Item, certain bool) error {
		if present == nil {
			return apierrors.NewNotFound(r.gr(), name)
		}
		item, removed, err = r.deleteOnce(ctx, present, certain, o)
		return err
	})
	if err != nil {
		return nil, false, err
	}
	return r.served(item), removed, nil
}

// deletion is what a delete does to one state of an object.
type deletion int

const (
	deletePending deletion = iota // nothing: it is being deleted already
	deleteMark                    // the marked object is stored
	deleteRemove                  // it goes from the store
)

// deleteOnce deletes the object as it is present.
func (r *Resource) deleteOnce(ctx context.Context, present *Item, certain bool, o DeleteOptions) (*Item, bool, error) {
	old, err := r.served(present).Decode()
	if err != nil {
		return nil, false, apierrors.NewInternalError(err)
	}
	options := *o.DeleteOptions.DeepCopy()
	if err := r.checkDelete(old, &options); err != nil {
		return nil, false, err
	}
	marked, what := r.mark(old, &options)
	if !certain && (what == deletePending || o.DryRun) {
		return nil, false, errStale // nothing will be written that could prove the state true
	}
	if what == deletePending {
		return present, false, nil
	}
	if o.Admit != nil {
		if err := o.Admit(ctx, old); err != nil {
			return nil, false, err
		}
	}
	if what == deleteMark {
		i, err := r.writeMarked(ctx, present, certain, marked, o.DryRun)
		return i, false, err
	}
	i, err := r.deleteNow(ctx, present, marked, old, o.DryRun)
	return i, err == nil, err
}

// checkDelete judges the options and their preconditions, and makes a negative grace one second.
func (r *Resource) checkDelete(old kind.Object, o *metav1.DeleteOptions) error {
	if errs := validation.ValidateDeleteOptions(o); len(errs) > 0 {
		return bounds.Invalid(schema.GroupKind{Group: metav1.GroupName, Kind: "DeleteOptions"}, "", errs)
	}
	if p := o.Preconditions; p != nil {
		// Upstream names the kind, not the resource, here; except for namespaces, which have a way of their own.
		gk := schema.GroupResource{Group: r.info.GVK.Group, Resource: r.info.GVK.Kind}
		if r.info.IsNamespace {
			gk.Resource = r.info.Plural
		}
		if p.UID != nil && *p.UID != old.GetUID() {
			return apierrors.NewConflict(gk, old.GetName(), fmt.Errorf("the UID in the precondition (%s) does not match the UID in record (%s). "+
				"The object might have been deleted and then recreated", *p.UID, old.GetUID()))
		}
		if p.ResourceVersion != nil && *p.ResourceVersion != old.GetResourceVersion() {
			return apierrors.NewConflict(gk, old.GetName(), fmt.Errorf("the ResourceVersion in the precondition (%s) does not match the ResourceVersion in record (%s). "+
				"The object might have been modified", *p.ResourceVersion, old.GetResourceVersion()))
		}
	}
	if g := o.GracePeriodSeconds; g != nil && *g < 0 {
		one := int64(1)
		o.GracePeriodSeconds = &one
	}
	return nil
}

// mark decides what a delete does, and makes the object as it is then.
func (r *Resource) mark(old kind.Object, o *metav1.DeleteOptions) (marked kind.Object, what deletion) {
	now := r.reg.now()
	if r.info.IsNamespace && old.GetDeletionTimestamp() == nil {
		return r.terminate(old, o, now), deleteMark
	}
	if !r.info.Finalized(old) {
		return old, deletePending
	}
	marked = kind.Copy(old)
	graceful, pending := r.grace(marked, o, now)
	if pending {
		return old, deletePending
	}
	finalizers := r.finalizers(marked, o)
	marked.SetFinalizers(finalizers)
	if graceful {
		if len(finalizers) > 0 || *marked.GetDeletionGracePeriodSeconds() > 0 {
			r.info.Deleting(marked)
			return marked, deleteMark
		}
		return marked, deleteRemove
	}
	if len(finalizers) == 0 {
		return marked, deleteRemove
	}
	if deleted := marked.GetDeletionTimestamp(); deleted == nil || deleted.After(now) {
		if deleted == nil {
			grow(marked)
		}
		setDeleted(marked, now, 0)
	} else {
		setGrace(marked, 0)
	}
	r.info.Deleting(marked)
	return marked, deleteMark
}

// terminate marks a namespace: its content goes first, so a first deletion never removes it.
func (r *Resource) terminate(old kind.Object, o *metav1.DeleteOptions, now time.Time) kind.Object {
	marked := kind.Copy(old)
	deleted := seconds(now)
	marked.SetDeletionTimestamp(&deleted)
	marked.SetFinalizers(r.finalizers(marked, o))
	r.info.Deleting(marked)
	return marked
}

// grace applies graceful deletion. pending tells that the object is being deleted and that nothing changes.
func (r *Resource) grace(o kind.Object, options *metav1.DeleteOptions, now time.Time) (graceful, pending bool) {
	deleted := o.GetDeletionTimestamp()
	if deleted == nil {
		g := r.info.Grace(o, options)
		if !g.Graceful {
			return false, false
		}
		grow(o)
		setDeleted(o, now.Add(time.Duration(g.Seconds)*time.Second), g.Seconds)
		return true, false
	}
	present := o.GetDeletionGracePeriodSeconds()
	if present == nil || *present == 0 {
		return false, false // whatever it waited for is over
	}
	if options.GracePeriodSeconds == nil || *options.GracePeriodSeconds >= *present {
		return false, true // grace can only be shortened
	}
	period := *options.GracePeriodSeconds
	at := deleted.Add(time.Duration(period-*present) * time.Second)
	if at.Before(now) {
		at = now
		if period != 0 {
			period = 1 // whoever ends the object is still to see that its time is over
		}
	}
	setDeleted(o, at, period)
	return true, false
}

func setDeleted(o kind.Object, at time.Time, grace int64) {
	t := seconds(at)
	o.SetDeletionTimestamp(&t)
	setGrace(o, grace)
}

func setGrace(o kind.Object, grace int64) { o.SetDeletionGracePeriodSeconds(&grace) }

// grow counts the generation of an object whose deletion begins, if it is counted.
func grow(o kind.Object) {
	if g := o.GetGeneration(); g > 0 {
		o.SetGeneration(g + 1)
	}
}

// finalizers are the object's, with those of the garbage collector as the propagation policy asks.
func (r *Resource) finalizers(o kind.Object, options *metav1.DeleteOptions) []string {
	present := o.GetFinalizers()
	if r.info.TTL > 0 {
		return present // what expires by itself is not collected
	}
	policy := r.propagation(present, options)
	others := slices.DeleteFunc(slices.Clone(present), func(f string) bool {
		return f == metav1.FinalizerOrphanDependents || f == metav1.FinalizerDeleteDependents
	})
	want := others
	switch policy {
	case metav1.DeletePropagationOrphan:
		want = append(want, metav1.FinalizerOrphanDependents)
	case metav1.DeletePropagationForeground:
		want = append(want, metav1.FinalizerDeleteDependents)
	}
	if len(want) == len(present) && !slices.ContainsFunc(want, func(f string) bool { return !slices.Contains(present, f) }) {
		return present
	}
	return want
}

// propagation is what becomes of dependents: as the options say, else as a finalizer says, else as the kind says.
func (r *Resource) propagation(finalizers []string, o *metav1.DeleteOptions) metav1.DeletionPropagation {
	if orphan := o.OrphanDependents; orphan != nil { //nolint:staticcheck // old clients send it
		if *orphan {
			return metav1.DeletePropagationOrphan
		}
		return metav1.DeletePropagationBackground
	}
	if o.PropagationPolicy != nil {
		return *o.PropagationPolicy
	}
	for _, f := range finalizers {
		switch f {
		case metav1.FinalizerOrphanDependents:
			return metav1.DeletePropagationOrphan
		case metav1.FinalizerDeleteDependents:
			return metav1.DeletePropagationForeground
		}
	}
	if r.info.OrphanByDefault {
		return metav1.DeletePropagationOrphan
	}
	return metav1.DeletePropagationBackground
}

// writeMarked stores the marked object, unless it was marked so before.
func (r *Resource) writeMarked(ctx context.Context, present *Item, certain bool, marked kind.Object, dryRun bool) (*Item, error) {
	i, err := r.item(present.key, marked)
	switch {
	case err != nil:
		return nil, apierrors.NewInternalError(err)
	case string(i.value.Bytes) == string(present.value.Bytes) && !present.stale && !certain:
		return nil, errStale
	case string(i.value.Bytes) == string(present.value.Bytes) && !present.stale:
		return present, nil
	case dryRun:
		i.setRevision(present.revision)
		return i, nil
	}
	r.reg.outstanding.add(i)
	revision, err := r.reg.store.Update(ctx, present.key, present.revision, i.value.Bytes, r.table.ttl)
	return r.reg.outstanding.resolve(i, revision), asWriteError(err)
}

// deleteNow removes the object from the store. marked is its last state.
func (r *Resource) deleteNow(ctx context.Context, present *Item, marked, old kind.Object, dryRun bool) (*Item, error) {
	finish, err := r.reserve(ctx, nil, old, dryRun)
	if err != nil {
		return nil, err
	}
	if dryRun {
		finish(false)
		return r.final(present.key, marked, present.revision), nil
	}
	revision, err := r.reg.store.Delete(ctx, present.key, present.revision)
	finish(err == nil)
	var lost *store.Conflict
	if errors.As(err, &lost) && lost.Present == nil && marked.GetDeletionTimestamp() != nil {
		// Another part that ends objects was faster: that is what was asked for.
		return r.final(present.key, marked, present.revision), nil
	}
	if err != nil {
		return nil, asWriteError(err)
	}
	return r.final(present.key, marked, revision), nil
}
