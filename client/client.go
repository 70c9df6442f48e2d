package client

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// Client reads and writes the objects of one kind under the identity of its transport.
// Objects that it returns are shared: never change them. Objects that are passed to it belong to the API server
// afterwards: pass a copy (kind.Copy) of what came from a view.
type Client[T kind.Object] struct {
	transport Transport
	info      *kind.Kind
}

// For is the client of T's kind over a transport.
func For[T kind.Object](t Transport) Client[T] {
	return Client[T]{transport: t, info: api.Of[T]()}
}

// Kind is the definition of the kind.
func (c Client[T]) Kind() *kind.Kind { return c.info }

// Live is the live view of the kind.
func (c Client[T]) Live() Live[T] { return Live[T]{View: c.transport.View(c.info)} }

// Get asks the API server for one object (a consistent read, unlike a view's).
func (c Client[T]) Get(ctx context.Context, namespace, name string) (T, error) {
	return c.do(ctx, Request{Verb: kind.Get, Namespace: namespace, Name: name})
}

// Create stores a new object.
func (c Client[T]) Create(ctx context.Context, obj T) (T, error) {
	return c.do(ctx, Request{Verb: kind.Create, Namespace: obj.GetNamespace(), Name: obj.GetName(), Object: obj})
}

// Update replaces an object; with a resourceVersion set, only that version of it.
func (c Client[T]) Update(ctx context.Context, obj T) (T, error) {
	return c.UpdatePart(ctx, obj, "")
}

// UpdateStatus replaces an object's status.
func (c Client[T]) UpdateStatus(ctx context.Context, obj T) (T, error) {
	return c.UpdatePart(ctx, obj, "status")
}

// UpdatePart replaces what a subresource covers of an object ("status", "finalize").
func (c Client[T]) UpdatePart(ctx context.Context, obj T, subresource string) (T, error) {
	return c.do(ctx, Request{Verb: kind.Update, Namespace: obj.GetNamespace(), Name: obj.GetName(), Subresource: subresource, Object: obj})
}

// Patch changes one object.
func (c Client[T]) Patch(ctx context.Context, namespace, name string, pt types.PatchType, patch []byte) (T, error) {
	return c.PatchPart(ctx, namespace, name, "", pt, patch)
}

// PatchStatus changes one object's status.
func (c Client[T]) PatchStatus(ctx context.Context, namespace, name string, pt types.PatchType, patch []byte) (T, error) {
	return c.PatchPart(ctx, namespace, name, "status", pt, patch)
}

// PatchPart changes what a subresource covers of an object.
func (c Client[T]) PatchPart(ctx context.Context, namespace, name, subresource string, pt types.PatchType, patch []byte) (T, error) {
	return c.do(ctx, Request{Verb: kind.Patch, Namespace: namespace, Name: name, Subresource: subresource, PatchType: pt, Patch: patch})
}

// Act creates a subresource with a body of another kind: a binding, an eviction, a token request.
func (c Client[T]) Act(ctx context.Context, namespace, name, subresource string, body runtime.Object) (runtime.Object, error) {
	return c.transport.Do(ctx, Request{Verb: kind.Create, Kind: c.info, Namespace: namespace, Name: name, Subresource: subresource, Object: body})
}

// Delete removes an object, or begins its graceful or finalized removal.
func (c Client[T]) Delete(ctx context.Context, namespace, name string, o metav1.DeleteOptions) error {
	_, err := c.transport.Do(ctx, Request{Verb: kind.Delete, Kind: c.info, Namespace: namespace, Name: name, Delete: o})
	return err
}

// DeleteCollection deletes the objects of a namespace that match both selectors; an empty selector matches all.
func (c Client[T]) DeleteCollection(ctx context.Context, namespace string, o metav1.DeleteOptions, labels, fields string) error {
	_, err := c.transport.Do(ctx, Request{Verb: kind.DeleteCollection, Kind: c.info, Namespace: namespace, Delete: o, LabelSelector: labels, FieldSelector: fields})
	return err
}

func (c Client[T]) do(ctx context.Context, r Request) (T, error) {
	var none T
	r.Kind = c.info
	answer, err := c.transport.Do(ctx, r)
	if err != nil {
		return none, err
	}
	obj, ok := answer.(T)
	if !ok {
		return none, fmt.Errorf("%s of %s answered with a %T", r.Verb, c.info.Plural, answer)
	}
	return obj, nil
}
