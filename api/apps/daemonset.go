package apps

import (
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
)

// DaemonSet keeps one pod running on each node, or on each of the nodes that its template selects.
var DaemonSet = kind.Kind[*appsv1.DaemonSet]{
	Group: "apps", Version: "v1", Kind: "DaemonSet", Plural: "daemonsets",
	ShortNames: []string{"ds"}, Categories: []string{"all"},
	Namespaced: true,
	New:        func() *appsv1.DaemonSet { return &appsv1.DaemonSet{} },
	NewList:    func() runtime.Object { return &appsv1.DaemonSetList{} },

	Default:   defaultDaemonSet,
	ValidName: apivalidation.NameIsDNSSubdomain,
	PrepareCreate: func(d *appsv1.DaemonSet) {
		d.Status = appsv1.DaemonSetStatus{}
		podspec.DropDisabledOfTemplate(&d.Spec.Template)
		setTemplateGeneration(d, max(templateGeneration(d), 1))
	},
	PrepareUpdate:  prepareDaemonSetUpdate,
	Validate:       func(d *appsv1.DaemonSet) field.ErrorList { return validateDaemonSet(d, nil) },
	ValidateUpdate: validateDaemonSetUpdate,
	Warnings: func(new, old *appsv1.DaemonSet) []string {
		if old != nil && kind.Same(&new.Spec.Template, &old.Spec.Template) {
			return nil
		}
		return podspec.TemplateWarnings(&new.Spec.Template, templatePath)
	},
	HasGeneration: true,
	SpecChanged:   func(new, old *appsv1.DaemonSet) bool { return !kind.Same(&new.Spec, &old.Spec) },

	Columns: []kind.Column[*appsv1.DaemonSet]{
		kind.NameColumn[*appsv1.DaemonSet](),
		daemonCount("Desired", "desiredNumberScheduled", func(s *appsv1.DaemonSetStatus) int32 { return s.DesiredNumberScheduled }),
		daemonCount("Current", "currentNumberScheduled", func(s *appsv1.DaemonSetStatus) int32 { return s.CurrentNumberScheduled }),
		daemonCount("Ready", "numberReady", func(s *appsv1.DaemonSetStatus) int32 { return s.NumberReady }),
		daemonCount("Up-to-date", "updatedNumberScheduled", func(s *appsv1.DaemonSetStatus) int32 { return s.UpdatedNumberScheduled }),
		daemonCount("Available", "numberAvailable", func(s *appsv1.DaemonSetStatus) int32 { return s.NumberAvailable }),
		{Name: "Node Selector", Type: "string", Description: podspec.NodeSelectorDoc,
			Cell: func(d *appsv1.DaemonSet, _ time.Time) any {
				return labels.FormatLabels(d.Spec.Template.Spec.NodeSelector)
			}},
		kind.AgeColumn[*appsv1.DaemonSet](),
		{Name: "Containers", Type: "string", Priority: 1, Description: containersDoc,
			Cell: func(d *appsv1.DaemonSet, _ time.Time) any {
				return podspec.ContainerNames(d.Spec.Template.Spec.Containers)
			}},
		{Name: "Images", Type: "string", Priority: 1, Description: imagesDoc,
			Cell: func(d *appsv1.DaemonSet, _ time.Time) any {
				return podspec.ContainerImages(d.Spec.Template.Spec.Containers)
			}},
		{Name: "Selector", Type: "string", Priority: 1, Description: kind.Doc(appsv1.DaemonSetSpec{}, "selector"),
			Cell: func(d *appsv1.DaemonSet, _ time.Time) any { return metav1.FormatLabelSelector(d.Spec.Selector) }},
	},
	Status: &kind.Part[*appsv1.DaemonSet]{
		Prepare: func(new, old *appsv1.DaemonSet) {
			new.Spec = old.Spec
			if n := templateGeneration(old); n > 0 && templateGeneration(new) != n {
				setTemplateGeneration(new, n)
			}
		},
		ValidateUpdate: func(new, old *appsv1.DaemonSet) field.ErrorList {
			return append(validateDaemonSetStatus(&new.Status), validateCollisionCount(new.Status.CollisionCount, old.Status.CollisionCount)...)
		},
	},
}

func daemonCount(name, doc string, value func(*appsv1.DaemonSetStatus) int32) kind.Column[*appsv1.DaemonSet] {
	return kind.Column[*appsv1.DaemonSet]{Name: name, Type: "integer", Description: kind.Doc(appsv1.DaemonSetStatus{}, doc),
		Cell: func(d *appsv1.DaemonSet, _ time.Time) any { return int64(value(&d.Status)) }}
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
		defaultTo(&s.UpdateStrategy.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
		defaultTo(&s.UpdateStrategy.RollingUpdate.MaxSurge, intstr.FromInt32(0))
	}
	defaultTo(&s.RevisionHistoryLimit, 10)
}

