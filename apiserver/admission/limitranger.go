package admission

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/admission"
	resourcehelpers "k8s.io/component-helpers/resource"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
)

const limitRangerAnnotation = "kubernetes.io/limit-ranger"

// limitRanger gives containers the default requests and limits of their namespace's LimitRanges, and refuses pods
// and claims beyond their bounds.
type limitRanger struct {
	operations
	ranges *registry.Resource
}

func newLimitRanger(o *Options) admission.Interface {
	return &limitRanger{onCreate | onUpdate, reader{o.Registry}.resource("", "limitranges")}
}

func (p *limitRanger) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod, ok := podOf(a)
	if !ok || !p.concerns(a) || a.GetSubresource() == "resize" {
		return nil
	}
	for r := range p.of(a) { // each fills in what those before it have left open
		applyDefaults(pod, r)
	}
	return nil
}

func (p *limitRanger) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if !p.concerns(a) {
		return nil
	}
	for r := range p.of(a) {
		var problems []error
		switch o := a.GetObject().(type) {
		case *corev1.Pod:
			problems = podProblems(o, r)
		case *corev1.PersistentVolumeClaim:
			problems = claimProblems(o, r)
		}
		if len(problems) > 0 {
			return admission.NewForbidden(a, utilerrors.NewAggregate(problems))
		}
	}
	return nil
}

// concerns: containers cannot change after creation but by resizing, and what is going away is left alone.
func (p *limitRanger) concerns(a admission.Attributes) bool {
	if p.ranges == nil {
		return false
	}
	isPod := is(a, "", "pods")
	if !isPod && !is(a, "", "persistentvolumeclaims") {
		return false
	}
	if isPod && a.GetOperation() == admission.Update {
		if a.GetSubresource() != "resize" {
			return false
		}
	} else if a.GetSubresource() != "" {
		return false
	}
	old, ok := a.GetOldObject().(kind.Object)
	return !ok || old.GetDeletionTimestamp() == nil
}

func (p *limitRanger) of(a admission.Attributes) func(yield func(*corev1.LimitRange) bool) {
	return func(yield func(*corev1.LimitRange) bool) {
		for item := range p.ranges.All(a.GetNamespace()) {
			if r, ok := item.Object().(*corev1.LimitRange); ok && !yield(r) {
				return
			}
		}
	}
}

// applyDefaults completes the resources of every container, and says in an annotation what it has set.
func applyDefaults(pod *corev1.Pod, r *corev1.LimitRange) {
	requests, limits := corev1.ResourceList{}, corev1.ResourceList{}
	for n := range r.Spec.Limits {
		if r.Spec.Limits[n].Type == corev1.LimitTypeContainer {
			maps.Copy(requests, r.Spec.Limits[n].DefaultRequest)
			maps.Copy(limits, r.Spec.Limits[n].Default)
		}
	}
	if len(requests) == 0 && len(limits) == 0 {
		return
	}
	var main, init []string
	for c := range podspec.Containers(&pod.Spec) {
		switch c.List {
		case podspec.Main:
			main = append(main, completeResources(c, "container", requests, limits)...)
		case podspec.Init:
			init = append(init, completeResources(c, "init container", requests, limits)...)
		}
	}
	if set := append(main, init...); len(set) > 0 {
		if pod.Annotations == nil {
			pod.Annotations = map[string]string{}
		}
		pod.Annotations[limitRangerAnnotation] = "LimitRanger plugin set: " + strings.Join(set, "; ")
	}
}

// completeResources fills in what a container leaves out, and tells what that was in upstream's words.
func completeResources(c podspec.Container, what string, requests, limits corev1.ResourceList) []string {
	setLimits := addMissing(&c.Resources.Limits, limits)
	setRequests := addMissing(&c.Resources.Requests, requests)
	var set []string
	if len(setRequests) > 0 {
		set = append(set, fmt.Sprintf("%s request for %s %s", strings.Join(setRequests, ", "), what, c.Name))
	}
	if len(setLimits) > 0 {
		set = append(set, fmt.Sprintf("%s limit for %s %s", strings.Join(setLimits, ", "), what, c.Name))
	}
	return set
}

func addMissing(have *corev1.ResourceList, defaults corev1.ResourceList) []string {
	var set []string
	for _, name := range slices.Sorted(maps.Keys(defaults)) {
		if _, ok := (*have)[name]; ok {
			continue
		}
		if *have == nil {
			*have = corev1.ResourceList{}
		}
		(*have)[name] = defaults[name].DeepCopy()
		set = append(set, string(name))
	}
	return set
}

