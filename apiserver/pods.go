package apiserver

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/core"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
)

func preconditionFailed(what, want, have string) error {
	return fmt.Errorf("Precondition failed: %s in precondition: %v, %s in object meta: %v", what, want, what, have)
}

// pods is the registry of pods, of which bindings are written too.
func (c *call) pods() *registry.Resource {
	if rt := c.s.routes.Get().find("", "v1", "pods"); rt != nil {
		return rt.resource
	}
	return nil
}

// bind assigns a pod to a node.
func (c *call) bind(ctx context.Context, obj kind.Object) (*Response, error) {
	b, ok := obj.(*corev1.Binding)
	pods := c.pods()
	if !ok || pods == nil {
		return nil, methodNotAllowed()
	}
	name := c.Name
	if name == "" {
		name = b.Name
	}
	if name != b.Name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Binding object")
	}
	if err := c.admitAction(ctx, b, corev1.SchemeGroupVersion.WithKind("Binding")); err != nil {
		return nil, err
	}
	if errs := core.ValidateBinding(b); len(errs) > 0 {
		return nil, apierrors.NewInvalid(schema.GroupKind{Kind: "Binding"}, b.Name, errs) // the client's mistake, not the server's
	}
	o := registry.UpdateOptions{DryRun: len(c.CreateOptions.DryRun) > 0, Trusted: true}
	if b.UID != "" {
		o.UID = &b.UID
	}
	if b.ResourceVersion != "" {
		o.ResourceVersion = &b.ResourceVersion
	}
	if _, _, err := pods.Update(ctx, c.Namespace, name, func(_ context.Context, old kind.Object) (kind.Object, error) {
		if old == nil {
			return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, name)
		}
		return c.bound(old.(*corev1.Pod), b)
	}, o); err != nil {
		return nil, err
	}
	return succeeded(), nil
}

// bound is the pod on its node.
func (c *call) bound(old *corev1.Pod, b *corev1.Binding) (*corev1.Pod, error) {
	refuse := func(format string, args ...any) (*corev1.Pod, error) {
		return nil, apierrors.NewConflict(schema.GroupResource{Resource: "pods/binding"}, old.Name, fmt.Errorf(format, args...))
	}
	switch {
	case old.DeletionTimestamp != nil:
		return refuse("pod %s is being deleted, cannot be assigned to a host", old.Name)
	case old.Spec.NodeName != "":
		return refuse("pod %s is already assigned to node %q", old.Name, old.Spec.NodeName)
	case len(old.Spec.SchedulingGates) != 0:
		return refuse("pod %s has non-empty .spec.schedulingGates", old.Name)
	}
	// What the binding does not touch is shared with the old pod, which nobody changes.
	pod := *old
	pod.Spec.NodeName = b.Target.Name
	pod.Annotations = merged(old.Annotations, b.Annotations, true)
	pod.Labels = merged(old.Labels, b.Labels, false)
	pod.Status.NominatedNodeName = ""
	setCondition(&pod.Status, corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(c.s.Now())})
	return &pod, nil
}

// merged is a map with what more adds; with overwrite it also changes what is there.
func merged(present, more map[string]string, overwrite bool) map[string]string {
	if len(more) == 0 {
		return present
	}
	all := make(map[string]string, len(present)+len(more))
	for k, v := range present {
		all[k] = v
	}
	for k, v := range more {
		if _, there := all[k]; !there || overwrite {
			all[k] = v
		}
	}
	return all
}

// setCondition replaces the condition of that type in a new slice; an unchanged status keeps its transition time.
func setCondition(status *corev1.PodStatus, condition corev1.PodCondition) {
	conditions := make([]corev1.PodCondition, 0, len(status.Conditions)+1)
	found := false
	for _, have := range status.Conditions {
		if have.Type == condition.Type {
			found = true
			if have.Status == condition.Status {
				condition.LastTransitionTime = have.LastTransitionTime
			}
			have = condition
		}
		conditions = append(conditions, have)
	}
	if !found {
		conditions = append(conditions, condition)
	}
	status.Conditions = conditions
}

// evict deletes a pod with the options of the eviction. No kind limits disruptions yet.
func (c *call) evict(ctx context.Context, obj kind.Object) (*Response, error) {
	e, ok := obj.(*policyv1.Eviction)
	if !ok {
		return nil, methodNotAllowed()
	}
	if e.Name != c.Name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Eviction object")
	}
	if err := c.admitAction(ctx, e, policyv1.SchemeGroupVersion.WithKind("Eviction")); err != nil {
		return nil, err
	}
	if e.DeleteOptions != nil {
		c.DeleteOptions = *e.DeleteOptions
	}
	if len(c.CreateOptions.DryRun) > 0 {
		c.DeleteOptions.DryRun = c.CreateOptions.DryRun
	}
	subresource := c.Subresource
	c.Subresource = ""
	o, err := c.deleteOptions()
	c.Subresource = subresource
	if err != nil {
		return nil, err
	}
	item, err := c.rt.resource.Get(ctx, c.Namespace, c.Name, "")
	if err != nil {
		return nil, err
	}
	pod := item.Object().(*corev1.Pod)
	if terminal := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed; !terminal && !o.DryRun && pod.DeletionTimestamp == nil {
		if err := c.markDisrupted(ctx, o.Preconditions); err != nil {
			return nil, err
		}
		if o.Preconditions != nil {
			// The mark has given the pod another revision.
			o.Preconditions = &metav1.Preconditions{UID: o.Preconditions.UID}
		}
	}
	if _, _, err := c.rt.resource.Delete(ctx, c.Namespace, c.Name, o); err != nil {
		return nil, err
	}
	return succeeded(), nil
}

// markDisrupted says in the pod's status why it goes.
func (c *call) markDisrupted(ctx context.Context, p *metav1.Preconditions) error {
	o := registry.UpdateOptions{Part: "status", Trusted: true}
	if p != nil {
		o.UID, o.ResourceVersion = p.UID, p.ResourceVersion
	}
	_, _, err := c.rt.resource.Update(ctx, c.Namespace, c.Name, func(_ context.Context, old kind.Object) (kind.Object, error) {
		if old == nil {
			return nil, apierrors.NewNotFound(c.rt.info.GR(), c.Name)
		}
		pod := *old.(*corev1.Pod)
		setCondition(&pod.Status, corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, ObservedGeneration: pod.Generation,
			Reason: "EvictionByEvictionAPI", Message: "Eviction API: evicting", LastTransitionTime: metav1.NewTime(c.s.Now())})
		return &pod, nil
	}, o)
	return err
}
