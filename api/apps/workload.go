package apps

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
)

// workload is what the kinds of workloads have in common: where it stands in an object.
type workload struct {
	template *corev1.PodTemplateSpec
	selector *metav1.LabelSelector
	// wanted is nil for kinds that cannot be scaled.
	wanted  **int32
	present int32
}

const readyDoc = "Number of the pod with ready state"

func valueOf(n *int32) int32 {
	if n == nil {
		return 0
	}
	return *n
}

func ratio(part, whole int32) string { return fmt.Sprintf("%d/%d", part, whole) }

// preparing forgets what nothing would act on.
func preparing[E any](in func(*E) workload) func(new, old *E) {
	return func(new, _ *E) { podspec.DropDisabledOfTemplate(in(new).template) }
}

// templateWarnings are about a new template.
func templateWarnings[E any](in func(*E) workload) func(new, old *E) []string {
	return func(new, old *E) []string {
		t := in(new).template
		if old != nil && kind.Same(t, in(old).template) {
			return nil
		}
		return podspec.TemplateWarnings(t, templatePath)
	}
}

// namedWarnings are templateWarnings of a workload whose own name is the beginning of its pods'.
func namedWarnings[E any, P interface {
	*E
	kind.Object
}](in func(*E) workload) func(new, old *E) []string {
	ofTemplate := templateWarnings(in)
	return func(new, old *E) []string {
		if old != nil {
			return ofTemplate(new, old)
		}
		return append(podspec.NamePrefixWarnings(P(new).GetName()), ofTemplate(new, nil)...)
	}
}

// podColumns are about the pods of a workload.
func podColumns[E any](in func(*E) workload) []kind.Column[E] {
	return podspec.WideColumns(func(o *E) *corev1.PodTemplateSpec { return in(o).template })
}

// selectedColumns are podColumns and the selector.
func selectedColumns[E any](in func(*E) workload, selectorDoc string) []kind.Column[E] {
	return append(podColumns(in),
		kind.Text("Selector", selectorDoc, func(o *E) string { return metav1.FormatLabelSelector(in(o).selector) }).Wide())
}

// scale is the scale subresource of a workload that counts its pods.
func scale[E any](in func(*E) workload) *kind.Scale[E] {
	return &kind.Scale[E]{
		Replicas:       func(o *E) **int32 { return in(o).wanted },
		StatusReplicas: func(o *E) int32 { return in(o).present },
		Selector: func(o *E) string {
			selector, err := metav1.LabelSelectorAsSelector(in(o).selector)
			if err != nil {
				return ""
			}
			return selector.String()
		},
	}
}
