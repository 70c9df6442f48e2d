// Package endpointslice keeps the EndpointSlices of Services with a selector: the addresses and ports of their pods.
package endpointslice

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	trigger "k8s.io/endpointslice/util"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/internal/serving"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
)

// recheck is when a Service is looked at again of which a pod was left out, because its node was not known.
const recheck = 5 * time.Second

type controller struct {
	services reconcile.Objects[*corev1.Service]
	pods     reconcile.Objects[*corev1.Pod]
	slices   reconcile.Objects[*discoveryv1.EndpointSlice]
	nodes    reconcile.Objects[*corev1.Node]
	hints    *hints
	times    *trigger.TriggerTimeTracker
	events   *client.Recorder
	max      int // endpoints in a slice
}

// Options of the controller, with the meaning of kube-controller-manager's flags.
type Options struct {
	ConcurrentSyncs      int
	MaxEndpointsPerSlice int
}

// AddFlags adds the flags, and sets the defaults.
func (o *Options) AddFlags(s *pflag.FlagSet) {
	s.IntVar(&o.ConcurrentSyncs, "concurrent-service-endpoint-syncs", 5, "Services whose EndpointSlices are worked on at once.")
	s.IntVar(&o.MaxEndpointsPerSlice, "max-endpoints-per-slice", 100, "Endpoints in one EndpointSlice.")
}

// New declares the EndpointSlice controller.
func New(b *reconcile.Builder) *reconcile.Controller {
	o := reconcile.Option[Options](b)
	c := &controller{times: trigger.NewTriggerTimeTracker(), events: b.Events, max: o.MaxEndpointsPerSlice}
	c.services = reconcile.Watch[*corev1.Service](b, reconcile.Own)
	c.pods = reconcile.Watch[*corev1.Pod](b, serving.PodChanged(c.services.Live))
	c.slices = reconcile.Watch[*discoveryv1.EndpointSlice](b, sliceChanged, reconcile.Writes(kind.Create, kind.Update, kind.Delete))
	c.nodes = reconcile.Watch[*corev1.Node](b, c.nodeChanged)
	c.hints = newHints(c.nodes.Live)
	return &reconcile.Controller{
		Workers: o.ConcurrentSyncs, Pace: reconcile.Pace{Burst: 5, Interval: 100 * time.Millisecond}, Reconcile: c.reconcile,
	}
}

// sliceChanged looks at a Service again one of whose slices somebody changed.
func sliceChanged(d client.Delta, enqueue func(reconcile.Key)) {
	o := reconcile.Subject(d)
	if o.GetLabels()[discoveryv1.LabelManagedBy] == managedBy {
		enqueue(reconcile.Key{Namespace: o.GetNamespace(), Name: o.GetLabels()[discoveryv1.LabelServiceName]})
	}
}

func (c *controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	s, ok := c.services.Live.Get(key.Namespace, key.Name)
	if !ok {
		// The slices name the Service as their owner: the garbage collector removes them.
		c.times.DeleteService(key.Namespace, key.Name)
		return reconcile.Result{}, nil
	}
	if !serving.HasSelector(s) {
		return reconcile.Result{}, nil
	}
	w := world{service: s, pods: serving.Pods(c.pods.Live, s), slices: c.existing(s), max: c.max, node: c.node, hidden: serving.Hidden(c.pods.Live, s.Namespace)}
	changed := c.times.ComputeEndpointLastChangeTriggerTime(s.Namespace, s, w.pods)
	var failed []error
	var result reconcile.Result
	wanted := families(s)
	for _, family := range wanted {
		p := makePlan(w, family)
		for _, e := range c.hints.apply(s, family, &p) {
			c.events.Event(s, e.EventType, e.Reason, e.Message)
		}
		if p.skipped {
			result.After = recheck
		}
		failed = append(failed, c.act(ctx, s, p, changed))
	}
	for _, slice := range w.slices {
		if !contains(wanted, slice.AddressType) {
			failed = append(failed, c.delete(ctx, slice))
		}
	}
	err := errors.Join(failed...)
	if err != nil && !reconcile.Transient(err) {
		c.events.Eventf(s, corev1.EventTypeWarning, "FailedToUpdateEndpointSlices", "Error updating Endpoint Slices for Service %s/%s: %v", s.Namespace, s.Name, err)
	}
	return result, err
}

func (c *controller) node(name string) (n *corev1.Node, known bool) {
	n, known = c.nodes.Live.Get("", name)
	return n, known || c.nodes.Live.Legible("", name) != nil
}

func contains(families []discoveryv1.AddressType, f discoveryv1.AddressType) bool {
	for _, have := range families {
		if have == f {
			return true
		}
	}
	return false
}

// existing are the slices that this controller made for a Service of the name.
func (c *controller) existing(s *corev1.Service) []*discoveryv1.EndpointSlice {
	var found []*discoveryv1.EndpointSlice
	for slice := range c.slices.Live.All(s.Namespace) {
		if slice.Labels[discoveryv1.LabelServiceName] == s.Name && slice.Labels[discoveryv1.LabelManagedBy] == managedBy && slice.DeletionTimestamp == nil {
			found = append(found, slice)
		}
	}
	return found
}

func (c *controller) act(ctx context.Context, s *corev1.Service, p plan, changed time.Time) error {
	if s.DeletionTimestamp == nil {
		for _, slice := range p.create {
			stamp(slice, changed)
			_, err := c.slices.Create(ctx, slice)
			if reconcile.NamespaceTerminating(err) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("creating an EndpointSlice: %w", err)
			}
		}
	}
	for _, slice := range p.update {
		stamp(slice, changed)
		if _, err := c.slices.Update(ctx, slice); err != nil {
			return fmt.Errorf("updating EndpointSlice %s: %w", slice.Name, err)
		}
	}
	for _, slice := range p.remove {
		if err := c.delete(ctx, slice); err != nil {
			return err
		}
	}
	return nil
}

func (c *controller) delete(ctx context.Context, slice *discoveryv1.EndpointSlice) error {
	uid := slice.UID
	err := c.slices.Delete(ctx, slice.Namespace, slice.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting EndpointSlice %s: %w", slice.Name, err)
	}
	return nil
}

// stamp notes when that happened which the slice now tells of, from which consumers see how long it took.
func stamp(slice *discoveryv1.EndpointSlice, changed time.Time) {
	if changed.IsZero() {
		delete(slice.Annotations, corev1.EndpointsLastChangeTriggerTime)
		return
	}
	if slice.Annotations == nil {
		slice.Annotations = map[string]string{}
	}
	slice.Annotations[corev1.EndpointsLastChangeTriggerTime] = changed.UTC().Format(time.RFC3339Nano)
}
