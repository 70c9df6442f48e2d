package kind

import (
	"reflect"
	"slices"
	"strings"
	"time"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// groupsInKeys are the groups whose name is part of the storage key.
var groupsInKeys = map[string]bool{
	"apiextensions.k8s.io":   true,
	"apiregistration.k8s.io": true,
}

// Define makes a kind of what its file says, and fills in what it leaves out. The Go type is *E.
func Define[E any, P object[E]](r Resource, rules Rules[E]) *Kind {
	if r.Kind == "" {
		r.Kind = reflect.TypeFor[E]().Name()
	}
	if r.Singular == "" {
		r.Singular = strings.ToLower(r.Kind)
	}
	if r.Verbs == nil {
		r.Verbs = StoredVerbs
	}
	if r.StorageVersion.Empty() {
		r.StorageVersion = r.GroupVersion
	}
	if r.ValidName == nil {
		r.ValidName = apivalidation.NameIsDNSSubdomain
	}
	if r.StoragePath == "" {
		r.StoragePath = r.Plural
		if formOf[E]() == Tree && r.GroupVersion.Group != "" || groupsInKeys[r.GroupVersion.Group] {
			r.StoragePath = r.GroupVersion.Group + "/" + r.Plural
		}
	}
	k := &Kind{Resource: r, GVK: r.GroupVersion.WithKind(r.Kind), ListKind: r.Kind + "List",
		New: func() Object { return P(new(E)) }, NewList: r.List}
	if k.NewList == nil {
		k.NewList = func() runtime.Object { return nil }
	}
	if k.Serves(Get) && !r.Computed {
		k.StoragePrefix = "/registry/" + r.StoragePath + "/"
	}
	k.Form = formOf[E]()
	k.Deprecation = deprecation(k.New(), k.GVK)
	eraseRules[E, P](k, &rules)
	eraseShape[E, P](k, &rules)
	return k
}

// of is an object's own type.
func of[E any, P object[E]](o Object) *E { return o.(P) }

func eraseRules[E any, P object[E]](k *Kind, r *Rules[E]) {
	k.Default, k.Defaults = one[E, P](r.Default), r.Default != nil
	k.Deleting = one[E, P](r.Deleting)
	k.Warnings = withOld[E, P](r.Warnings)
	k.Requested = func(Object, Requester) {}
	if f := r.Requested; f != nil {
		k.Requested = func(o Object, by Requester) { f(of[E, P](o), by) }
	}
	h, prepare := r.Halves, r.Prepare
	k.PrepareCreate = func(o Object) {
		if h.clearStatus != nil {
			h.clearStatus(of[E, P](o))
		}
		if prepare != nil {
			prepare(of[E, P](o), nil)
		}
	}
	k.PrepareUpdate = two[E, P](h.keepStatus, prepare)
	k.Validate = judgeNew[E, P](r.Validate, k.FreeFinalizers)
	k.ValidateUpdate = judge[E, P](r.Validate)
	if r.ValidateUpdate != nil {
		k.ValidateUpdate = judge[E, P](r.ValidateUpdate)
	}
	changed := r.SpecChanged
	if changed == nil {
		changed = specChanges[E](h.keepStatus != nil)
	}
	k.SpecChanged = func(next, old Object) bool { return changed != nil && changed(of[E, P](next), of[E, P](old)) }
	k.Grace = func(Object, *metav1.DeleteOptions) Grace { return Grace{} }
	if f := r.Grace; f != nil {
		k.Grace = func(o Object, d *metav1.DeleteOptions) Grace { return f(of[E, P](o), d) }
	}
	k.Finalized = func(Object) bool { return true }
	if f := r.Finalized; f != nil {
		k.Finalized = func(o Object) bool { return f(of[E, P](o)) }
	}
}

func eraseShape[E any, P object[E]](k *Kind, r *Rules[E]) {
	for _, f := range r.Fields {
		k.Fields = append(k.Fields, AnyField{Name: f.Name, Indexed: f.Indexed, Value: func(o Object) string { return f.Value(of[E, P](o)) }})
	}
	columns := r.Columns
	if columns == nil {
		columns = plainColumns[E, P]()
	}
	for _, c := range columns {
		k.Columns = append(k.Columns, AnyColumn{
			TableColumnDefinition: metav1.TableColumnDefinition{Name: c.Name, Type: c.Type, Format: c.Format, Description: c.Description, Priority: c.Priority},
			Cell:                  func(o Object, now time.Time) any { return c.Cell(of[E, P](o), now) },
		})
	}
	k.RowConditions = func(Object) []metav1.TableRowCondition { return nil }
	if f := r.RowConditions; f != nil {
		k.RowConditions = func(o Object) []metav1.TableRowCondition { return f(of[E, P](o)) }
	}
	status := r.Status
	if status == nil && r.Halves.keepSpec != nil {
		status = &Part[E]{}
	}
	if status != nil {
		part := erasePart[E, P](status, r.Halves.keepSpec)
		part.Name = "status"
		k.Parts = append(k.Parts, part)
	}
	for n := range r.Parts {
		k.Parts = append(k.Parts, erasePart[E, P](&r.Parts[n], nil))
	}
	if s := r.Scale; s != nil {
		k.Scale = &AnyScale{
			SpecReplicas: func(o Object) int32 {
				if n := *s.Replicas(of[E, P](o)); n != nil {
					return *n
				}
				return 0
			},
			SetReplicas:    func(o Object, n int32) { *s.Replicas(of[E, P](o)) = &n },
			StatusReplicas: func(o Object) int32 { return s.StatusReplicas(of[E, P](o)) },
			Selector:       func(o Object) string { return s.Selector(of[E, P](o)) },
		}
	}
}

// erasePart has keep run before the part's own Prepare.
func erasePart[E any, P object[E]](p *Part[E], keep func(next, old *E)) AnyPart {
	part := AnyPart{Name: p.Name, Verbs: p.Verbs, Prepare: two[E, P](keep, p.Prepare),
		ValidateUpdate: judge[E, P](p.ValidateUpdate), Warnings: withOld[E, P](p.Warnings)}
	if part.Verbs == nil {
		part.Verbs = []Verb{Get, Patch, Update}
	}
	return part
}

// standardFinalizers are those that need no domain.
var standardFinalizers = []string{"kubernetes", metav1.FinalizerOrphanDependents, metav1.FinalizerDeleteDependents}

// judgeNew adds to a kind's own rules that a new object's finalizers carry the domain of who acts on them.
func judgeNew[E any, P object[E]](f func(next, old *E) field.ErrorList, freeFinalizers bool) func(Object) field.ErrorList {
	return func(o Object) field.ErrorList {
		var ps Problems
		if f != nil {
			ps.List = f(of[E, P](o), nil)
		}
		if freeFinalizers {
			return ps.List
		}
		for n, name := range o.GetFinalizers() {
			if !strings.Contains(name, "/") && !slices.Contains(standardFinalizers, name) {
				ps.Invalid(field.NewPath("metadata", "finalizers").Index(n), "", name,
					"name is neither a standard finalizer name nor is it fully qualified")
			}
		}
		return ps.List
	}
}

func one[E any, P object[E]](f func(*E)) func(Object) {
	if f == nil {
		return func(Object) {}
	}
	return func(o Object) { f(of[E, P](o)) }
}

// two runs first, then second; either may be nil.
func two[E any, P object[E]](first, second func(next, old *E)) func(next, old Object) {
	return func(next, old Object) {
		after, before := of[E, P](next), of[E, P](old)
		if first != nil {
			first(after, before)
		}
		if second != nil {
			second(after, before)
		}
	}
}

func judge[E any, P object[E]](f func(next, old *E) field.ErrorList) func(next, old Object) field.ErrorList {
	if f == nil {
		return func(next, old Object) field.ErrorList { return nil }
	}
	return func(next, old Object) field.ErrorList { return f(of[E, P](next), of[E, P](old)) }
}

// withOld passes a nil old object on as nil.
func withOld[E any, P object[E]](f func(next, old *E) []string) func(next, old Object) []string {
	if f == nil {
		return func(next, old Object) []string { return nil }
	}
	return func(next, old Object) []string {
		if old == nil {
			return f(of[E, P](next), nil)
		}
		return f(of[E, P](next), of[E, P](old))
	}
}
