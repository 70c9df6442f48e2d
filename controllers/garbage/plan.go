package garbage

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// ownerState is what is known of one owner that an object names.
type ownerState int

const (
	solid   ownerState = iota // exists, and holds the object
	waiting                   // is being deleted, and waits for its dependents to go first
	absent                    // does not exist (any more)
	invalid                   // cannot own the object: it is in a namespace and the object is not
)

// verb is what is to be done with an object.
type verb int

const (
	nothing verb = iota
	// keep takes the owners in drop off the object, which others hold.
	keep
	// unblock lets the owners go before the object, which waits for its own dependents in a circle with them.
	unblock
	// remove deletes the object with the propagation policy.
	remove
	// release takes a finalizer off the object: it has waited for its dependents long enough.
	release
	// await looks at the object's dependents, which must go first.
	await
	// orphan takes the object off all its dependents, and then its finalizer off.
	orphan
)

// plan is the decision about one object.
type plan struct {
	verb       verb
	drop       []types.UID
	policy     metav1.DeletionPropagation
	foreground bool // unblock: the object is then deleted with the Foreground policy
}

// dependent is an object that names the planned one as an owner.
type dependent struct {
	object kind.Object
	// blocks tells that the owner may not go before it.
	blocks bool
}

// makePlan decides about an object, whose owners are in the given states (in the order of its ownerReferences).
func makePlan(o kind.Object, owners []ownerState, dependents func() []dependent) plan {
	deleting := o.GetDeletionTimestamp() != nil
	switch {
	case deleting && hasFinalizer(o, metav1.FinalizerOrphanDependents):
		return plan{verb: orphan}
	case deleting && hasFinalizer(o, metav1.FinalizerDeleteDependents):
		for _, d := range dependents() {
			if d.blocks {
				return plan{verb: await}
			}
		}
		return plan{verb: release}
	case deleting || len(owners) == 0:
		return plan{}
	}
	return judgeOwners(o, owners, dependents)
}

func judgeOwners(o kind.Object, owners []ownerState, dependents func() []dependent) plan {
	var drop []types.UID
	var isSolid, isWaiting bool
	for i, ref := range o.GetOwnerReferences() {
		switch owners[i] {
		case invalid:
			return plan{} // upstream leaves such an object alone, with all that it names
		case solid:
			isSolid = true
		case waiting:
			isWaiting = true
			drop = append(drop, ref.UID)
		case absent:
			drop = append(drop, ref.UID)
		}
	}
	switch {
	case isSolid && len(drop) == 0:
		return plan{}
	case isSolid:
		return plan{verb: keep, drop: drop}
	case isWaiting:
		children := dependents()
		if len(children) == 0 {
			return plan{verb: remove, policy: policyOf(o)}
		}
		for _, d := range children {
			if d.object.GetDeletionTimestamp() != nil && hasFinalizer(d.object, metav1.FinalizerDeleteDependents) {
				return plan{verb: unblock, foreground: true}
			}
		}
		return plan{verb: remove, policy: metav1.DeletePropagationForeground}
	}
	return plan{verb: remove, policy: policyOf(o)}
}

// policyOf keeps to the finalizers that someone gave the object: they say how it wants to go.
func policyOf(o kind.Object) metav1.DeletionPropagation {
	switch {
	case hasFinalizer(o, metav1.FinalizerOrphanDependents):
		return metav1.DeletePropagationOrphan
	case hasFinalizer(o, metav1.FinalizerDeleteDependents):
		return metav1.DeletePropagationForeground
	}
	return metav1.DeletePropagationBackground
}

func hasFinalizer(o metav1.Object, f string) bool { return slices.Contains(o.GetFinalizers(), f) }

// stateOf is the state of an owner that exists.
func stateOf(owner metav1.Object) ownerState {
	if owner.GetDeletionTimestamp() != nil && hasFinalizer(owner, metav1.FinalizerDeleteDependents) {
		return waiting
	}
	return solid
}
