package admission

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"sigs.k8s.io/yaml"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// Annotations of a namespace: the tolerations that its pods get, and those that they may have.
const (
	defaultTolerationsAnnotation = "scheduler.alpha.kubernetes.io/defaultTolerations"
	allowedTolerationsAnnotation = "scheduler.alpha.kubernetes.io/tolerationsWhitelist"
)

// tolerationsVersion of the plugin's configuration, which is upstream's.
const tolerationsVersion = "podtolerationrestriction.admission.k8s.io/v1alpha1"

// tolerationsMax bounds what is compared each with each.
const tolerationsMax = 1000

// podTolerations gives pods their namespace's tolerations, and keeps them to those that it allows.
type podTolerations struct {
	operations
	namespaces
	byDefault, allowed []corev1.Toleration
}

func newPodTolerations(o *Options) (admission.Interface, error) {
	p := &podTolerations{operations: onCreate | onUpdate, namespaces: namespacesOf(o)}
	var err error
	p.byDefault, p.allowed, err = tolerationsOf(o)
	return p, err
}

// tolerationsOf reads the plugin's configuration: what counts for namespaces that say nothing.
func tolerationsOf(o *Options) (byDefault, allowed []corev1.Toleration, err error) {
	var file struct {
		metav1.TypeMeta `json:",inline"`
		Default         []corev1.Toleration `json:"default"`
		Whitelist       []corev1.Toleration `json:"whitelist"`
	}
	text := o.configuration("PodTolerationRestriction")
	if text == nil {
		return nil, nil, nil
	}
	if err := yaml.UnmarshalStrict(text, &file); err != nil {
		return nil, nil, fmt.Errorf("configuration of PodTolerationRestriction: %w", err)
	}
	if file.APIVersion != tolerationsVersion || file.Kind != "Configuration" {
		return nil, nil, fmt.Errorf("configuration of PodTolerationRestriction: it must be a Configuration of %s", tolerationsVersion)
	}
	for _, t := range slices.Concat(file.Default, file.Whitelist) {
		if !slices.Contains([]corev1.TolerationOperator{"", corev1.TolerationOpEqual, corev1.TolerationOpExists}, t.Operator) || t.Key == "" && t.Operator != corev1.TolerationOpExists {
			return nil, nil, fmt.Errorf("configuration of PodTolerationRestriction: no toleration has the key %q and the operator %q", t.Key, t.Operator)
		}
	}
	return file.Default, file.Whitelist, nil
}

// annotated are the tolerations in an annotation of a namespace; nil if it has none, and not nil if that is empty.
func (p *podTolerations) annotated(ctx context.Context, namespace, annotation string) ([]corev1.Toleration, error) {
	found, err := p.get(ctx, namespace)
	if err != nil {
		return nil, err
	}
	text, ok := found.Annotations[annotation]
	if !ok {
		return nil, nil
	}
	list := []corev1.Toleration{}
	if text == "" {
		return list, nil
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil { // nobody knows what is allowed
		return nil, apierrors.NewInternalError(fmt.Errorf("the annotation %s of namespace %s: %w", annotation, namespace, err))
	}
	return list, nil
}

func (p *podTolerations) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	pod, ok := podOf(a)
	if !ok || a.GetSubresource() != "" {
		return nil
	}
	var more []corev1.Toleration
	if a.GetOperation() == admission.Create {
		own, err := p.annotated(ctx, a.GetNamespace(), defaultTolerationsAnnotation)
		if err != nil {
			return err
		}
		if own == nil {
			own = p.byDefault
		}
		more = slices.Clone(own)
	}
	if asksForCompute(pod) { // else it is the first to go when memory is short
		more = append(more, corev1.Toleration{Key: corev1.TaintNodeMemoryPressure, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule})
	}
	if err := fewTolerations(a, pod, more); err != nil {
		return err
	}
	if len(more) > 0 {
		pod.Spec.Tolerations = mergeTolerations(slices.Concat(pod.Spec.Tolerations, more))
	}
	return p.Validate(ctx, a, o)
}

func fewTolerations(a admission.Attributes, pod *corev1.Pod, more []corev1.Toleration) error {
	if n := len(pod.Spec.Tolerations) + len(more); n > tolerationsMax {
		return admission.NewForbidden(a, fmt.Errorf("the pod would have %d tolerations, and at most %d are compared with those of its namespace", n, tolerationsMax))
	}
	return nil
}

