// Package coordination defines the kinds of coordination.k8s.io.
package coordination

import (
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// Lease is the kind of leases. Every node renews one every few seconds: its rules must stay cheap.
var Lease = kind.Define(kind.Resource{
	GroupVersion: coordinationv1.SchemeGroupVersion, Plural: "leases", Namespaced: true,
	List: kind.ListOf[coordinationv1.LeaseList], CreateOnUpdate: true, RequireRevision: true,
}, kind.Rules[coordinationv1.Lease]{
	Prepare:  dropCoordination,
	Validate: validateLease,
	Columns: kind.Columns([]kind.Column[coordinationv1.Lease]{
		kind.Text("Holder", kind.Doc(coordinationv1.LeaseSpec{}, "holderIdentity"), func(l *coordinationv1.Lease) string {
			if l.Spec.HolderIdentity == nil {
				return ""
			}
			return *l.Spec.HolderIdentity
		}),
	}),
})

// dropCoordination takes out the fields of coordinated leader election, which nothing here acts on, unless the stored lease
// already has them.
func dropCoordination(next, old *coordinationv1.Lease) {
	if old == nil || old.Spec.Strategy == nil && old.Spec.PreferredHolder == nil {
		next.Spec.Strategy, next.Spec.PreferredHolder = nil, nil
	}
}

func validateLease(l, _ *coordinationv1.Lease) field.ErrorList {
	var ps kind.Problems
	if s := l.Spec.LeaseDurationSeconds; s != nil && *s <= 0 {
		ps.Invalid(field.NewPath("spec", "leaseDurationSeconds"), "", *s, "must be greater than 0")
	}
	if n := l.Spec.LeaseTransitions; n != nil && *n < 0 {
		ps.Invalid(field.NewPath("spec", "leaseTransitions"), "", *n, "must be greater than or equal to 0")
	}
	return ps.List
}
