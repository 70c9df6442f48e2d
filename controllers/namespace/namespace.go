// Package namespace empties namespaces that are being deleted, and then lets them go.
package namespace

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
)

const (
	// again is when to look again after a deletion, if no change wakes the controller before.
	again = 100 * time.Millisecond
	// sweepAgain is when to look again at what finalizers hold although its namespace is gone.
	sweepAgain = 30 * time.Second
)

type controller struct {
	transport  client.Transport
	namespaces reconcile.Objects[*corev1.Namespace]
	contents   *reconcile.Views
	now        func() time.Time
}

// Options of the controller, with the meaning of kube-controller-manager's flags.
type Options struct {
	ConcurrentSyncs int
}

// AddFlags adds the flags, and sets the defaults.
func (o *Options) AddFlags(s *pflag.FlagSet) {
	s.IntVar(&o.ConcurrentSyncs, "concurrent-namespace-syncs", 10, "Namespaces worked on at once.")
}

// deletable are the kinds that a namespace is emptied of.
var deletable = reconcile.Matching{What: "all in namespaces that can be deleted", Has: func(k *kind.Kind) bool {
	return k.Namespaced && k.Stored() && (k.Serves("delete") || k.Serves("deletecollection"))
}}

// New declares the namespace controller.
func New(b *reconcile.Builder) *reconcile.Controller {
	c := &controller{transport: b.Transport(), now: b.Now}
	c.namespaces = reconcile.Watch[*corev1.Namespace](b, reconcile.Own, reconcile.WritesPart("status", kind.Update), reconcile.WritesPart("finalize", kind.Update))
	c.contents = reconcile.WatchKinds(b, deletable, func(*kind.Kind) reconcile.Keys { return c.contentChanged }, reconcile.Writes(kind.Delete, kind.DeleteCollection))
	return &reconcile.Controller{
		Workers: reconcile.Option[Options](b).ConcurrentSyncs, Pace: reconcile.Pace{Burst: 5, Interval: 50 * time.Millisecond}, Reconcile: c.reconcile,
	}
}

// contentChanged wakes a namespace that waits to be empty when something in it has gone, or has come late.
func (c *controller) contentChanged(d client.Delta, enqueue func(reconcile.Key)) {
	if d.Old != nil && d.New != nil {
		return
	}
	o := reconcile.Subject(d)
	if ns, ok := c.namespaces.Live.Get("", o.GetNamespace()); !ok && d.New != nil || ok && ns.DeletionTimestamp != nil {
		enqueue(reconcile.Key{Name: o.GetNamespace()})
	}
}

func (c *controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	ns, ok := c.namespaces.Live.Get("", key.Name)
	if !ok {
		return c.sweep(ctx, key.Name)
	}
	if ns.DeletionTimestamp == nil || len(ns.Spec.Finalizers) == 0 {
		return reconcile.Result{}, nil
	}
	kinds := c.contents.Now()
	left := look(kinds, ns.Name)
	if err := kinds.Complete(ns.Name, ""); reconcile.Transient(err) {
		return reconcile.Result{}, err
	} else if err != nil {
		left = append(left, content{hidden: err})
	}
	p := makePlan(left)
	var failed error
	if p.Done {
		empty, err := c.isEmpty(ctx, kinds, ns.Name)
		switch {
		case err == nil && empty:
			return reconcile.Result{}, c.finalize(ctx, ns)
		case err == nil: // the views are behind
			return reconcile.Result{After: again}, nil
		}
		failed = err
	} else {
		failed = errors.Join(c.delete(ctx, ns.Name, p), unseen(left))
	}
	if failed == nil && len(p.Delete) > 0 {
		// What stays although it was told to go is judged at the next look.
		return reconcile.Result{After: again}, nil
	}
	if err := c.writeStatus(ctx, ns, left, failed); err != nil || failed != nil {
		return reconcile.Result{}, errors.Join(failed, err)
	}
	return reconcile.Result{After: p.After}, nil
}

