package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
)

// namespaces finds the namespaces that requests are made in.
type namespaces struct {
	registry *registry.Registry
	resource *registry.Resource
}

func namespacesOf(o *Options) namespaces {
	return namespaces{o.Registry, reader{o.Registry}.resource("", "namespaces")}
}

// get is a namespace; the error is NotFound if there certainly is none, and another one if that cannot be told.
func (n namespaces) get(ctx context.Context, name string) (*corev1.Namespace, error) {
	found, ok := await[*corev1.Namespace](ctx, n.registry, n.resource, "", name)
	if ok {
		return found, nil
	}
	if n.resource != nil {
		if err := n.resource.Legible("", name); err != nil {
			return nil, err
		}
	}
	if _, err := n.registry.Fresh(ctx); err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, name)
}

// within is the namespace that a request is made in; empty if it is in none, or about one.
func within(a admission.Attributes) string {
	if is(a, "", "namespaces") {
		return ""
	}
	return a.GetNamespace()
}

// namespaceExists refuses all that is asked within a namespace that does not exist.
type namespaceExists struct {
	operations
	namespaces
}

func newNamespaceExists(o *Options) admission.Interface {
	return &namespaceExists{onCreate | onUpdate | onDelete, namespacesOf(o)}
}

func (p *namespaceExists) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	name := within(a)
	if name == "" {
		return nil
	}
	_, err := p.get(ctx, name)
	return err
}

// namespaceAutoProvision makes the namespace that something is created in, if it is not there yet.
type namespaceAutoProvision struct {
	operations
	namespaces
	catalog *kind.Catalog
}

func newNamespaceAutoProvision(o *Options) admission.Interface {
	return &namespaceAutoProvision{onCreate, namespacesOf(o), o.Catalog}
}

func (p *namespaceAutoProvision) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	name := within(a)
	if a.IsDryRun() || name == "" {
		return nil
	}
	switch _, err := p.get(ctx, name); {
	case err == nil:
		return nil
	case !apierrors.IsNotFound(err):
		return admission.NewForbidden(a, err)
	}
	made := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if k, ok := p.catalog.Now().ByGR(schema.GroupResource{Resource: "namespaces"}); ok {
		k.Default(made)
	}
	if _, err := p.resource.Create(ctx, made, registry.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return admission.NewForbidden(a, err)
	}
	return nil
}
