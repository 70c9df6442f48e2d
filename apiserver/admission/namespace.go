package admission

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	"github.com/wheelhouse-k8s/wheelhouse/registry"
)

// deletionRemembered is how long after a namespace's deletion creations in it read the store's present state.
const deletionRemembered = 30 * time.Second

// immortal namespaces cannot be deleted.
var immortal = map[string]bool{metav1.NamespaceDefault: true, metav1.NamespaceSystem: true, metav1.NamespacePublic: true}

// namespaceLifecycle keeps objects out of namespaces that do not exist or are going away, and keeps the namespaces
// alive that every cluster needs.
type namespaceLifecycle struct {
	operations
	registry   *registry.Registry
	namespaces *registry.Resource
	now        func() time.Time

	mu      sync.Mutex
	deleted map[string]time.Time // guarded by mu
}

func newNamespaceLifecycle(o *Options) admission.Interface {
	return &namespaceLifecycle{
		operations: onCreate | onDelete, registry: o.Registry, namespaces: reader{o.Registry}.resource("", "namespaces"),
		now: o.Now, deleted: map[string]time.Time{},
	}
}

func (p *namespaceLifecycle) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	isNamespace := is(a, "", "namespaces")
	if a.GetOperation() == admission.Delete {
		if !isNamespace {
			return nil
		}
		if immortal[a.GetName()] {
			return apierrors.NewForbidden(a.GetResource().GroupResource(), a.GetName(), errors.New("this namespace may not be deleted"))
		}
		p.remember(a.GetName())
		return nil
	}
	namespace := a.GetNamespace()
	if namespace == "" || isNamespace {
		return nil
	}
	// Whether a namespace exists is not told to those who only ask what they may do in it.
	if is(a, "authorization.k8s.io", "localsubjectaccessreviews") {
		return nil
	}
	if p.recentlyDeleted(namespace) {
		if _, err := p.registry.Fresh(ctx); err != nil {
			return apierrors.NewInternalError(fmt.Errorf("reading namespace %s: %w", namespace, err))
		}
	}
	found, ok := await[*corev1.Namespace](ctx, p.registry, p.namespaces, "", namespace)
	if !ok && p.namespaces != nil {
		if err := p.namespaces.Legible("", namespace); err != nil {
			return err // whether it exists and is not terminating cannot be told
		}
	}
	if !ok {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, namespace)
	}
	if found.Status.Phase != corev1.NamespaceTerminating {
		return nil
	}
	err := admission.NewForbidden(a, fmt.Errorf("unable to create new content in namespace %s because it is being terminated", namespace))
	var status *apierrors.StatusError
	if errors.As(err, &status) && status.ErrStatus.Details != nil {
		status.ErrStatus.Details.Causes = append(status.ErrStatus.Details.Causes, metav1.StatusCause{
			Type:    corev1.NamespaceTerminatingCause,
			Message: fmt.Sprintf("namespace %s is being terminated", namespace),
			Field:   "metadata.namespace",
		})
	}
	return err
}

// remember notes a deletion, of which the mirror will know only a moment later.
func (p *namespaceLifecycle) remember(name string) {
	now := p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for other, at := range p.deleted {
		if now.Sub(at) > deletionRemembered {
			delete(p.deleted, other)
		}
	}
	p.deleted[name] = now
}

func (p *namespaceLifecycle) recentlyDeleted(name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok := p.deleted[name]
	return ok && p.now().Sub(at) <= deletionRemembered
}
