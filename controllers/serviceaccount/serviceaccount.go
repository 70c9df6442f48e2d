// Package serviceaccount keeps the service account "default" in every namespace.
package serviceaccount

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
)

// name of the account that pods have when they ask for none.
const name = "default"

// recheck is how soon it is looked again where a view and the server do not agree.
const recheck = 30 * time.Second

type controller struct {
	namespaces reconcile.Objects[*corev1.Namespace]
	accounts   reconcile.Objects[*corev1.ServiceAccount]
}

// New declares the service account controller.
func New(b *reconcile.Builder) *reconcile.Controller {
	c := &controller{
		namespaces: reconcile.Watch[*corev1.Namespace](b, namespaceChanged),
		accounts:   reconcile.Watch[*corev1.ServiceAccount](b, accountRemoved, reconcile.Writes(kind.Create)),
	}
	return &reconcile.Controller{Reconcile: c.reconcile}
}

func namespaceChanged(d client.Delta, enqueue func(reconcile.Key)) {
	if d.New != nil {
		enqueue(reconcile.KeyOf(d.New))
	}
}

func accountRemoved(d client.Delta, enqueue func(reconcile.Key)) {
	if d.New == nil && d.Old.GetName() == name {
		enqueue(reconcile.Key{Name: d.Old.GetNamespace()})
	}
}

// wanted tells whether a namespace should get the account now.
func wanted(ns *corev1.Namespace, exists bool) bool {
	return !exists && ns.DeletionTimestamp == nil && ns.Status.Phase != corev1.NamespaceTerminating
}

func (c *controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	ns, ok := c.namespaces.Live.Get("", key.Name)
	if !ok {
		return reconcile.Result{}, nil
	}
	if _, exists := c.accounts.Live.Get(key.Name, name); !wanted(ns, exists) {
		return reconcile.Result{}, nil
	}
	_, err := c.accounts.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: key.Name}})
	switch {
	case apierrors.IsAlreadyExists(err):
		// The view is behind, or what has the name cannot be read: nobody tells when that is removed.
		return reconcile.Result{After: recheck}, nil
	case reconcile.NamespaceTerminating(err):
		return reconcile.Result{}, nil
	}
	return reconcile.Result{}, err
}