// asksForCompute tells whether a pod has requests or limits of CPU or memory: its quality of service is more than best effort.
func asksForCompute(pod *corev1.Pod) bool {
	asks := func(r *corev1.ResourceRequirements) bool {
		for _, list := range []corev1.ResourceList{r.Requests, r.Limits} {
			for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
				if q, ok := list[name]; ok && q.Sign() > 0 {
					return true
				}
			}
		}
		return false
	}
	if pod.Spec.Resources != nil && asks(pod.Spec.Resources) {
		return true
	}
	container := func(c corev1.Container) bool { return asks(&c.Resources) }
	return slices.ContainsFunc(pod.Spec.Containers, container) || slices.ContainsFunc(pod.Spec.InitContainers, container)
}

func (p *podTolerations) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod, ok := podOf(a)
	if !ok || a.GetSubresource() != "" || len(pod.Spec.Tolerations) == 0 {
		return nil
	}
	allowed, err := p.annotated(ctx, a.GetNamespace(), allowedTolerationsAnnotation)
	if err != nil {
		return err
	}
	scope := "namespace"
	if allowed == nil {
		allowed, scope = p.allowed, "cluster"
	}
	if len(allowed) == 0 {
		return nil
	}
	if err := fewTolerations(a, pod, allowed); err != nil {
		return err
	}
	for n := range pod.Spec.Tolerations {
		if !slices.ContainsFunc(allowed, func(t corev1.Toleration) bool { return covers(&t, &pod.Spec.Tolerations[n]) }) {
			return apierrors.NewInternalError(fmt.Errorf("pod tolerations (possibly merged with namespace default tolerations) conflict with its %s whitelist", scope))
		}
	}
	return nil
}

// mergeTolerations drops those that another one covers. Of equal ones the first stays.
func mergeTolerations(all []corev1.Toleration) (merged []corev1.Toleration) {
	for n := range all {
		t := &all[n]
		covered := slices.ContainsFunc(merged, func(other corev1.Toleration) bool { return covers(&other, t) }) ||
			slices.ContainsFunc(all[n+1:], func(other corev1.Toleration) bool {
				return !equality.Semantic.DeepEqual(t, &other) && covers(&other, t)
			})
		if !covered {
			merged = append(merged, *t)
		}
	}
	return merged
}

// covers tells whether t tolerates all that u tolerates, and for as long.
func covers(t, u *corev1.Toleration) bool {
	switch {
	case equality.Semantic.DeepEqual(t, u):
		return true
	case t.Key != u.Key && (t.Key != "" || t.Operator != corev1.TolerationOpExists):
		return false
	case t.Effect != u.Effect && t.Effect != "":
		return false
	case t.Effect == corev1.TaintEffectNoExecute && t.TolerationSeconds != nil && (u.TolerationSeconds == nil || *u.TolerationSeconds > *t.TolerationSeconds):
		return false
	case t.Operator == corev1.TolerationOpExists:
		return true
	}
	return (t.Operator == corev1.TolerationOpEqual || t.Operator == "") && u.Operator == corev1.TolerationOpEqual && t.Value == u.Value
}

// extendedResourceToleration lets pods that ask for special devices onto the nodes that are kept for those.
type extendedResourceToleration struct{ operations }

func newExtendedResourceToleration(*Options) admission.Interface {
	return &extendedResourceToleration{onCreate | onUpdate}
}

func (*extendedResourceToleration) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod, ok := podOf(a)
	if !ok || a.GetSubresource() != "" {
		return nil
	}
	wanted := map[string]bool{}
	for _, containers := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for n := range containers {
			for name := range containers[n].Resources.Requests {
				if isExtended(string(name)) {
					wanted[string(name)] = true
				}
			}
		}
	}
	for _, t := range pod.Spec.Tolerations {
		if t.Operator == corev1.TolerationOpExists && t.Effect == corev1.TaintEffectNoSchedule && t.Value == "" && t.TolerationSeconds == nil {
			delete(wanted, t.Key)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{Key: name, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule})
	}
	return nil
}

// isExtended tells whether a resource is none of Kubernetes' own.
func isExtended(name string) bool {
	return strings.Contains(name, "/") && !strings.Contains(name, corev1.ResourceDefaultNamespacePrefix) &&
		!strings.HasPrefix(name, corev1.DefaultResourceRequestsPrefix) && len(kind.QualifiedName(corev1.DefaultResourceRequestsPrefix+name)) == 0
}