func podProblems(pod *corev1.Pod, r *corev1.LimitRange) []error {
	var problems []error
	for n := range r.Spec.Limits {
		limit := &r.Spec.Limits[n]
		switch limit.Type {
		case corev1.LimitTypeContainer:
			for c := range podspec.Containers(&pod.Spec) {
				// Ephemeral containers cannot ask for resources.
				if c.List != podspec.Ephemeral {
					problems = append(problems, limitProblems(limit, c.Resources.Requests, c.Resources.Limits)...)
				}
			}
		case corev1.LimitTypePod:
			o := resourcehelpers.PodResourcesOptions{ExcludeOverhead: true}
			problems = append(problems, limitProblems(limit, resourcehelpers.PodRequests(pod, o), resourcehelpers.PodLimits(pod, o))...)
		}
	}
	return problems
}

// limitProblems holds what is asked for to the bounds: what has no limit could come to use more than the most, and what requests nothing
// less than the least. Resources are gone over by name, so that the same pod is refused in the same words.
func limitProblems(limit *corev1.LimitRangeItem, requests, limits corev1.ResourceList) []error {
	var problems []error
	each := func(bounds corev1.ResourceList, check func(name corev1.ResourceName, bound resource.Quantity, request, limit *resource.Quantity) string) {
		for _, name := range slices.Sorted(maps.Keys(bounds)) {
			if problem := check(name, bounds[name], quantity(requests, name), quantity(limits, name)); problem != "" {
				problems = append(problems, errors.New(problem))
			}
		}
	}
	each(limit.Min, func(name corev1.ResourceName, bound resource.Quantity, request, most *resource.Quantity) string {
		begin := fmt.Sprintf("minimum %s usage per %s is %s", name, limit.Type, bound.String())
		switch {
		case request == nil:
			return begin + ".  No request is specified"
		case request.Cmp(bound) < 0:
			return fmt.Sprintf("%s, but request is %s", begin, request)
		case most != nil && most.Cmp(bound) < 0:
			return fmt.Sprintf("%s, but limit is %s", begin, most)
		}
		return ""
	})
	each(limit.Max, func(name corev1.ResourceName, bound resource.Quantity, request, most *resource.Quantity) string {
		begin := fmt.Sprintf("maximum %s usage per %s is %s", name, limit.Type, bound.String())
		switch {
		case most == nil:
			return begin + ".  No limit is specified"
		case most.Cmp(bound) > 0:
			return fmt.Sprintf("%s, but limit is %s", begin, most)
		case request != nil && request.Cmp(bound) > 0:
			return fmt.Sprintf("%s, but request is %s", begin, request)
		}
		return ""
	})
	each(limit.MaxLimitRequestRatio, func(name corev1.ResourceName, bound resource.Quantity, request, most *resource.Quantity) string {
		begin := fmt.Sprintf("%s max limit to request ratio per %s is %s", name, limit.Type, bound.String())
		switch {
		case request == nil || request.IsZero():
			return begin + ", but no request is specified or request is 0"
		case most == nil || most.IsZero():
			return begin + ", but no limit is specified or limit is 0"
		}
		if ratio := most.AsApproximateFloat64() / request.AsApproximateFloat64(); ratio > bound.AsApproximateFloat64() {
			return fmt.Sprintf("%s, but provided ratio is %f", begin, ratio)
		}
		return ""
	})
	return problems
}

func quantity(list corev1.ResourceList, name corev1.ResourceName) *resource.Quantity {
	if q, ok := list[name]; ok {
		return &q
	}
	return nil
}

func claimProblems(claim *corev1.PersistentVolumeClaim, r *corev1.LimitRange) []error {
	var problems []error
	requests := claim.Spec.Resources.Requests
	for n := range r.Spec.Limits {
		limit := &r.Spec.Limits[n]
		if limit.Type != corev1.LimitTypePersistentVolumeClaim {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(limit.Min)) {
			bound, request := limit.Min[name], quantity(requests, name)
			if request == nil {
				problems = append(problems, fmt.Errorf("minimum %s usage per %s is %s.  No request is specified", name, limit.Type, bound.String()))
			} else if request.Cmp(bound) < 0 {
				problems = append(problems, fmt.Errorf("minimum %s usage per %s is %s, but request is %s", name, limit.Type, bound.String(), request))
			}
		}
		for _, name := range slices.Sorted(maps.Keys(limit.Max)) {
			bound, request := limit.Max[name], quantity(requests, name)
			if request == nil {
				problems = append(problems, fmt.Errorf("maximum %s usage per %s is %s.  No request is specified", name, limit.Type, bound.String()))
			} else if request.Cmp(bound) > 0 {
				problems = append(problems, fmt.Errorf("maximum %s usage per %s is %s, but request is %s", name, limit.Type, bound.String(), request))
			}
		}
	}
	return problems
}
