package admission

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/admission"
	"sigs.k8s.io/yaml"
)

const (
	// nodeSelectorAnnotation of a namespace is the selector that all of its pods get.
	nodeSelectorAnnotation = "scheduler.alpha.kubernetes.io/node-selector"
	// defaultNodeSelector is the name under which the configuration has the selector of namespaces that name none.
	defaultNodeSelector = "clusterDefaultNodeSelector"
)

// podNodeSelector keeps a namespace's pods to some nodes.
type podNodeSelector struct {
	operations
	namespaces
	// byDefault is the selector of namespaces that name none.
	byDefault labels.Set
	// only are, by namespace, the labels that its pods may select.
	only map[string]labels.Set
}

func newPodNodeSelector(o *Options) (admission.Interface, error) {
	p := &podNodeSelector{operations: onCreate, namespaces: namespacesOf(o)}
	var err error
	p.byDefault, p.only, err = nodeSelectorsOf(o)
	return p, err
}

// nodeSelectorsOf reads the plugin's configuration: a selector for each namespace.
func nodeSelectorsOf(o *Options) (byDefault labels.Set, only map[string]labels.Set, err error) {
	var file struct {
		Selectors map[string]string `json:"podNodeSelectorPluginConfig"`
	}
	if err := yaml.Unmarshal(o.configuration("PodNodeSelector"), &file); err != nil {
		return nil, nil, fmt.Errorf("configuration of PodNodeSelector: %w", err)
	}
	only = map[string]labels.Set{}
	for namespace, selector := range file.Selectors {
		set, err := labels.ConvertSelectorToLabelsMap(selector)
		if err != nil {
			return nil, nil, fmt.Errorf("configuration of PodNodeSelector: %s: %w", namespace, err)
		}
		only[namespace] = set
	}
	return only[defaultNodeSelector], only, nil
}

// selector is what all pods of a namespace select.
func (p *podNodeSelector) selector(ctx context.Context, namespace string) (labels.Set, error) {
	found, err := p.get(ctx, namespace)
	if err != nil {
		return nil, err
	}
	text, ok := found.Annotations[nodeSelectorAnnotation]
	if !ok {
		return p.byDefault, nil
	}
	set, err := labels.ConvertSelectorToLabelsMap(text)
	if err != nil { // nobody knows which nodes are meant
		return nil, apierrors.NewInternalError(fmt.Errorf("the annotation %s of namespace %s: %w", nodeSelectorAnnotation, namespace, err))
	}
	return set, nil
}

func (p *podNodeSelector) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod, set, err := p.look(ctx, a)
	if pod == nil || err != nil {
		return err
	}
	if len(set) > 0 {
		pod.Spec.NodeSelector = labels.Merge(set, pod.Spec.NodeSelector)
	}
	return p.maySelect(a, pod)
}

func (p *podNodeSelector) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod, _, err := p.look(ctx, a)
	if pod == nil || err != nil {
		return err
	}
	return p.maySelect(a, pod)
}

// look gives the pod, nil for what is none, and what its namespace selects, which the pod may not select otherwise.
func (p *podNodeSelector) look(ctx context.Context, a admission.Attributes) (*corev1.Pod, labels.Set, error) {
	pod, ok := podOf(a)
	if !ok || a.GetSubresource() != "" {
		return nil, nil, nil
	}
	set, err := p.selector(ctx, a.GetNamespace())
	if err != nil {
		return nil, nil, err
	}
	if labels.Conflicts(set, pod.Spec.NodeSelector) {
		return nil, nil, apierrors.NewForbidden(a.GetResource().GroupResource(), pod.Name, errors.New("pod node label selector conflicts with its namespace node label selector"))
	}
	return pod, set, nil
}

// maySelect refuses labels that the configuration does not let the namespace's pods select.
func (p *podNodeSelector) maySelect(a admission.Attributes, pod *corev1.Pod) error {
	only := p.only[a.GetNamespace()]
	if len(only) == 0 {
		return nil
	}
	for key, value := range pod.Spec.NodeSelector {
		if allowed, ok := only[key]; !ok || allowed != value {
			return apierrors.NewForbidden(a.GetResource().GroupResource(), pod.Name, errors.New("pod node label selector labels conflict with its namespace whitelist"))
		}
	}
	return nil
}
