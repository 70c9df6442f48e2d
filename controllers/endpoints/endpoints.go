// Package endpoints keeps the Endpoints objects of Services with a selector: what EndpointSlices were before, kept for
// those who still read them.
package endpoints

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	trigger "k8s.io/endpointslice/util"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/internal/serving"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
)

// leaderAnnotation marks Endpoints that old clients elect their leader by: they belong to no Service.
const leaderAnnotation = "control-plane.alpha.kubernetes.io/leader"

// recheck is when a Service is looked at again whose pods cannot be read.
const recheck = 5 * time.Second

type controller struct {
	services  reconcile.Objects[*corev1.Service]
	pods      reconcile.Objects[*corev1.Pod]
	endpoints reconcile.Objects[*corev1.Endpoints]
	times     *trigger.TriggerTimeTracker
	events    *client.Recorder
}

// Options of the controller, with the meaning of kube-controller-manager's flags.
type Options struct {
	ConcurrentSyncs int
}

// AddFlags adds the flags, and sets the defaults.
func (o *Options) AddFlags(s *pflag.FlagSet) {
	s.IntVar(&o.ConcurrentSyncs, "concurrent-endpoint-syncs", 5, "Services whose Endpoints are worked on at once.")
}

// New declares the Endpoints controller.
func New(b *reconcile.Builder) *reconcile.Controller {
	c := &controller{times: trigger.NewTriggerTimeTracker(), events: b.Events}
	c.services = reconcile.Watch[*corev1.Service](b, reconcile.Own)
	c.pods = reconcile.Watch[*corev1.Pod](b, serving.PodChanged(c.services.Live))
	c.endpoints = reconcile.Watch[*corev1.Endpoints](b, endpointsRemoved, reconcile.Writes(kind.Create, kind.Update, kind.Delete))
	return &reconcile.Controller{
		Workers: reconcile.Option[Options](b).ConcurrentSyncs, Pace: reconcile.Pace{Burst: 5, Interval: 100 * time.Millisecond},
		Start: c.start, Reconcile: c.reconcile,
	}
}

func endpointsRemoved(d client.Delta, enqueue func(reconcile.Key)) {
	if d.New == nil {
		enqueue(reconcile.KeyOf(d.Old))
	}
}

// start looks once for Endpoints whose Service went away while no controller ran.
func (c *controller) start(_ context.Context, enqueue func(reconcile.Key, time.Duration)) {
	for e := range c.endpoints.Live.All("") {
		if _, leads := e.Annotations[leaderAnnotation]; !leads {
			enqueue(reconcile.KeyOf(e), 0)
		}
	}
}

func (c *controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	have, exists := c.endpoints.Live.Get(key.Namespace, key.Name)
	s, ok := c.services.Live.Get(key.Namespace, key.Name)
	if !ok {
		c.times.DeleteService(key.Namespace, key.Name)
		if !exists {
			return reconcile.Result{}, nil
		}
		return reconcile.Result{}, c.remove(ctx, have)
	}
	if !serving.HasSelector(s) {
		return reconcile.Result{}, nil
	}
	pods := serving.Pods(c.pods.Live, s)
	if len(pods) == 0 && exists && anyHidden(have, serving.Hidden(c.pods.Live, s.Namespace)) {
		return reconcile.Result{After: recheck}, nil // they may still serve
	}
	changed := c.times.ComputeEndpointLastChangeTriggerTime(s.Namespace, s, pods)
	want := makePlan(s, pods, have)
	if want == nil {
		return reconcile.Result{}, nil
	}
	if changed.IsZero() {
		delete(want.Annotations, annotationModified)
	} else {
		want.Annotations[annotationModified] = changed.UTC().Format(time.RFC3339Nano)
	}
	return reconcile.Result{}, c.write(ctx, s, want, exists)
}

// anyHidden tells whether a pod that stands behind an address may be there and cannot be read.
func anyHidden(e *corev1.Endpoints, hidden func(string) bool) bool {
	for _, subset := range e.Subsets {
		for _, a := range slices.Concat(subset.Addresses, subset.NotReadyAddresses) {
			if a.TargetRef != nil && a.TargetRef.Kind == "Pod" && hidden(a.TargetRef.Name) {
				return true
			}
		}
	}
	return false
}

// remove deletes the Endpoints of a Service that is proven to be gone.
func (c *controller) remove(ctx context.Context, e *corev1.Endpoints) error {
	if gone, err := c.services.Look(ctx, e.Namespace, e.Name, "").Gone(); err != nil || !gone {
		return err
	}
	uid := e.UID
	err := c.endpoints.Delete(ctx, e.Namespace, e.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func (c *controller) write(ctx context.Context, s *corev1.Service, want *corev1.Endpoints, exists bool) error {
	if !exists {
		_, err := c.endpoints.Create(ctx, want)
		if reconcile.NamespaceTerminating(err) {
			return nil
		}
		if err != nil && !reconcile.Transient(err) && !apierrors.IsAlreadyExists(err) {
			c.events.Eventf(s, corev1.EventTypeWarning, "FailedToCreateEndpoint", "Failed to create endpoint for service %s/%s: %v", s.Namespace, s.Name, err)
		}
		return err
	}
	_, err := c.endpoints.Update(ctx, want)
	if err != nil && !reconcile.Transient(err) {
		c.events.Eventf(s, corev1.EventTypeWarning, "FailedToUpdateEndpoint", "Failed to update endpoint %s/%s: %v", s.Namespace, s.Name, err)
	}
	return err
}
