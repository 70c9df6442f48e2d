package apps

import (
	"maps"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
	"github.com/wheelhouse-k8s/wheelhouse/api/workload"
)

// DaemonSet keeps one pod running on each node, or on each of the nodes that its template selects.
var DaemonSet = workload.Define(kind.Resource{
	GroupVersion: appsv1.SchemeGroupVersion, Plural: "daemonsets", ShortNames: []string{"ds"}, List: kind.ListOf[appsv1.DaemonSetList],
}, inDaemonSet, kind.Rules[appsv1.DaemonSet]{
	Default:  defaultDaemonSet,
	Prepare:  prepareDaemonSet,
	Validate: validateDaemonSet,
	Columns: workload.Columns(inDaemonSet, kind.Doc(appsv1.DaemonSetSpec{}, "selector"),
		daemonCount("Desired", "desiredNumberScheduled", func(s *appsv1.DaemonSetStatus) int32 { return s.DesiredNumberScheduled }),
		daemonCount("Current", "currentNumberScheduled", func(s *appsv1.DaemonSetStatus) int32 { return s.CurrentNumberScheduled }),
		daemonCount("Ready", "numberReady", func(s *appsv1.DaemonSetStatus) int32 { return s.NumberReady }),
		daemonCount("Up-to-date", "updatedNumberScheduled", func(s *appsv1.DaemonSetStatus) int32 { return s.UpdatedNumberScheduled }),
		daemonCount("Available", "numberAvailable", func(s *appsv1.DaemonSetStatus) int32 { return s.NumberAvailable }),
		kind.Text("Node Selector", podspec.NodeSelectorDoc, func(d *appsv1.DaemonSet) string {
			return labels.FormatLabels(d.Spec.Template.Spec.NodeSelector)
		}),
	),
	Status: &kind.Part[appsv1.DaemonSet]{
		Prepare:        func(d, old *appsv1.DaemonSet) { keepTemplateGeneration(d, templateGeneration(old)) },
		ValidateUpdate: validateDaemonSetStatus,
	},
})

func inDaemonSet(d *appsv1.DaemonSet) workload.Parts {
	return workload.Parts{Template: &d.Spec.Template, Selector: d.Spec.Selector}
}

func daemonCount(name, doc string, value func(*appsv1.DaemonSetStatus) int32) kind.Column[appsv1.DaemonSet] {
	return kind.Int(name, kind.Doc(appsv1.DaemonSetStatus{}, doc), func(d *appsv1.DaemonSet) int32 { return value(&d.Status) })
}

// templateGeneration counts the changes of a DaemonSet's template, in an annotation that older clients read; 0 if there is no number.
func templateGeneration(d *appsv1.DaemonSet) int64 {
	n, err := strconv.ParseInt(d.Annotations[appsv1.DeprecatedTemplateGeneration], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// setTemplateGeneration replaces the annotations, which may be shared with another object.
func setTemplateGeneration(d *appsv1.DaemonSet, n int64) {
	annotations := make(map[string]string, len(d.Annotations)+1)
	maps.Copy(annotations, d.Annotations)
	annotations[appsv1.DeprecatedTemplateGeneration] = strconv.FormatInt(n, 10)
	d.Annotations = annotations
}

func defaultDaemonSet(d *appsv1.DaemonSet) {
	s := &d.Spec.UpdateStrategy
	kind.Fill(&s.Type, appsv1.RollingUpdateDaemonSetStrategyType)
	if s.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		u := kind.FillPointer(&s.RollingUpdate, appsv1.RollingUpdateDaemonSet{})
		kind.FillPointer(&u.MaxUnavailable, intstr.FromInt32(1))
		kind.FillPointer(&u.MaxSurge, intstr.FromInt32(0))
	}
	kind.FillPointer(&d.Spec.RevisionHistoryLimit, 10)
}

func prepareDaemonSet(d, old *appsv1.DaemonSet) {
	switch {
	case old == nil:
		setTemplateGeneration(d, max(templateGeneration(d), 1))
	case kind.Same(&d.Spec.Template, &old.Spec.Template):
		keepTemplateGeneration(d, templateGeneration(old))
	default:
		keepTemplateGeneration(d, templateGeneration(old)+1)
	}
}

// keepTemplateGeneration corrects what a writer makes of the number.
func keepTemplateGeneration(d *appsv1.DaemonSet, n int64) {
	if n > 0 && templateGeneration(d) != n {
		setTemplateGeneration(d, n)
	}
}

// validateDaemonSet does not ask for a selector: without one no label matches. The template is judged even if the selector cannot be read.
func validateDaemonSet(d, old *appsv1.DaemonSet) field.ErrorList {
	var ps workload.Problems
	s, is, was := &d.Spec, inDaemonSet(d), workload.Was(inDaemonSet, old)
	if s.Selector != nil {
		ps.Selector(is)
	}
	selector, err := metav1.LabelSelectorAsSelector(s.Selector)
	if err != nil {
		selector = labels.Everything()
	}
	ps.Selected(selector, is, was)
	ps.Count("minReadySeconds", &s.MinReadySeconds)
	ps.NotNegative(specPath, "templateGeneration", templateGeneration(d))
	daemonSetStrategy(&ps, &s.UpdateStrategy)
	ps.Count("revisionHistoryLimit", s.RevisionHistoryLimit)
	ps.SameSelector(is, was)
	return ps.List
}

func daemonSetStrategy(ps *workload.Problems, s *appsv1.DaemonSetUpdateStrategy) {
	at, u := specPath.Child("updateStrategy"), s.RollingUpdate
	if !rolls(ps, at, s.Type, appsv1.OnDeleteDaemonSetStrategyType, appsv1.RollingUpdateDaemonSetStrategyType, u != nil) {
		return
	}
	at = at.Child("rollingUpdate")
	steps(ps, at, u.MaxUnavailable, u.MaxSurge)
	ps.AtMostAll(at, "maxUnavailable", u.MaxUnavailable)
	ps.AtMostAll(at, "maxSurge", u.MaxSurge)
	switch without, beside := kind.Amount(u.MaxUnavailable) != 0, kind.Amount(u.MaxSurge) != 0; {
	case without && beside:
		ps.Invalid(at, "maxSurge", u.MaxSurge, "may not be set when maxUnavailable is not 0")
	case !without && !beside:
		ps.Required(at, "maxUnavailable", noStep)
	}
}

func validateDaemonSetStatus(d, old *appsv1.DaemonSet) field.ErrorList {
	var ps workload.Problems
	s := &d.Status
	ps.Numbers(
		workload.Counted("currentNumberScheduled", s.CurrentNumberScheduled), workload.Counted("numberMisscheduled", s.NumberMisscheduled),
		workload.Counted("desiredNumberScheduled", s.DesiredNumberScheduled), workload.Counted("numberReady", s.NumberReady),
		workload.Observed(s.ObservedGeneration), workload.Counted("updatedNumberScheduled", s.UpdatedNumberScheduled),
		workload.Counted("numberAvailable", s.NumberAvailable), workload.Counted("numberUnavailable", s.NumberUnavailable))
	ps.Collisions(s.CollisionCount, old.Status.CollisionCount)
	return ps.List
}
