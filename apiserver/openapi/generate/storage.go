//go:build generate

package main

import (
	"context"
	"errors"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	metainternal "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// The types below have the methods by which the installer learns what a resource can do. Nobody calls them.
var errDescription = errors.New("this is only the description of a resource")

// resource is what every resource says of itself.
type resource struct {
	kind *kind.Kind
	gvk  schema.GroupVersionKind
	new  func() runtime.Object
}

func (r resource) New() runtime.Object     { return r.new() }
func (r resource) Destroy()                {}
func (r resource) NamespaceScoped() bool   { return r.kind.Namespaced }
func (r resource) GetSingularName() string { return r.kind.Singular }
func (r resource) Kind() string            { return r.gvk.Kind }

func (r resource) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind { return r.gvk }

func (r resource) ConvertToTable(context.Context, runtime.Object, runtime.Object) (*metav1.Table, error) {
	return nil, errDescription
}

// created can be created only.
type created struct{ resource }

func (created) Create(context.Context, runtime.Object, rest.ValidateObjectFunc, *metav1.CreateOptions) (runtime.Object, error) {
	return nil, errDescription
}

// named can be created below an object that exists.
type named struct{ resource }

func (named) Create(context.Context, string, runtime.Object, rest.ValidateObjectFunc, *metav1.CreateOptions) (runtime.Object, error) {
	return nil, errDescription
}

// read can be read only.
type read struct{ resource }

func (r read) NewList() runtime.Object { return r.kind.NewList() }

func (read) List(context.Context, *metainternal.ListOptions) (runtime.Object, error) {
	return nil, errDescription
}

func (read) Get(context.Context, string, *metav1.GetOptions) (runtime.Object, error) {
	return nil, errDescription
}

// replaced can be updated only.
type replaced struct{ resource }

func (replaced) Update(context.Context, string, rest.UpdatedObjectInfo, rest.ValidateObjectFunc, rest.ValidateObjectUpdateFunc, bool, *metav1.UpdateOptions) (runtime.Object, bool, error) {
	return nil, false, errDescription
}

// part is a subresource that can be read, updated and patched.
type part struct{ replaced }

func (part) Get(context.Context, string, *metav1.GetOptions) (runtime.Object, error) {
	return nil, errDescription
}

// stored has all verbs but deletecollection.
type stored struct{ resource }

func (s stored) NewList() runtime.Object          { return s.kind.NewList() }
func (s stored) DeleteReturnsDeletedObject() bool { return s.kind.DeleteReturnsObject }

func (stored) Create(context.Context, runtime.Object, rest.ValidateObjectFunc, *metav1.CreateOptions) (runtime.Object, error) {
	return nil, errDescription
}

func (stored) Get(context.Context, string, *metav1.GetOptions) (runtime.Object, error) {
	return nil, errDescription
}

func (stored) List(context.Context, *metainternal.ListOptions) (runtime.Object, error) {
	return nil, errDescription
}

func (stored) Watch(context.Context, *metainternal.ListOptions) (watch.Interface, error) {
	return nil, errDescription
}

func (stored) Update(context.Context, string, rest.UpdatedObjectInfo, rest.ValidateObjectFunc, rest.ValidateObjectUpdateFunc, bool, *metav1.UpdateOptions) (runtime.Object, bool, error) {
	return nil, false, errDescription
}

func (stored) Delete(context.Context, string, rest.ValidateObjectFunc, *metav1.DeleteOptions) (runtime.Object, bool, error) {
	return nil, false, errDescription
}

// collection has all verbs.
type collection struct{ stored }

func (collection) DeleteCollection(context.Context, rest.ValidateObjectFunc, *metav1.DeleteOptions, *metainternal.ListOptions) (runtime.Object, error) {
	return nil, errDescription
}

// connected is a stream. Its kind is that of its options.
type connected struct {
	resource
	subpath bool
	methods []string
}

func (c connected) ConnectMethods() []string { return c.methods }

func (c connected) NewConnectOptions() (runtime.Object, bool, string) {
	if c.subpath {
		return c.new(), true, "path"
	}
	return c.new(), false, ""
}

func (connected) Connect(context.Context, string, runtime.Object, rest.Responder) (http.Handler, error) {
	return nil, errDescription
}

// logs are text.
type logs struct{ resource }

func (logs) Get(context.Context, string, runtime.Object) (runtime.Object, error) {
	return nil, errDescription
}

func (logs) NewGetOptions() (runtime.Object, bool, string) {
	return &corev1.PodLogOptions{}, false, ""
}
func (logs) ProducesMIMETypes(string) []string { return []string{"text/plain"} }
func (logs) ProducesObject(string) any         { return "" }