func prepareDaemonSetUpdate(new, old *appsv1.DaemonSet) {
	new.Status = old.Status
	podspec.DropDisabledOfTemplate(&new.Spec.Template)
	n := templateGeneration(old)
	if !kind.Same(&new.Spec.Template, &old.Spec.Template) {
		n++
	}
	if n > 0 && templateGeneration(new) != n {
		setTemplateGeneration(new, n)
	}
}

func validateDaemonSetUpdate(new, old *appsv1.DaemonSet) field.ErrorList {
	errs := validateDaemonSet(new, old)
	return append(errs, immutableSelector(new.Spec.Selector, old.Spec.Selector)...)
}

func validateDaemonSet(new, old *appsv1.DaemonSet) field.ErrorList {
	s := &new.Spec
	errs := metav1validation.ValidateLabelSelector(s.Selector, metav1validation.LabelSelectorValidationOptions{}, selectorPath)
	if selector, err := metav1.LabelSelectorAsSelector(s.Selector); err == nil && !selector.Matches(labels.Set(s.Template.Labels)) {
		errs = append(errs, field.Invalid(templatePath.Child("metadata", "labels"), s.Template.Labels, "must match the selector"))
	}
	if s.Selector != nil && len(s.Selector.MatchLabels)+len(s.Selector.MatchExpressions) == 0 {
		errs = append(errs, field.Invalid(selectorPath, s.Selector, "an empty selector would select all pods of the namespace"))
	}
	if old == nil {
		errs = append(errs, podspec.ValidateTemplate(&s.Template, templatePath)...)
	} else if !kind.Same(&s.Template, &old.Spec.Template) {
		errs = append(errs, podspec.ValidateTemplateUpdate(&s.Template, &old.Spec.Template, templatePath)...)
	}
	errs = append(errs, runsForever(&s.Template)...)
	errs = append(errs, notNegative(s.MinReadySeconds, specPath.Child("minReadySeconds"))...)
	errs = append(errs, notNegative(templateGeneration(new), specPath.Child("templateGeneration"))...)
	errs = append(errs, validateDaemonSetStrategy(&s.UpdateStrategy, specPath.Child("updateStrategy"))...)
	return append(errs, notNegative(valueOf(s.RevisionHistoryLimit), specPath.Child("revisionHistoryLimit"))...)
}

func validateDaemonSetStrategy(s *appsv1.DaemonSetUpdateStrategy, at *field.Path) field.ErrorList {
	rolling := at.Child("rollingUpdate")
	switch s.Type {
	case appsv1.OnDeleteDaemonSetStrategyType:
		return nil
	case appsv1.RollingUpdateDaemonSetStrategyType:
		if s.RollingUpdate == nil {
			return field.ErrorList{field.Required(rolling, "must be set when type is RollingUpdate")}
		}
	default:
		return field.ErrorList{field.NotSupported(at, s.Type, []appsv1.DaemonSetUpdateStrategyType{appsv1.RollingUpdateDaemonSetStrategyType, appsv1.OnDeleteDaemonSetStrategyType})}
	}
	u := s.RollingUpdate
	unavailable, surge := rolling.Child("maxUnavailable"), rolling.Child("maxSurge")
	errs := validateIntOrPercent(u.MaxUnavailable, unavailable)
	errs = append(errs, validateIntOrPercent(u.MaxSurge, surge)...)
	errs = append(errs, validateAtMostAll(u.MaxUnavailable, unavailable)...)
	errs = append(errs, validateAtMostAll(u.MaxSurge, surge)...)
	switch without, beside := amount(u.MaxUnavailable) != 0, amount(u.MaxSurge) != 0; {
	case without && beside:
		errs = append(errs, field.Invalid(surge, u.MaxSurge, "may not be set when maxUnavailable is not 0"))
	case !without && !beside:
		errs = append(errs, field.Required(unavailable, "may not be 0 when maxSurge is 0, since then no pod could be replaced"))
	}
	return errs
}

func validateDaemonSetStatus(s *appsv1.DaemonSetStatus) field.ErrorList {
	return validateCounts(
		count{"currentNumberScheduled", int64(s.CurrentNumberScheduled)}, count{"numberMisscheduled", int64(s.NumberMisscheduled)},
		count{"desiredNumberScheduled", int64(s.DesiredNumberScheduled)}, count{"numberReady", int64(s.NumberReady)},
		count{"observedGeneration", s.ObservedGeneration}, count{"updatedNumberScheduled", int64(s.UpdatedNumberScheduled)},
		count{"numberAvailable", int64(s.NumberAvailable)}, count{"numberUnavailable", int64(s.NumberUnavailable)})
}
