package garbage

import (
	"context"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
)

// The graph of owners and dependents, as the views show it.

// seen finds an owner in the views of a moment.
func seen(kinds *reconcile.Moment, o metav1.Object, ref metav1.OwnerReference) (*kind.Kind, kind.Object, bool) {
	k := kindOf(kinds, ref)
	if k == nil {
		return nil, nil, false
	}
	owner, ok := k.Get(ownerNamespace(k.Kind, o), ref.Name)
	if !ok || owner.GetUID() != ref.UID {
		return nil, nil, false
	}
	return k.Kind, owner, true
}

// kindOf is the kind that a reference names, nil if the server did not keep such at the moment.
func kindOf(kinds *reconcile.Moment, ref metav1.OwnerReference) *reconcile.KindView {
	return kinds.Named(schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind))
}

func ownerNamespace(k *kind.Kind, o metav1.Object) string {
	if k.Namespaced {
		return o.GetNamespace()
	}
	return ""
}

// eachDependent calls f for the objects that name the uid as an owner, until f returns false.
func eachDependent(kinds *reconcile.Moment, uid types.UID, f func(*kind.Kind, kind.Object) bool) {
	for _, k := range kinds.All() {
		if k.Keys == nil {
			continue
		}
		for o := range k.OwnedBy(uid) {
			if !f(k.Kind, o) {
				return
			}
		}
	}
}

// eachHeld is eachDependent without those that an owner in a namespace cannot hold, because they are elsewhere: anybody may write a
// uid into a reference, and must not be able to keep another's objects from going.
func eachHeld(kinds *reconcile.Moment, owner metav1.Object, f func(*kind.Kind, kind.Object)) {
	eachDependent(kinds, owner.GetUID(), func(k *kind.Kind, o kind.Object) bool {
		if owner.GetNamespace() == "" || owner.GetNamespace() == o.GetNamespace() {
			f(k, o)
		}
		return true
	})
}

func dependents(kinds *reconcile.Moment, owner metav1.Object) []dependent {
	var found []dependent
	eachHeld(kinds, owner, func(_ *kind.Kind, o kind.Object) {
		found = append(found, dependent{object: o, blocks: slices.ContainsFunc(o.GetOwnerReferences(), func(ref metav1.OwnerReference) bool {
			return ref.UID == owner.GetUID() && blocks(ref) // one object may name an owner twice, in two versions
		})})
	})
	return found
}

// allDependents are an owner's dependents. The error says that there may be more: an owner that let go of them unseen would leave them to
// be collected later, although it may have been told that they stay. Whether the views are whole is asked before they are looked at: what
// they do not show then they may show by now. Whether there are others is asked afterwards: see Moment.Complete.
func allDependents(kinds *reconcile.Moment, owner metav1.Object) (found []dependent, err error) {
	err = whole(kinds, owner.GetNamespace())
	found = dependents(kinds, owner)
	if err == nil {
		err = complete(kinds, owner)
	}
	return found, err
}

// catchUp waits until the views of a moment show all that was there when it began: those of a remote server may be behind each other, and a
// dependent that is older than its owner's deletion must not be missed.
func (c *controller) catchUp(ctx context.Context, kinds *reconcile.Moment) error {
	var held []*kind.Kind
	for _, k := range kinds.All() {
		if k.Keys != nil {
			held = append(held, k.Kind)
		}
	}
	if err := c.transport.Fresh(ctx, held...); err != nil {
		return fmt.Errorf("dependents may be missing: %w", err)
	}
	return nil
}

// whole fails while the views may lack objects that an owner in a namespace can hold.
func whole(kinds *reconcile.Moment, namespace string) error {
	for _, k := range kinds.All() {
		if k.Keys == nil || namespace != "" && !k.Kind.Namespaced {
			continue // such an owner holds nothing outside of its namespace
		}
		if err := k.Whole(namespace); err != nil {
			return fmt.Errorf("dependents may be missing: %w", err)
		}
	}
	return nil
}

// complete fails while an owner may have dependents of kinds that are not among those that were looked at.
func complete(kinds *reconcile.Moment, owner metav1.Object) error {
	if err := kinds.Complete(owner.GetNamespace(), owner.GetUID()); err != nil {
		return fmt.Errorf("dependents may be missing: %w", err)
	}
	return nil
}
