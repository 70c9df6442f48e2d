package master

import (
	"context"
	"fmt"
	"iter"
	"strconv"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
)

// inProcess is a client.Transport that calls the API server of the same process under one identity. It is where the
// two wings meet: requests pass the same authorization, admission and validation as those that come over HTTPS, and
// reads are pointers into the registry's mirror.
type inProcess struct {
	server   *apiserver.Server
	registry *registry.Registry
	user     user.Info
	agent    string // field manager of its writes
	term     *term  // nil if its writes belong to no term
}

// Do implements client.Transport.
func (t *inProcess) Do(ctx context.Context, r client.Request) (runtime.Object, error) {
	request := &apiserver.Request{
		User: t.user, Verb: r.Verb, Kind: r.Kind,
		Namespace: r.Namespace, Name: r.Name, Subresource: r.Subresource,
		Object: r.Object, PatchType: r.PatchType, Patch: r.Patch,
		DeleteOptions: r.Delete, UserAgent: t.agent,
	}
	switch r.Verb {
	case kind.List:
		request.ListOptions = metav1.ListOptions{Limit: r.Limit}
	case kind.DeleteCollection:
		request.ListOptions = metav1.ListOptions{LabelSelector: r.LabelSelector, FieldSelector: r.FieldSelector}
	}
	if t.term != nil {
		ctx = t.term.guard(ctx)
	}
	response, err := t.server.Do(ctx, request)
	if err != nil {
		if t.term != nil {
			t.term.answered(err)
		}
		return nil, err
	}
	if response.Item != nil {
		return response.Item.Object(), nil
	}
	if response.List != nil && r.Verb == kind.List {
		return listOf(r.Kind, response.List)
	}
	return response.Object, nil
}

// listOf makes the list object that a client gets.
func listOf(k *kind.Kind, found *registry.List) (runtime.Object, error) {
	list := k.NewList()
	if of, err := meta.ListAccessor(list); err == nil {
		of.SetResourceVersion(strconv.FormatInt(found.Revision, 10))
		of.SetContinue(found.Continue)
	}
	items := make([]runtime.Object, len(found.Items))
	for n, i := range found.Items {
		items[n] = i.Object()
	}
	return list, meta.SetList(list, items)
}

// View implements client.Transport.
func (t *inProcess) View(k *kind.Kind) client.View {
	resource, ok := t.registry.ResourceFor(k)
	if !ok { // it has just gone, or never was
		resource = t.registry.Ended(k)
	}
	return view{resource: resource, ready: t.registry.Ready()}
}

// Applied implements client.Transport.
func (t *inProcess) Applied() int64 { return t.registry.Applied() }

// WaitFor implements client.Transport.
func (t *inProcess) WaitFor(ctx context.Context, revision int64) error {
	return t.registry.WaitFor(ctx, revision)
}

// Fresh implements client.Transport. One question to the store answers for all kinds.
func (t *inProcess) Fresh(ctx context.Context, kinds ...*kind.Kind) error {
	if _, err := t.registry.Fresh(ctx); err != nil {
		return err
	}
	for _, k := range kinds {
		if _, ok := t.registry.ResourceFor(k); !ok {
			return fmt.Errorf("%s: %w", k.GR(), client.ErrNotServed)
		}
	}
	return nil
}

// view is a client.View over the registry's mirror.
type view struct {
	resource *registry.Resource
	ready    <-chan struct{}
}

func objectOf(i *registry.Item) kind.Object {
	if i == nil {
		return nil
	}
	return i.Object()
}

func objects(items iter.Seq[*registry.Item]) iter.Seq[kind.Object] {
	return func(yield func(kind.Object) bool) {
		for i := range items {
			if !yield(i.Object()) {
				return
			}
		}
	}
}

func (v view) Get(namespace, name string) (kind.Object, bool) {
	if i := v.resource.Peek(namespace, name); i != nil {
		return i.Object(), true
	}
	return nil, false
}

func (v view) All(namespace string) iter.Seq[kind.Object] { return objects(v.resource.All(namespace)) }
func (v view) OwnedBy(uid types.UID) iter.Seq[kind.Object] {
	return objects(v.resource.OwnedBy(uid))
}
func (v view) ByField(name, value string) iter.Seq[kind.Object] {
	return objects(v.resource.ByField(name, value))
}
func (v view) Len() int                     { return v.resource.Len() }
func (v view) Whole(namespace string) error { return v.resource.Whole(namespace) }
func (v view) Legible(namespace, name string) error {
	return v.resource.Legible(namespace, name)
}
func (v view) Synced() <-chan struct{} { return v.ready }

func (v view) Subscribe(ctx context.Context, f func([]client.Delta)) {
	v.resource.Subscribe(ctx, func(deltas []registry.Delta) {
		out := make([]client.Delta, len(deltas))
		for i, d := range deltas {
			out[i] = client.Delta{Old: objectOf(d.Old), New: objectOf(d.New), Revision: d.Revision}
		}
		f(out)
	})
}
