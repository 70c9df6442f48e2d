package kind

import (
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Resource is what is said of a kind without its Go type: its names, and how it is served and kept.
// The zero value of each optional field means "upstream's usual".
type Resource struct {
	GroupVersion schema.GroupVersion
	// Kind defaults to the name of the Go type.
	Kind string
	// Plural is the resource name ("pods"); Singular defaults to the lower-case Kind.
	Plural, Singular       string
	ShortNames, Categories []string
	Namespaced             bool
	// Verbs that are served; nil means all eight of a stored resource. Review kinds serve only "create".
	Verbs []Verb
	// List makes an empty list of the kind: ListOf its Go type. nil for kinds that cannot be listed.
	List func() runtime.Object
	// Computed objects are found when they are asked for and kept nowhere.
	Computed bool
	// StoragePath is what follows "/registry/" in keys ("services/specs"). Empty means Plural for core
	// and for the groups of which upstream stores without the group's name; trees are kept as upstream's custom resources, below their group.
	StoragePath string
	// StorageVersion is the group/version in the stored envelope; empty means the kind's own.
	StorageVersion schema.GroupVersion
	// Via names the kind that stores this one's objects, for the second shape of one stored kind
	// (events.k8s.io Event is stored as the core Event).
	Via *Conversion
	// TTL after which the store drops the object; 0 means never. Only events have one.
	TTL time.Duration

	// ValidName gives the complaints about a name; prefix is true when it is a generateName. nil means a DNS subdomain.
	ValidName func(name string, prefix bool) []string
	// HasGeneration: metadata.generation starts at 1 and grows with the spec. Without it generation stays 0.
	HasGeneration bool
	// CreateOnUpdate: PUT of a missing object creates it.
	CreateOnUpdate bool
	// RequireRevision: PUT without metadata.resourceVersion is refused (422).
	RequireRevision bool
	// DeleteReturnsObject: DELETE answers with the object instead of a Status.
	DeleteReturnsObject bool
	// OrphanByDefault: DELETE without a propagation policy orphans dependents.
	OrphanByDefault bool
	// FreeFinalizers: new objects may have finalizers without a domain beyond the standard ones.
	FreeFinalizers bool
	// IsNamespace: the objects are namespaces. What is asked of one is asked within it, and its first deletion only marks it,
	// since its content goes first.
	IsNamespace bool

	// Actions are subresources with a body of another kind (binding, eviction, token) or a stream (log, exec):
	// named here for discovery, acted on by the API server.
	Actions []Action
}

// ListOf makes an empty list of the Go type L.
func ListOf[L any, P interface {
	*L
	runtime.Object
}]() runtime.Object {
	return P(new(L))
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
