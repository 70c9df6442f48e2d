// Package client is how controllers, the scheduler and commands reach an API server: a typed Client[T] over a
// Transport, and live views. In a master the transport is a call into the API server of the same process, with the
// caller's identity, authorization, admission and validation but without HTTP or encoding; elsewhere it is HTTP.
package client

import (
	"context"
	"errors"
	"iter"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// Request is one call of the API, for one object (or one collection, to list or delete it).
type Request struct {
	Verb                         kind.Verb
	Kind                         *kind.Kind
	Namespace, Name, Subresource string
	// Object of a create or update. It belongs to the transport from the call on: pass a copy of what is shared.
	Object    runtime.Object
	PatchType types.PatchType
	Patch     []byte
	// Options of a delete or deletecollection.
	Delete metav1.DeleteOptions
	// LabelSelector and FieldSelector of a deletecollection.
	LabelSelector, FieldSelector string
	// Limit of a list; 0 is none.
	Limit int64
}

// ErrNotServed is why nothing can be seen of a kind that the server does not serve, or serves in another form by now.
var ErrNotServed = errors.New("the server does not serve this kind (any more)")

// Transport carries requests under one identity. Errors are *errors.StatusError of apimachinery where the server answered.
type Transport interface {
	// Do returns the answer's object: shared, never to be changed; nil or a *metav1.Status for some deletions.
	Do(ctx context.Context, r Request) (runtime.Object, error)
	// View is the live view of a kind. That of a kind which is not served (any more) is empty, and its Whole fails.
	View(k *kind.Kind) View
	// Applied is the revision that all views have reached.
	Applied() int64
	// WaitFor waits until all views have reached the revision.
	WaitFor(ctx context.Context, revision int64) error
	// Fresh waits until the views of the kinds (all, if none is named) show whatever was in effect when the call began: it
	// asks the store for its revision after that, consistently. It is the barrier after a write whose outcome is unknown. Its
	// error is ErrNotServed if one of the kinds is not served (any more): there is no view that could show anything of it.
	Fresh(ctx context.Context, kinds ...*kind.Kind) error
}

// View is a current, indexed picture of one kind's objects. Objects are shared: never change them.
type View interface {
	Get(namespace, name string) (kind.Object, bool)
	// All yields the objects of a namespace, "" for all.
	All(namespace string) iter.Seq[kind.Object]
	// OwnedBy yields the objects that have the uid among their owners.
	OwnedBy(uid types.UID) iter.Seq[kind.Object]
	// ByField yields the objects whose indexed field (pods: spec.nodeName) has the value.
	ByField(name, value string) iter.Seq[kind.Object]
	Len() int
	// Whole fails while objects of a namespace ("" for all) may exist that the view does not show, or shows as they were, because
	// what the server has stored of them cannot be read. Nobody may conclude from such a view that something is not there.
	Whole(namespace string) error
	// Legible is Whole for one object: it fails while there may be something under its name that cannot be read.
	Legible(namespace, name string) error
	// Subscribe waits until the view is complete and calls f with all objects (Old nil), even if there are none, then
	// with each change in order, until ctx ends, and returns then. So what f builds is complete when it has returned for the
	// first time. Calls do not overlap, and must not block for long; the view is at the change's revision or later.
	Subscribe(ctx context.Context, f func([]Delta))
	// Synced is closed when the view has been complete once.
	Synced() <-chan struct{}
}

// Delta is a change: Old is nil for a new object, New for a removed one.
type Delta struct {
	Old, New kind.Object
	Revision int64
}
