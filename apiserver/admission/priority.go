package admission

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apiserver/pkg/admission"

	"github.com/wheelhouse-k8s/wheelhouse/registry"
)

// priorityPlugin writes into pods the priority of their class, and keeps the default class unique.
type priorityPlugin struct {
	operations
	registry *registry.Registry
	classes  *registry.Resource
}

func newPriority(o *Options) admission.Interface {
	return &priorityPlugin{
		operations: onCreate | onUpdate, registry: o.Registry,
		classes: reader{o.Registry}.resource(schedulingv1.GroupName, "priorityclasses"),
	}
}

func (p *priorityPlugin) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetSubresource() != "" {
		return nil
	}
	pod, ok := podOf(a)
	if !ok {
		return nil
	}
	if a.GetOperation() == admission.Update {
		if old, ok := a.GetOldObject().(*corev1.Pod); ok {
			keepPriority(pod, old)
		}
		return nil
	}
	return p.setPriority(ctx, a, pod)
}

// keepPriority: an update that leaves out what was set here on creation does not mean to take it away.
func keepPriority(pod, old *corev1.Pod) {
	if pod.Spec.Priority == nil {
		pod.Spec.Priority = old.Spec.Priority
	}
	if pod.Spec.PreemptionPolicy == nil {
		pod.Spec.PreemptionPolicy = old.Spec.PreemptionPolicy
	}
}

func (p *priorityPlugin) setPriority(ctx context.Context, a admission.Attributes, pod *corev1.Pod) error {
	value, policy := int32(0), corev1.PreemptLowerPriority
	var class *schedulingv1.PriorityClass
	if pod.Spec.PriorityClassName == "" {
		if class = p.defaultClass(""); class != nil {
			pod.Spec.PriorityClassName = class.Name
		}
	} else {
		var ok bool
		if class, ok = await[*schedulingv1.PriorityClass](ctx, p.registry, p.classes, "", pod.Spec.PriorityClassName); !ok {
			return admission.NewForbidden(a, fmt.Errorf("no PriorityClass with name %v was found", pod.Spec.PriorityClassName))
		}
	}
	if class != nil {
		value = class.Value
		if class.PreemptionPolicy != nil {
			policy = *class.PreemptionPolicy
		}
	}
	if given := pod.Spec.Priority; given != nil && *given != value {
		return admission.NewForbidden(a, fmt.Errorf("the integer value of priority (%d) must not be provided in pod spec; priority admission controller computed %d from the given PriorityClass name", *given, value))
	}
	if given := pod.Spec.PreemptionPolicy; given != nil && *given != policy {
		return admission.NewForbidden(a, fmt.Errorf("the string value of PreemptionPolicy (%s) must not be provided in pod spec; priority admission controller computed %s from the given PriorityClass name", *given, policy))
	}
	pod.Spec.Priority, pod.Spec.PreemptionPolicy = &value, &policy
	return nil
}

// defaultClass is the class of pods that name none, other than except: the one of the lowest value if, by a race,
// there are several.
func (p *priorityPlugin) defaultClass(except string) *schedulingv1.PriorityClass {
	if p.classes == nil {
		return nil
	}
	var found *schedulingv1.PriorityClass
	for item := range p.classes.All("") {
		c, ok := item.Object().(*schedulingv1.PriorityClass)
		if ok && c.GlobalDefault && c.Name != except && (found == nil || found.Value > c.Value) {
			found = c
		}
	}
	return found
}

func (p *priorityPlugin) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetSubresource() != "" || !is(a, schedulingv1.GroupName, "priorityclasses") {
		return nil
	}
	class, ok := a.GetObject().(*schedulingv1.PriorityClass)
	if !ok || !class.GlobalDefault {
		return nil
	}
	if _, err := p.registry.Fresh(ctx); err != nil {
		return admission.NewForbidden(a, fmt.Errorf("failed to get default priority class: %w", err))
	}
	except := ""
	if a.GetOperation() == admission.Update {
		except = class.Name
	}
	if other := p.defaultClass(except); other != nil {
		return admission.NewForbidden(a, fmt.Errorf("PriorityClass %v is already marked as default. Only one default can exist", other.Name))
	}
	return nil
}
