// Package endpointslice keeps the EndpointSlices of Services with a selector: the addresses and ports of their pods.
package endpointslice

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	trigger "k8s.io/endpointslice/util"

	"github.com/wheelhouse-k8s/wheelhouse/api"
	"github.com/wheelhouse-k8s/wheelhouse/client"
	"github.com/wheelhouse-k8s/wheelhouse/controllers/internal/serving"
	"github.com/wheelhouse-k8s/wheelhouse/reconcile"
)

// recheck is when a Service is looked at again of which a pod was left out, because its node was not known.
const recheck = 5 * time.Second

type controller struct {
	slices    client.Client[*discoveryv1.EndpointSlice]
	liveSlice client.Live[*discoveryv1.EndpointSlice]
	services  client.Live[*corev1.Service]
	pods      client.Live[*corev1.Pod]
	nodes     client.Live[*corev1.Node]
	hints     *hints
	times     *trigger.TriggerTimeTracker
	events    *client.Recorder
	max       int
}

// New declares the EndpointSlice controller; max is how many endpoints a slice holds at most.
func New(t client.Transport, events *client.Recorder, workers, max int) *reconcile.Controller {
	c := &controller{
		slices: client.For[*discoveryv1.EndpointSlice](t), services: client.For[*corev1.Service](t).Live(),
		pods: client.For[*corev1.Pod](t).Live(), nodes: client.For[*corev1.Node](t).Live(),
		times: trigger.NewTriggerTimeTracker(), events: events, max: max,
	}
	c.liveSlice = c.slices.Live()
	c.hints = newHints(c.nodes)
	slices := api.Of[*discoveryv1.EndpointSlice]()
	return &reconcile.Controller{
		Name: "endpoint_slice", Workers: workers,
		Reads: []reconcile.Read{
			{Kind: api.Of[*corev1.Service](), Keys: reconcile.Own},
			{Kind: api.Of[*corev1.Pod](), Keys: serving.PodChanged(c.services)},
			{Kind: slices, Keys: sliceChanged},
			{Kind: api.Of[*corev1.Node](), Keys: c.nodeChanged},
		},
		Writes:    []reconcile.Write{{Kind: slices, Verbs: []client.Verb{client.Create, client.Update, client.Delete}}},
		Pace:      reconcile.Pace{Burst: 5, Interval: 100 * time.Millisecond},
		Reconcile: c.reconcile,
	}
}

// sliceChanged looks at a Service again one of whose slices somebody changed.
func sliceChanged(d client.Delta, enqueue func(reconcile.Key)) {
	o := d.New
	if o == nil {
		o = d.Old
	}
	if o.GetLabels()[discoveryv1.LabelManagedBy] == managedBy {
		enqueue(reconcile.Key{Namespace: o.GetNamespace(), Name: o.GetLabels()[discoveryv1.LabelServiceName]})
	}
}

func (c *controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	s, ok := c.services.Get(key.Namespace, key.Name)
	if !ok {
		// The slices name the Service as their owner: the garbage collector removes them.
		c.times.DeleteService(key.Namespace, key.Name)
		return reconcile.Result{}, nil
	}
	if !serving.HasSelector(s) {
		return reconcile.Result{}, nil
	}
	w := world{service: s, pods: serving.Pods(c.pods, s), slices: c.existing(s), max: c.max, node: c.node, hidden: serving.Hidden(c.pods, s.Namespace)}
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
	n, known = c.nodes.Get("", name)
	return n, known || c.nodes.Legible("", name) != nil
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
	for slice := range c.liveSlice.All(s.Namespace) {
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
