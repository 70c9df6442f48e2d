package placement

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// namespaces are the labels of namespaces, by name.
type namespaces map[string]labels.Set

// podSelector selects pods by their namespace and labels.
type podSelector struct {
	selector labels.Selector
	in       []string
	// namespaceSelector chooses further namespaces; nil for none.
	namespaceSelector labels.Selector
	// staying leaves out pods that are about to end.
	staying bool
	// key says all of this in text.
	key string
}

func newPodSelector(selector *metav1.LabelSelector, in []string, of *metav1.LabelSelector) podSelector {
	s := podSelector{in: in}
	var err error
	if s.selector, err = metav1.LabelSelectorAsSelector(selector); err != nil {
		s.selector = labels.Nothing()
	}
	if of != nil {
		if s.namespaceSelector, err = metav1.LabelSelectorAsSelector(of); err != nil {
			s.namespaceSelector = nil
		}
	}
	s.name()
	return s
}

func (s *podSelector) name() {
	s.key = selectorText(s.selector) + "\x00" + strings.Join(s.in, ",") + "\x00" + selectorText(s.namespaceSelector)
	if s.staying {
		s.key += "\x00staying"
	}
}

// selectorText tells the selector that matches nothing from the one that matches everything: both print as "".
func selectorText(s labels.Selector) string {
	if s == nil {
		return "-"
	}
	if text := s.String(); text != "" || s.Empty() {
		return text
	}
	return "!"
}

func (s *podSelector) matches(known namespaces, pod *corev1.Pod) bool {
	if !slices.Contains(s.in, pod.Namespace) && (s.namespaceSelector == nil || !s.namespaceSelector.Matches(known[pod.Namespace])) {
		return false
	}
	return !(s.staying && pod.DeletionTimestamp != nil) && s.selector.Matches(labels.Set(pod.Labels))
}

// oneNamespace is the only one from which it selects.
func (s *podSelector) oneNamespace() (name string, one bool) {
	if len(s.in) == 1 && s.namespaceSelector == nil {
		return s.in[0], true
	}
	return "", false
}

// label that every selected pod has; false if there is none that the selector names.
func (s *podSelector) label() (label, bool) {
	requirements, _ := s.selector.Requirements()
	for i := range requirements {
		switch requirements[i].Operator() {
		case selection.Equals, selection.DoubleEquals, selection.In:
			if values := requirements[i].ValuesUnsorted(); len(values) == 1 {
				return label{requirements[i].Key(), values[0]}, true
			}
		}
	}
	return label{}, false
}

type label struct{ key, value string }

// selectorIndex finds those of many pod selectors that may select a pod without asking each: by the pod's namespace, and by a label
// that the selector requires. What it finds is still to be asked.
type selectorIndex[T comparable] struct {
	byNamespace map[string]*selectorShelf[T]
	// wide are selectors of several namespaces.
	wide selectorShelf[T]
}

type selectorShelf[T comparable] struct {
	byLabel map[label][]T
	// rest require no certain label.
	rest []T
}

func (x *selectorIndex[T]) add(s *podSelector, entry T) {
	shelf := &x.wide
	if namespace, one := s.oneNamespace(); one {
		if shelf = x.byNamespace[namespace]; shelf == nil {
			shelf = &selectorShelf[T]{}
			if x.byNamespace == nil {
				x.byNamespace = map[string]*selectorShelf[T]{}
			}
			x.byNamespace[namespace] = shelf
		}
	}
	l, ok := s.label()
	if !ok {
		shelf.rest = append(shelf.rest, entry)
		return
	}
	if shelf.byLabel == nil {
		shelf.byLabel = map[label][]T{}
	}
	shelf.byLabel[l] = append(shelf.byLabel[l], entry)
}

func (x *selectorIndex[T]) remove(s *podSelector, entry T) {
	same := func(o T) bool { return o == entry }
	namespace, one := s.oneNamespace()
	shelf := &x.wide
	if one {
		shelf = x.byNamespace[namespace]
	}
	if l, ok := s.label(); !ok {
		shelf.rest = slices.DeleteFunc(shelf.rest, same)
	} else if left := slices.DeleteFunc(shelf.byLabel[l], same); len(left) > 0 {
		shelf.byLabel[l] = left
	} else {
		delete(shelf.byLabel, l)
	}
	if one && len(shelf.rest) == 0 && len(shelf.byLabel) == 0 {
		delete(x.byNamespace, namespace)
	}
}

// find visits the entries whose selectors may select the pod, each once.
func (x *selectorIndex[T]) find(pod *corev1.Pod, visit func(T)) {
	if shelf := x.byNamespace[pod.Namespace]; shelf != nil {
		shelf.find(pod, visit)
	}
	x.wide.find(pod, visit)
}

func (x *selectorShelf[T]) find(pod *corev1.Pod, visit func(T)) {
	for _, entry := range x.rest {
		visit(entry)
	}
	if len(x.byLabel) == 0 {
		return
	}
	for key, value := range pod.Labels {
		for _, entry := range x.byLabel[label{key, value}] {
			visit(entry)
		}
	}
}
