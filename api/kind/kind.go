// Package kind says what a kind is: one value that states everything that the server knows of a resource.
//
// Kind[T] is written by hand, next to the kind's defaults, validation and columns, in its group's folder.
// Info is the same without the type parameter, made by Kind.Info, for code that treats all kinds alike.
package kind

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Kind is the definition of one resource. The zero value of each optional field means "upstream's usual".
type Kind[T Object] struct {
	Group, Version, Kind string
	// Plural is the resource name ("pods"); Singular defaults to the lower-case Kind.
	Plural, Singular       string
	ShortNames, Categories []string
	Namespaced             bool
	// Verbs that are served; nil means all eight of a stored resource. Review kinds serve only "create".
	Verbs []Verb
	// Computed objects are found when they are asked for and kept nowhere.
	Computed bool
	// StoragePath is what follows "/registry/" in keys ("services/specs"). Empty means Plural for core
	// and for the groups of which upstream stores without the group's name.
	StoragePath string
	// StorageVersion is the group/version in the stored envelope; empty means Group/Version.
	StorageVersion schema.GroupVersion
	// Via names the kind that stores this one's objects, for the second shape of one stored kind
	// (events.k8s.io Event is stored as the core Event). See Convert.
	Via *Conversion
	// TTL after which the store drops the object; 0 means never. Only events have one.
	TTL time.Duration

	New     func() T
	NewList func() runtime.Object

	// Default fills what the user left out, as upstream's SetDefaults functions do, in place. It runs on every
	// decoded request object and on every decoded stored object.
	Default func(T)

	// ValidName gives the complaints about a name; prefix is true when it is a generateName.
	ValidName func(name string, prefix bool) []string
	// PrepareCreate clears what a creator may not set (status) and sets what the server sets. In place.
	PrepareCreate func(T)
	// PrepareUpdate takes back what an update of the main resource may not change (status) and keeps
	// generation: it runs on the new object, which it changes; old is not changed.
	PrepareUpdate func(new, old T)
	// Validate judges a new object beyond its metadata, which the registry validates.
	Validate func(T) field.ErrorList
	// ValidateUpdate judges a changed object beyond its metadata. It includes Validate's rules where upstream's does.
	ValidateUpdate func(new, old T) field.ErrorList
	// Warnings are texts for Warning headers; old is the zero T (nil) on create.
	Warnings func(new, old T) []string

	// HasGeneration: metadata.generation starts at 1 and grows when SpecChanged. Without it generation stays 0.
	HasGeneration bool
	// SpecChanged tells whether generation grows; nil means never after creation.
	SpecChanged func(new, old T) bool

	// CreateOnUpdate: PUT of a missing object creates it.
	CreateOnUpdate bool
	// RequireRevision: PUT without metadata.resourceVersion is refused (422).
	RequireRevision bool
	// DeleteReturnsObject: DELETE answers with the object instead of a Status.
	DeleteReturnsObject bool
	// OrphanByDefault: DELETE without a propagation policy orphans dependents.
	OrphanByDefault bool
	// Grace decides graceful deletion; nil means immediate.
	Grace func(obj T, options *metav1.DeleteOptions) Grace
	// FreeFinalizers: new objects may have finalizers without a domain beyond the standard ones.
	FreeFinalizers bool
	// Finalizers in spec (Namespace): true when the object may be removed from the store though metadata.finalizers is empty.
	Finalized func(T) bool
	// Deleting changes an object, in place, that is marked for removal but stays for its finalizers
	// (a Namespace's phase becomes Terminating).
	Deleting func(T)

	// Fields are the field selectors beyond metadata.name and metadata.namespace.
	Fields []Field[T]
	// Columns of kubectl get after the row's object; the first is normally Name. nil means Name and Created At.
	Columns []Column[T]
	// RowConditions say what is special about a row: a pod that has completed. nil means none.
	RowConditions func(T) []metav1.TableRowCondition
	// Status is the status subresource, nil if there is none.
	Status *Part[T]
	// Scale is the scale subresource, nil if there is none.
	Scale *Scale[T]
	// Parts are further subresources that take the whole object and change a part of it
	// (ephemeralcontainers, resize, approval, finalize).
	Parts []Part[T]
	// Actions are subresources with a body of another kind (binding, eviction, token) or a stream (log, exec):
	// named here for discovery, acted on by the API server.
	Actions []Action
}

// Grace is a decision about graceful deletion.
type Grace struct {
	// Graceful: the object stays with a deletionTimestamp for Seconds; else it goes at once.
	Graceful bool
	Seconds  int64
}

// Field is one field selector.
type Field[T Object] struct {
	Name  string
	Value func(T) string
	// Indexed asks the cache to find objects (and watchers) by this field's value without looking at all.
	Indexed bool
}

// Column is one column of a Table.
type Column[T Object] struct {
	Name, Type, Format, Description string
	// Priority 0 is always shown, 1 with -o wide.
	Priority int32
	// Cell is the value shown: a string, int64, bool or nil. now is for ages (use Age).
	Cell func(obj T, now time.Time) any
}

// Part is a subresource whose body is the whole object.
type Part[T Object] struct {
	// Name is the subresource's name; "status" for Kind.Status.
	Name string
	// Verbs; nil means get, patch, update.
	Verbs []Verb
	// Prepare takes over into new everything of old that this subresource may not change.
	Prepare func(new, old T)
	// ValidateUpdate judges the change beyond metadata.
	ValidateUpdate func(new, old T) field.ErrorList
	Warnings       func(new, old T) []string
}

// Scale is the scale subresource: replicas, status replicas and selector.
type Scale[T Object] struct {
	SpecReplicas   func(T) int32
	SetReplicas    func(T, int32)
	StatusReplicas func(T) int32
	// Selector in its string form.
	Selector func(T) string
}

// Action is a subresource with a body kind of its own.
type Action struct {
	Name string
	// Body kind as discovery lists it.
	Kind  schema.GroupVersionKind
	Verbs []Verb
}

// Conversion connects a served shape to the stored kind.
type Conversion struct {
	// Stored is the kind whose registry keeps the objects.
	Stored schema.GroupResource
	// StoredVersion is the stored kind's version.
	StoredVersion string
	// ToStored and FromStored convert between the served object and the stored one; both return new objects.
	ToStored, FromStored func(Object) (Object, error)
}
