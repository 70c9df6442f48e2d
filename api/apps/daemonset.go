package apps

import (
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
)

// DaemonSet keeps one pod running on each node, or on each of the nodes that its template selects.
var DaemonSet = kind.Define(kind.Resource{
	GroupVersion: appsv1.SchemeGroupVersion, Plural: "daemonsets", ShortNames: []string{"ds"}, Categories: []string{"all"}, Namespaced: true,
	List: kind.ListOf[appsv1.DaemonSetList], HasGeneration: true,
}, kind.Rules[appsv1.DaemonSet]{
	Halves:   kind.SpecAndStatus[appsv1.DaemonSet](),
	Default:  defaultDaemonSet,
	Prepare:  prepareDaemonSet,
	Validate: validateDaemonSet,
	Warnings: templateWarnings(inDaemonSet),
	Columns: kind.Columns([]kind.Column[appsv1.DaemonSet]{
		daemonCount("Desired", "desiredNumberScheduled", func(s *appsv1.DaemonSetStatus) int32 { return s.DesiredNumberScheduled }),
		daemonCount("Current", "currentNumberScheduled", func(s *appsv1.DaemonSetStatus) int32 { return s.CurrentNumberScheduled }),
		daemonCount("Ready", "numberReady", func(s *appsv1.DaemonSetStatus) int32 { return s.NumberReady }),
		daemonCount("Up-to-date", "updatedNumberScheduled", func(s *appsv1.DaemonSetStatus) int32 { return s.UpdatedNumberScheduled }),
		daemonCount("Available", "numberAvailable", func(s *appsv1.DaemonSetStatus) int32 { return s.NumberAvailable }),
		kind.Text("Node Selector", podspec.NodeSelectorDoc, func(d *appsv1.DaemonSet) string {
			return labels.FormatLabels(d.Spec.Template.Spec.NodeSelector)
		}),
	}, selectedColumns(inDaemonSet, kind.Doc(appsv1.DaemonSetSpec{}, "selector"))...),
	Status: &kind.Part[appsv1.DaemonSet]{
		Prepare:        func(new, old *appsv1.DaemonSet) { keepTemplateGeneration(new, templateGeneration(old)) },
		ValidateUpdate: validateDaemonSetStatus,
	},
})

func inDaemonSet(d *appsv1.DaemonSet) workload {
	return workload{template: &d.Spec.Template, selector: d.Spec.Selector}
}

func daemonCount(name, doc string, value func(*appsv1.DaemonSetStatus) int32) kind.Column[appsv1.DaemonSet] {
	return kind.Int(name, kind.Doc(appsv1.DaemonSetStatus{}, doc), func(d *appsv1.DaemonSet) int32 { return value(&d.Status) })
}

// templateGeneration counts the changes of a DaemonSet's template, in an annotation that older clients read.
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
	for key, value := range d.Annotations {
		annotations[key] = value
	}
	annotations[appsv1.DeprecatedTemplateGeneration] = strconv.FormatInt(n, 10)
	d.Annotations = annotations
}

func defaultDaemonSet(d *appsv1.DaemonSet) {
	s := &d.Spec
	podspec.DefaultTemplate(&s.Template)
	if s.UpdateStrategy.Type == "" {
		s.UpdateStrategy.Type = appsv1.RollingUpdateDaemonSetStrategyType
	}
	if s.UpdateStrategy.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		if s.UpdateStrategy.RollingUpdate == nil {
			s.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateDaemonSet{}
		}
		kind.FillPointer(&s.UpdateStrategy.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
		kind.FillPointer(&s.UpdateStrategy.RollingUpdate.MaxSurge, intstr.FromInt32(0))
	}
	kind.FillPointer(&s.RevisionHistoryLimit, 10)
}

func prepareDaemonSet(new, old *appsv1.DaemonSet) {
	podspec.DropDisabledOfTemplate(&new.Spec.Template)
	switch {
	case old == nil:
		setTemplateGeneration(new, max(templateGeneration(new), 1))
	case kind.Same(&new.Spec.Template, &old.Spec.Template):
		keepTemplateGeneration(new, templateGeneration(old))
	default:
		keepTemplateGeneration(new, templateGeneration(old)+1)
	}
}

