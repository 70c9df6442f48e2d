// Package rootca publishes the certificates that the API server is verified with, as a ConfigMap in every namespace.
package rootca

import (
	"bytes"
	"context"
	"maps"
	"time"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
)

const (
	// Name of the ConfigMap; pods mount it beside their token.
	Name = "kube-root-ca.crt"
	// dataKey holds the certificates in PEM.
	dataKey = "ca.crt"

	descriptionAnnotation = "kubernetes.io/description"
	description           = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. " +
		"No other usage is guaranteed across distributions of Kubernetes clusters."
)

// Source gives the certificates in PEM, and a channel that is closed when they may have changed.
type Source func() (ca []byte, changed <-chan struct{})

// Options of the controller.
type Options struct {
	// Source gives what is published; without it nothing is.
	Source Source
}

// AddFlags adds none: the master knows its authority.
func (o *Options) AddFlags(*pflag.FlagSet) {}

// recheck is how soon it is looked again where a view and the server do not agree.
const recheck = 30 * time.Second

type controller struct {
	source     Source
	namespaces reconcile.Objects[*corev1.Namespace]
	maps       reconcile.Objects[*corev1.ConfigMap]
}

// New declares the publisher of the certificates.
func New(b *reconcile.Builder) *reconcile.Controller {
	o := reconcile.Option[Options](b)
	if o.Source == nil {
		return nil
	}
	c := &controller{
		source:     o.Source,
		namespaces: reconcile.Watch[*corev1.Namespace](b, namespaceChanged),
		maps:       reconcile.Watch[*corev1.ConfigMap](b, mapChanged, reconcile.Writes(kind.Create, kind.Update)),
	}
	return &reconcile.Controller{
		Reconcile: c.reconcile,
		Start:     func(ctx context.Context, enqueue func(reconcile.Key, time.Duration)) { go c.follow(ctx, enqueue) },
	}
}

// follow looks at all namespaces again when the certificates have changed.
func (c *controller) follow(ctx context.Context, enqueue func(reconcile.Key, time.Duration)) {
	published, changed := c.source()
	for {
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
		var now []byte
		if now, changed = c.source(); bytes.Equal(now, published) {
			continue
		}
		published = now
		for ns := range c.namespaces.Live.All("") {
			enqueue(reconcile.KeyOf(ns), 0)
		}
	}
}

func namespaceChanged(d client.Delta, enqueue func(reconcile.Key)) {
	if d.New != nil {
		enqueue(reconcile.KeyOf(d.New))
	}
}

func mapChanged(d client.Delta, enqueue func(reconcile.Key)) {
	o := reconcile.Subject(d)
	if o.GetName() == Name {
		enqueue(reconcile.Key{Name: o.GetNamespace()})
	}
}

// plan is the ConfigMap to write; nil if have is as it should be.
func plan(ns *corev1.Namespace, have *corev1.ConfigMap, ca []byte) *corev1.ConfigMap {
	if ns.DeletionTimestamp != nil || ns.Status.Phase == corev1.NamespaceTerminating {
		return nil
	}
	want := map[string]string{dataKey: string(ca)}
	if have == nil {
		return &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: Name, Namespace: ns.Name, Annotations: map[string]string{descriptionAnnotation: description}},
			Data:       want,
		}
	}
	if maps.Equal(have.Data, want) && have.Annotations[descriptionAnnotation] == description {
		return nil
	}
	changed := have.DeepCopy()
	changed.Data = want
	if changed.Annotations == nil {
		changed.Annotations = map[string]string{}
	}
	changed.Annotations[descriptionAnnotation] = description
	return changed
}

func (c *controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	ns, ok := c.namespaces.Live.Get("", key.Name)
	if !ok {
		return reconcile.Result{}, nil
	}
	have, _ := c.maps.Live.Get(key.Name, Name)
	ca, _ := c.source()
	want := plan(ns, have, ca)
	if want == nil {
		return reconcile.Result{}, nil
	}
	var err error
	if have == nil {
		_, err = c.maps.Create(ctx, want)
	} else {
		_, err = c.maps.Update(ctx, want)
	}
	if apierrors.IsAlreadyExists(err) {
		// The view is behind, or what has the name cannot be read: nobody tells when that is removed.
		return reconcile.Result{After: recheck}, nil
	}
	if apierrors.IsNotFound(err) || reconcile.NamespaceTerminating(err) {
		return reconcile.Result{}, nil
	}
	return reconcile.Result{}, err
}
