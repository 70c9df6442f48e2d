// Package coordination defines the kinds of coordination.k8s.io.
package coordination

import (
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// Lease is the kind of leases. Every node renews one every few seconds: its rules must stay cheap.
var Lease = kind.Kind[*coordinationv1.Lease]{
	Group: "coordination.k8s.io", Version: "v1", Kind: "Lease", Plural: "leases", Namespaced: true,
	New:             func() *coordinationv1.Lease { return &coordinationv1.Lease{} },
	NewList:         func() runtime.Object { return &coordinationv1.LeaseList{} },
	ValidName:       apivalidation.NameIsDNSSubdomain,
	PrepareCreate:   dropCoordination,
	PrepareUpdate:   func(new, old *coordinationv1.Lease) { keepCoordination(new, old) },
	Validate:        validateLease,
	ValidateUpdate:  func(new, _ *coordinationv1.Lease) field.ErrorList { return validateLease(new) },
	CreateOnUpdate:  true,
	RequireRevision: true,
	Columns: []kind.Column[*coordinationv1.Lease]{
		kind.NameColumn[*coordinationv1.Lease](),
		{Name: "Holder", Type: "string", Description: kind.Doc(coordinationv1.LeaseSpec{}, "holderIdentity"),
			Cell: func(l *coordinationv1.Lease, _ time.Time) any {
				if l.Spec.HolderIdentity == nil {
					return ""
				}
				return *l.Spec.HolderIdentity
			}},
		kind.AgeColumn[*coordinationv1.Lease](),
	},
}

// dropCoordination takes out the fields of coordinated leader election, which nothing here acts on.
func dropCoordination(l *coordinationv1.Lease) {
	l.Spec.Strategy, l.Spec.PreferredHolder = nil, nil
}

// keepCoordination drops the same fields from an update unless the stored lease already has them.
func keepCoordination(new, old *coordinationv1.Lease) {
	if old == nil || old.Spec.Strategy == nil && old.Spec.PreferredHolder == nil {
		dropCoordination(new)
	}
}

func validateLease(l *coordinationv1.Lease) field.ErrorList {
	var errs field.ErrorList
	if s := l.Spec.LeaseDurationSeconds; s != nil && *s <= 0 {
		errs = append(errs, field.Invalid(field.NewPath("spec", "leaseDurationSeconds"), *s, "must be greater than 0"))
	}
	if n := l.Spec.LeaseTransitions; n != nil && *n < 0 {
		errs = append(errs, field.Invalid(field.NewPath("spec", "leaseTransitions"), *n, "must be greater than or equal to 0"))
	}
	return errs
}