// keepTemplateGeneration corrects what a writer makes of the number.
func keepTemplateGeneration(d *appsv1.DaemonSet, n int64) {
	if n > 0 && templateGeneration(d) != n {
		setTemplateGeneration(d, n)
	}
}

func validateDaemonSet(new, old *appsv1.DaemonSet) field.ErrorList {
	var ps problems
	s := &new.Spec
	ps.Add(metav1validation.ValidateLabelSelector(s.Selector, metav1validation.LabelSelectorValidationOptions{}, selectorPath))
	if selector, err := metav1.LabelSelectorAsSelector(s.Selector); err == nil && !selector.Matches(labels.Set(s.Template.Labels)) {
		ps.Invalid(templatePath.Child("metadata"), "labels", s.Template.Labels, "must match the selector")
	}
	if s.Selector != nil {
		ps.notEmpty(s.Selector)
	}
	if old == nil {
		ps.template(&s.Template, nil)
	} else {
		ps.template(&s.Template, &old.Spec.Template)
	}
	ps.NotNegative(specPath, "minReadySeconds", int64(s.MinReadySeconds))
	ps.NotNegative(specPath, "templateGeneration", templateGeneration(new))
	ps.daemonSetStrategy(&s.UpdateStrategy)
	ps.NotNegative(specPath, "revisionHistoryLimit", int64(valueOf(s.RevisionHistoryLimit)))
	if old != nil {
		ps.sameSelector(s.Selector, old.Spec.Selector)
	}
	return ps.List
}

func (ps *problems) daemonSetStrategy(s *appsv1.DaemonSetUpdateStrategy) {
	at := specPath.Child("updateStrategy")
	u := s.RollingUpdate
	switch s.Type {
	case appsv1.OnDeleteDaemonSetStrategyType:
		return
	case appsv1.RollingUpdateDaemonSetStrategyType:
	default:
		kind.OneOf(&ps.Problems, at, "", s.Type, appsv1.RollingUpdateDaemonSetStrategyType, appsv1.OnDeleteDaemonSetStrategyType)
		return
	}
	if u == nil {
		ps.Required(at, "rollingUpdate", "must be set when type is RollingUpdate")
		return
	}
	at = at.Child("rollingUpdate")
	ps.intOrPercent(at, "maxUnavailable", u.MaxUnavailable)
	ps.intOrPercent(at, "maxSurge", u.MaxSurge)
	ps.atMostAll(at, "maxUnavailable", u.MaxUnavailable)
	ps.atMostAll(at, "maxSurge", u.MaxSurge)
	switch without, beside := amount(u.MaxUnavailable) != 0, amount(u.MaxSurge) != 0; {
	case without && beside:
		ps.Invalid(at, "maxSurge", u.MaxSurge, "may not be set when maxUnavailable is not 0")
	case !without && !beside:
		ps.Required(at, "maxUnavailable", "may not be 0 when maxSurge is 0, since then no pod could be replaced")
	}
}

func validateDaemonSetStatus(new, old *appsv1.DaemonSet) field.ErrorList {
	var ps problems
	s := &new.Status
	ps.counts(
		count{"currentNumberScheduled", int64(s.CurrentNumberScheduled)}, count{"numberMisscheduled", int64(s.NumberMisscheduled)},
		count{"desiredNumberScheduled", int64(s.DesiredNumberScheduled)}, count{"numberReady", int64(s.NumberReady)},
		count{"observedGeneration", s.ObservedGeneration}, count{"updatedNumberScheduled", int64(s.UpdatedNumberScheduled)},
		count{"numberAvailable", int64(s.NumberAvailable)}, count{"numberUnavailable", int64(s.NumberUnavailable)})
	ps.collisions(s.CollisionCount, old.Status.CollisionCount)
	return ps.List
}