// sweep deletes what was let in while its namespace went away: nobody else would ever remove it. That the namespace is gone
// must be proven: the view may lag, or the namespace be one that cannot be read. Only what was seen before the proof goes, by its
// uid: a namespace of the name may be made at any moment after it.
func (c *controller) sweep(ctx context.Context, name string) (reconcile.Result, error) {
	left := look(c.contents.Now(), name)
	if len(left) == 0 {
		return reconcile.Result{}, nil
	}
	p := makePlan(left)
	var doomed []condemned
	for _, k := range p.Delete {
		doomed = append(doomed, c.seen(k, name)...)
	}
	gone, err := c.namespaces.Look(ctx, "", name, "").Gone()
	if err != nil || !gone {
		return reconcile.Result{}, err
	}
	if err := errors.Join(c.deleteSeen(ctx, doomed), unseen(left)); err != nil {
		return reconcile.Result{}, err
	}
	if len(doomed) == 0 {
		return reconcile.Result{After: max(p.After, sweepAgain)}, nil
	}
	return reconcile.Result{After: p.After}, nil
}

// condemned is an object that was seen in a namespace.
type condemned struct {
	kind *kind.Kind
	kind.Object
}

// seen are a namespace's objects of a kind that nobody has asked to delete yet.
func (c *controller) seen(k *kind.Kind, namespace string) []condemned {
	view := c.contents.Now().Of(k)
	if view == nil {
		return nil // the kind has gone
	}
	var found []condemned
	for o := range view.All(namespace) {
		if o.GetDeletionTimestamp() == nil {
			found = append(found, condemned{k, o})
		}
	}
	return found
}

// deleteSeen deletes these very objects.
func (c *controller) deleteSeen(ctx context.Context, all []condemned) error {
	background := metav1.DeletePropagationBackground
	_, err := reconcile.Batch(ctx, len(all), func(ctx context.Context, i int) error {
		uid := all[i].GetUID()
		options := metav1.DeleteOptions{PropagationPolicy: &background, Preconditions: &metav1.Preconditions{UID: &uid}}
		_, err := c.transport.Do(ctx, client.Request{Verb: kind.Delete, Kind: all[i].kind, Namespace: all[i].GetNamespace(), Name: all[i].GetName(), Delete: options})
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return nil
		}
		return err
	})
	return err
}

// isEmpty asks the server whether nothing of any kind is left in a namespace, in any form, nor anything that no kind explains.
func (c *controller) isEmpty(ctx context.Context, kinds *reconcile.Moment, namespace string) (bool, error) {
	all := kinds.All()
	full := make([]bool, len(all))
	_, err := reconcile.Batch(ctx, len(all), func(ctx context.Context, i int) error {
		empty, err := client.LookEmpty(ctx, c.transport, all[i].Kind, namespace)
		full[i] = !empty
		return err
	})
	if err == nil {
		err = kinds.Complete(namespace, "")
	}
	return err == nil && !slices.Contains(full, true), err
}

// unseen tells of content that cannot be read.
func unseen(left []content) error {
	var failed []error
	for _, found := range left {
		if found.hidden != nil {
			failed = append(failed, fmt.Errorf("deleting %s: %w", resourceName(found.kind), found.hidden))
		}
	}
	return errors.Join(failed...)
}

// look counts what is left in a namespace.
func look(kinds *reconcile.Moment, namespace string) []content {
	var left []content
	for _, k := range kinds.All() {
		found := content{kind: k.Kind, finalizers: map[string]int{}, hidden: k.Whole(namespace)}
		for o := range k.All(namespace) {
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
		if found.count > 0 || found.hidden != nil {
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
		if err := c.deleteKind(ctx, k, namespace, options); err != nil && !apierrors.IsNotFound(err) {
			failed = append(failed, fmt.Errorf("deleting %s: %w", resourceName(k), err))
		}
	}
	return errors.Join(failed...)
}

func (c *controller) deleteKind(ctx context.Context, k *kind.Kind, namespace string, options metav1.DeleteOptions) error {
	if k.Serves("deletecollection") {
		_, err := c.transport.Do(ctx, client.Request{Verb: kind.DeleteCollection, Kind: k, Namespace: namespace, Delete: options})
		return err
	}
	return c.deleteSeen(ctx, c.seen(k, namespace))
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
