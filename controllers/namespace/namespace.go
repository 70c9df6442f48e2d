// Package namespace empties namespaces that are being deleted, and then lets them go.
package namespace

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
)

// again is when to look again after a deletion, if no change wakes the controller before.
const again = 100 * time.Millisecond

type controller struct {
	transport  client.Transport
	kinds      []*kind.Info
	namespaces client.Client[*corev1.Namespace]
	live       client.Live[*corev1.Namespace]
	now        func() time.Time
}

// New declares the namespace controller; kinds are all that the server keeps.
func New(t client.Transport, kinds []*kind.Info, workers int) *reconcile.Controller {
	c := &controller{transport: t, namespaces: client.For[*corev1.Namespace](t), now: time.Now}
	c.live = c.namespaces.Live()
	namespaces := api.Of[*corev1.Namespace]()
	reads := []reconcile.Read{{Kind: namespaces, Keys: reconcile.Own}}
	for _, k := range kinds {
		if k.Namespaced && k.Stored() && (k.Serves("delete") || k.Serves("deletecollection")) {
			c.kinds = append(c.kinds, k)
			reads = append(reads, reconcile.Read{Kind: k, Keys: c.contentChanged})
		}
	}
	return &reconcile.Controller{
		Name: "namespace", Workers: workers,
		Reads: reads,
		Writes: []reconcile.Write{
			{Kind: namespaces, Subresource: "status", Verbs: []client.Verb{client.Update}},
			{Kind: namespaces, Subresource: "finalize", Verbs: []client.Verb{client.Update}},
			{Verbs: []client.Verb{client.Delete, client.DeleteCollection}},
		},
		Pace:      reconcile.Pace{Burst: 5, Interval: 50 * time.Millisecond},
		Reconcile: c.reconcile,
	}
}

// contentChanged wakes a namespace that waits to be empty when something in it has gone, or has come late.
func (c *controller) contentChanged(d client.Delta, enqueue func(reconcile.Key)) {
	if d.Old != nil && d.New != nil {
		return
	}
	o := d.New
	if o == nil {
		o = d.Old
	}
	if ns, ok := c.live.Get("", o.GetNamespace()); !ok && d.New != nil || ok && ns.DeletionTimestamp != nil {
		enqueue(reconcile.Key{Name: o.GetNamespace()})
	}
}

func (c *controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	ns, ok := c.live.Get("", key.Name)
	if !ok {
		return reconcile.Result{}, c.sweep(ctx, key.Name)
	}
	if ns.DeletionTimestamp == nil || len(ns.Spec.Finalizers) == 0 {
		return reconcile.Result{}, nil
	}
	left := c.look(ns.Name)
	p := makePlan(left)
	if p.Done {
		return reconcile.Result{}, c.finalize(ctx, ns)
	}
	failed := c.delete(ctx, ns.Name, p)
	if failed == nil && len(p.Delete) > 0 {
		// What stays although it was told to go is judged at the next look.
		return reconcile.Result{After: again}, nil
	}
	if err := c.writeStatus(ctx, ns, left, failed); err != nil || failed != nil {
		return reconcile.Result{}, errors.Join(failed, err)
	}
	return reconcile.Result{After: p.After}, nil
}

// sweep deletes what was let in while its namespace went away: nobody else would ever remove it. That the namespace is gone is
// believed of the server alone, because the view may lag.
func (c *controller) sweep(ctx context.Context, name string) error {
	_, err := c.namespaces.Get(ctx, "", name)
	if err == nil {
		return nil
	}
	if !apierrors.IsNotFound(err) {
		return err
	}
	return c.delete(ctx, name, makePlan(c.look(name)))
}

// look counts what is left in a namespace.
func (c *controller) look(namespace string) []content {
	var left []content
	for _, k := range c.kinds {
		found := content{kind: k, finalizers: map[string]int{}}
		for o := range c.transport.View(k).All(namespace) {
			found.count++
			if o.GetDeletionTimestamp() == nil {
				found.fresh++
			}
			for _, f := range o.GetFinalizers() {
				found.finalizers[f]++
			}
			if pod, ok := o.(*corev1.Pod); ok {
				found.grace = max(found.grace, podGrace(pod))
			}
		}
		if found.count > 0 {
			left = append(left, found)
		}
	}
	return left
}

func (c *controller) delete(ctx context.Context, namespace string, p plan) error {
	var failed []error
	background := metav1.DeletePropagationBackground
	options := metav1.DeleteOptions{PropagationPolicy: &background}
	for _, k := range p.Delete {
		err := c.deleteKind(ctx, k, namespace, options)
		if err != nil && !apierrors.IsNotFound(err) {
			failed = append(failed, fmt.Errorf("deleting %s: %w", resourceName(k), err))
		}
	}
	return errors.Join(failed...)
}

func (c *controller) deleteKind(ctx context.Context, k *kind.Info, namespace string, options metav1.DeleteOptions) error {
	if k.Serves("deletecollection") {
		_, err := c.transport.Do(ctx, client.Request{Verb: client.DeleteCollection, Kind: k, Namespace: namespace, Delete: options})
		return err
	}
	var objects []kind.Object
	for o := range c.transport.View(k).All(namespace) {
		if o.GetDeletionTimestamp() == nil {
			objects = append(objects, o)
		}
	}
	_, err := reconcile.Batch(ctx, len(objects), func(ctx context.Context, i int) error {
		_, err := c.transport.Do(ctx, client.Request{Verb: client.Delete, Kind: k, Namespace: namespace, Name: objects[i].GetName(), Delete: options})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
	return err
}

func (c *controller) writeStatus(ctx context.Context, ns *corev1.Namespace, left []content, failed error) error {
	changed := ns.DeepCopy()
	changed.Status.Phase = corev1.NamespaceTerminating
	changed.Status.Conditions = conditions(ns.Status.Conditions, left, failed, c.now())
	if equality.Semantic.DeepEqual(ns.Status, changed.Status) {
		return nil
	}
	_, err := c.namespaces.UpdateStatus(ctx, changed)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// finalize takes this controller's finalizer off; the server then removes the namespace.
func (c *controller) finalize(ctx context.Context, ns *corev1.Namespace) error {
	now, err := c.namespaces.Get(ctx, "", ns.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if now.UID != ns.UID {
		return nil
	}
	changed := now.DeepCopy()
	changed.Spec.Finalizers = slices.DeleteFunc(changed.Spec.Finalizers, func(f corev1.FinalizerName) bool { return f == corev1.FinalizerKubernetes })
	_, err = c.namespaces.UpdatePart(ctx, changed, "finalize")
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
