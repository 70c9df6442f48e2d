// Package kind says what a kind is: one value that states everything that the server knows of a resource.
//
// A kind's file, in its group's folder, calls Define with what is special about the kind: a Resource, which is said without
// its Go type, and Rules, which work on objects of that type. Kind is the result, for code that treats all kinds alike.
package kind

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Kind is one kind, for code that treats all kinds alike; Define makes it. Optional functions are never nil.
// Every function expects objects of the kind's own Go type and panics on others.
type Kind struct {
	// Resource has all that was left out filled in.
	Resource
	GVK      schema.GroupVersionKind
	ListKind string
	// Form of the objects.
	Form Form
	// StoragePrefix of keys, with slashes at both ends ("/registry/pods/").
	StoragePrefix string
	// Deprecation is the warning that every request of this kind gets; empty for nearly all.
	Deprecation string

	New     func() Object
	NewList func() runtime.Object

	Default func(Object)
	// Defaults tells whether Default does anything.
	Defaults       bool
	Requested      func(Object, Requester)
	PrepareCreate  func(Object)
	PrepareUpdate  func(next, old Object)
	Validate       func(Object) field.ErrorList
	ValidateUpdate func(next, old Object) field.ErrorList
	Warnings       func(next, old Object) []string
	SpecChanged    func(next, old Object) bool
	Grace          func(Object, *metav1.DeleteOptions) Grace
	Finalized      func(Object) bool
	Deleting       func(Object)

	Fields  []AnyField
	Columns []AnyColumn
	// RowConditions of a table's row.
	RowConditions func(Object) []metav1.TableRowCondition
	// Parts holds status first, then the others.
	Parts []AnyPart
	Scale *AnyScale
}

// AnyField is a Field without its Go type.
type AnyField struct {
	Name    string
	Value   func(Object) string
	Indexed bool
}

// AnyColumn is a Column without its Go type.
type AnyColumn struct {
	metav1.TableColumnDefinition
	Cell func(Object, time.Time) any
}

// AnyPart is a Part without its Go type.
type AnyPart struct {
	Name           string
	Verbs          []Verb
	Prepare        func(next, old Object)
	ValidateUpdate func(next, old Object) field.ErrorList
	Warnings       func(next, old Object) []string
}

// AnyScale is a Scale without its Go type.
type AnyScale struct {
	SpecReplicas   func(Object) int32
	SetReplicas    func(Object, int32)
	StatusReplicas func(Object) int32
	Selector       func(Object) string
}

// GVR is the kind's group, version and resource.
func (k *Kind) GVR() schema.GroupVersionResource {
	return k.GVK.GroupVersion().WithResource(k.Plural)
}

// GR is the kind's group and resource.
func (k *Kind) GR() schema.GroupResource { return k.GVR().GroupResource() }

// Stored tells whether the registry keeps objects of this kind under keys of its own.
func (k *Kind) Stored() bool { return k.StoragePrefix != "" && k.Via == nil }

// Key is the store key of an object; namespace is ignored for cluster-scoped kinds.
func (k *Kind) Key(namespace, name string) string {
	if k.Namespaced {
		return k.StoragePrefix + namespace + "/" + name
	}
	return k.StoragePrefix + name
}

// Part returns the whole-object subresource of that name.
func (k *Kind) Part(name string) (*AnyPart, bool) {
	for n := range k.Parts {
		if k.Parts[n].Name == name {
			return &k.Parts[n], true
		}
	}
	return nil, false
}

// Serves tells whether the main resource has the verb.
func (k *Kind) Serves(verb Verb) bool { return slices.Contains(k.Verbs, verb) }
