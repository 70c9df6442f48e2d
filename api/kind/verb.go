package kind

// Verb is what a request does to a resource, as RBAC and discovery name it. What a method and a path ask for is decided once, where
// a request comes in.
type Verb string

// The verbs of resources.
const (
	Get              Verb = "get"
	List             Verb = "list"
	Watch            Verb = "watch"
	Create           Verb = "create"
	Update           Verb = "update"
	Patch            Verb = "patch"
	Delete           Verb = "delete"
	DeleteCollection Verb = "deletecollection"
)

// Reads tells of verbs that change nothing.
func (v Verb) Reads() bool { return v == Get || v == List || v == Watch }

// OfCollection tells of verbs that are asked of a collection; the others are asked of one object by its name.
func (v Verb) OfCollection() bool {
	return v == List || v == Watch || v == Create || v == DeleteCollection
}

// Selects tells of verbs that honour selectors.
func (v Verb) Selects() bool { return v == List || v == Watch || v == DeleteCollection }

// StoredVerbs are the verbs of a stored resource, in discovery's order.
var StoredVerbs = []Verb{Create, Delete, DeleteCollection, Get, List, Patch, Update, Watch}

// Names are verbs as discovery lists them.
func Names(verbs []Verb) []string {
	names := make([]string, len(verbs))
	for n, v := range verbs {
		names[n] = string(v)
	}
	return names
}
