package registry

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// Resource is the objects of one kind. Its errors are *errors.StatusError of apimachinery.
type Resource struct{}

// Info is the kind's definition.
func (r *Resource) Info() *kind.Info { panic("skeleton") }

// Item is one object at one revision. It never changes; all its results are shared and must not be changed.
type Item struct{}

// Object is the decoded object, resourceVersion set, TypeMeta empty.
func (i *Item) Object() kind.Object { panic("skeleton") }

// Revision of the object's last change.
func (i *Item) Revision() int64 { panic("skeleton") }

// Proto is the object's protobuf encoding with its resourceVersion, without envelope.
func (i *Item) Proto() []byte { panic("skeleton") }

// JSON is the object's JSON encoding without apiVersion and kind (as an element of a list).
func (i *Item) JSON() ([]byte, error) { panic("skeleton") }

// Get reads one object. resourceVersion "" is a consistent read, "0" takes what the mirror has,
// another waits until the mirror is at least there.
func (r *Resource) Get(ctx context.Context, namespace, name, resourceVersion string) (*Item, error) {
	panic("skeleton")
}

// ListOptions are the options of a list, parsed. Namespace "" is all namespaces.
type ListOptions struct {
	Namespace            string
	Label                labels.Selector // nil is everything
	Field                fields.Selector // nil is everything; its labels have been checked
	ResourceVersion      string
	ResourceVersionMatch metav1.ResourceVersionMatch
	Limit                int64
	Continue             string
}

// List is the result of a listing; Items are in key order.
type List struct {
	Items     []*Item
	Revision  int64
	Continue  string
	Remaining *int64
}

// List reads a snapshot.
func (r *Resource) List(ctx context.Context, o ListOptions) (*List, error) { panic("skeleton") }

// WatchOptions are the options of a watch, parsed.
type WatchOptions struct {
	Namespace            string
	Label                labels.Selector
	Field                fields.Selector
	ResourceVersion      string
	ResourceVersionMatch metav1.ResourceVersionMatch
	SendInitialEvents    *bool
	AllowBookmarks       bool
}

// Event is one event of a watch. A bookmark has no Item.
type Event struct {
	Type     watch.EventType
	Item     *Item // for Deleted: the last state, at the revision of the deletion
	Revision int64
	// InitialEnd marks the bookmark that ends the initial events.
	InitialEnd bool
}

// Watcher is a running watch.
type Watcher struct{}

// Next waits for further events; it returns at least one, or an error: the context's, or a StatusError
// (410 Expired when the watcher was too slow or too old) that the client is to get as an ERROR event.
func (w *Watcher) Next(ctx context.Context) ([]Event, error) { panic("skeleton") }

// Stop ends the watch.
func (w *Watcher) Stop() { panic("skeleton") }

// Watch starts a watch.
func (r *Resource) Watch(ctx context.Context, o WatchOptions) (*Watcher, error) { panic("skeleton") }

// CreateOptions of Create.
type CreateOptions struct {
	DryRun bool
	// Admit is the validating admission; it sees the object as it would be stored.
	Admit func(ctx context.Context, obj kind.Object) error
}

// Create stores a new object, which must be decoded, defaulted and admitted by mutation; it is changed in place
// (uid, creationTimestamp, generateName, …) and belongs to the registry afterwards.
// Kind.PrepareCreate, metadata checks and Kind.Validate run here.
func (r *Resource) Create(ctx context.Context, obj kind.Object, o CreateOptions) (*Item, error) {
	panic("skeleton")
}

// Change makes the new object from the present one, which it must not change (copy it with kind.Copy).
// It may run several times. old is nil when the object does not exist and the kind is created by update.
type Change func(ctx context.Context, old kind.Object) (kind.Object, error)

// UpdateOptions of Update.
type UpdateOptions struct {
	// Part is the subresource that is updated; empty for the main resource.
	Part   string
	DryRun bool
	// UID and ResourceVersion must match the present object if set.
	UID             *types.UID
	ResourceVersion *string
	// Trusted skips preparation and validation: the server itself makes the change (binding).
	Trusted bool
	// Admit is the validating admission; old is nil when the update creates.
	Admit func(ctx context.Context, new, old kind.Object) error
}

// Update changes one object: present object, Change, Kind.PrepareUpdate or Part.Prepare, validation, Admit,
// compare-and-swap; a lost race repeats it with the newer object unless the new object carries a resourceVersion
// of its own that no longer matches (409). A change that changes nothing is not written.
// created tells that the object did not exist before.
func (r *Resource) Update(ctx context.Context, namespace, name string, change Change, o UpdateOptions) (item *Item, created bool, err error) {
	panic("skeleton")
}

// DeleteOptions of Delete and DeleteCollection.
type DeleteOptions struct {
	metav1.DeleteOptions
	DryRun bool
	// Admit is the admission of the deletion.
	Admit func(ctx context.Context, old kind.Object) error
}

// Delete removes an object, or marks it for removal: preconditions, grace, finalizers and propagation apply.
// The item is the last (or the marked) state; removed tells that it is gone from the store.
func (r *Resource) Delete(ctx context.Context, namespace, name string, o DeleteOptions) (item *Item, removed bool, err error) {
	panic("skeleton")
}

// DeleteCollection deletes what a list finds, in parallel, and returns the items it acted on.
func (r *Resource) DeleteCollection(ctx context.Context, l ListOptions, o DeleteOptions) (*List, error) {
	panic("skeleton")
}
