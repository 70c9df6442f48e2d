// Package kind says what a kind is: one value that states everything that the server knows of a resource.
//
// A kind's file, in its group's folder, calls Define with what is special about the kind: a Resource, which is said without
// its Go type, and Rules, which work on objects of that type. Info is the result, for code that treats all kinds alike.
package kind

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Info is a kind as all code sees it that treats kinds alike. Optional functions are never nil.
// Every function expects objects of the kind's own Go type and panics on others.
type Info struct {
	// Resource has all that was left out filled in.
	Resource
	GVK      schema.GroupVersionKind
	ListKind string
	// StoragePrefix of keys, with slashes at both ends ("/registry/pods/").
	StoragePrefix string
	// Deprecation is the warning that every request of this kind gets; empty for nearly all.
	Deprecation string

	New     func() Object
	NewList func() runtime.Object

	Default        func(Object)
	PrepareCreate  func(Object)
	PrepareUpdate  func(new, old Object)
	Validate       func(Object) field.ErrorList
	ValidateUpdate func(new, old Object) field.ErrorList
	Warnings       func(new, old Object) []string
	SpecChanged    func(new, old Object) bool
	Grace          func(Object, *metav1.DeleteOptions) Grace
	Finalized      func(Object) bool
	Deleting       func(Object)

	Fields  []InfoField
	Columns []InfoColumn
	// RowConditions of a table's row.
	RowConditions func(Object) []metav1.TableRowCondition
	// Parts holds status first, then the others.
	Parts []InfoPart
	Scale *InfoScale
}

// InfoField is a Field without its Go type.
type InfoField struct {
	Name    string
	Value   func(Object) string
	Indexed bool
}

// InfoColumn is a Column without its Go type.
type InfoColumn struct {
	metav1.TableColumnDefinition
	Cell func(Object, time.Time) any
}

// InfoPart is a Part without its Go type.
type InfoPart struct {
	Name           string
	Verbs          []Verb
	Prepare        func(new, old Object)
	ValidateUpdate func(new, old Object) field.ErrorList
	Warnings       func(new, old Object) []string
}

// InfoScale is a Scale without its Go type.
type InfoScale struct {
	SpecReplicas   func(Object) int32
	SetReplicas    func(Object, int32)
	StatusReplicas func(Object) int32
	Selector       func(Object) string
}

// GVR is the kind's group, version and resource.
func (i *Info) GVR() schema.GroupVersionResource {
	return i.GVK.GroupVersion().WithResource(i.Plural)
}

// GR is the kind's group and resource.
func (i *Info) GR() schema.GroupResource { return i.GVR().GroupResource() }

// Stored tells whether the registry keeps objects of this kind under keys of its own.
func (i *Info) Stored() bool { return i.StoragePrefix != "" && i.Via == nil }

// Key is the store key of an object; namespace is ignored for cluster-scoped kinds.
func (i *Info) Key(namespace, name string) string {
	if i.Namespaced {
		return i.StoragePrefix + namespace + "/" + name
	}
	return i.StoragePrefix + name
}

// Part returns the whole-object subresource of that name.
func (i *Info) Part(name string) (*InfoPart, bool) {
	for n := range i.Parts {
		if i.Parts[n].Name == name {
			return &i.Parts[n], true
		}
	}
	return nil, false
}

// Serves tells whether the main resource has the verb.
func (i *Info) Serves(verb Verb) bool { return slices.Contains(i.Verbs, verb) }
