package kind

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Rules are what a kind does with objects of its Go type, *E. Every field is optional.
type Rules[E any] struct {
	// Default fills what the user left out, as upstream's SetDefaults functions do, in place. It runs on every
	// decoded request object and on every decoded stored object.
	Default func(*E)
	// Halves are spec and status, if a creator may set the one and not the other: creation clears the status, an update of
	// the main resource keeps it, and an update of the status subresource keeps the spec.
	Halves Halves[E]
	// Prepare takes back what a writer of the main resource may not set, beyond Halves, and sets what the server sets: in the
	// new object, in place. old is nil on create and never changed.
	Prepare func(next, old *E)
	// Requested notes in a new object who asks for it, after all others have had their say.
	Requested func(next *E, by Requester)
	// Validate judges a new object (old is nil) or a changed one beyond its metadata, which the registry validates.
	Validate func(next, old *E) field.ErrorList
	// ValidateUpdate judges a changed object in Validate's place, where that is another matter.
	ValidateUpdate func(next, old *E) field.ErrorList
	// Warnings are texts for Warning headers; old is nil on create.
	Warnings func(next, old *E) []string
	// SpecChanged tells whether generation grows. nil means with the field Spec, and never if there is none.
	SpecChanged func(next, old *E) bool

	// Grace decides graceful deletion; nil means immediate.
	Grace func(*E, *metav1.DeleteOptions) Grace
	// Finalized is for finalizers in spec (Namespace): true when the object may be removed from the store though
	// metadata.finalizers is empty.
	Finalized func(*E) bool
	// Deleting changes an object, in place, that is marked for removal but stays for its finalizers
	// (a Namespace's phase becomes Terminating).
	Deleting func(*E)

	// Fields are the field selectors beyond metadata.name and metadata.namespace.
	Fields []Field[E]
	// Columns of kubectl get after the row's object; see the function Columns. nil means Name and Created At.
	Columns []Column[E]
	// RowConditions say what is special about a row: a pod that has completed. nil means none.
	RowConditions func(*E) []metav1.TableRowCondition
	// Status is the status subresource. nil means the plain one where there are Halves, and none otherwise.
	Status *Part[E]
	// Scale is the scale subresource, nil if there is none.
	Scale *Scale[E]
	// Parts are further subresources that take the whole object and change a part of it
	// (ephemeralcontainers, resize, approval, finalize).
	Parts []Part[E]
}

// Requester is who makes a request.
type Requester interface {
	GetName() string
	GetUID() string
	GetGroups() []string
	GetExtra() map[string][]string
}

// Grace is a decision about graceful deletion.
type Grace struct {
	// Graceful: the object stays with a deletionTimestamp for Seconds; else it goes at once.
	Graceful bool
	Seconds  int64
}

// Field is one field selector.
type Field[E any] struct {
	Name  string
	Value func(*E) string
	// Indexed asks the cache to find objects (and watchers) by this field's value without looking at all.
	Indexed bool
}

// Part is a subresource whose body is the whole object.
type Part[E any] struct {
	// Name is the subresource's name; "status" for Rules.Status.
	Name string
	// Verbs; nil means get, patch, update.
	Verbs []Verb
	// Prepare takes over into next everything of old that this subresource may not change, for status beyond the spec of Halves.
	Prepare func(next, old *E)
	// ValidateUpdate judges the change beyond metadata.
	ValidateUpdate func(next, old *E) field.ErrorList
	Warnings       func(next, old *E) []string
}

// Scale is the scale subresource: replicas, status replicas and selector.
type Scale[E any] struct {
	// Replicas is where the wanted number stands; none means 0.
	Replicas       func(*E) **int32
	StatusReplicas func(*E) int32
	// Selector in its string form.
	Selector func(*E) string
}
