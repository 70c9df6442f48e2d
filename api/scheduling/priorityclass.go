// Package scheduling defines the kinds of scheduling.k8s.io.
package scheduling

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// Values and names of priorities that the system keeps for itself.
const (
	HighestUserDefinablePriority = int32(1000000000)
	SystemPriorityClassPrefix    = "system-"
	SystemClusterCritical        = "system-cluster-critical"
	SystemNodeCritical           = "system-node-critical"
)

// SystemClasses are the priority classes that every cluster has; they are made at start.
var SystemClasses = []*schedulingv1.PriorityClass{
	systemClass(SystemNodeCritical, 2*HighestUserDefinablePriority+1000,
		"Used for system critical pods that must not be moved from their current node."),
	systemClass(SystemClusterCritical, 2*HighestUserDefinablePriority,
		"Used for system critical pods that must run in the cluster, but can be moved to another node if necessary."),
}

func systemClass(name string, value int32, description string) *schedulingv1.PriorityClass {
	policy := corev1.PreemptLowerPriority
	return &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value, Description: description, PreemptionPolicy: &policy}
}

// PriorityClass is the kind of priority classes.
var PriorityClass = kind.Define(kind.Resource{
	GroupVersion: schedulingv1.SchemeGroupVersion, Plural: "priorityclasses", ShortNames: []string{"pc"},
	List: kind.ListOf[schedulingv1.PriorityClassList], HasGeneration: true,
}, kind.Rules[schedulingv1.PriorityClass]{
	Default:        defaultPriorityClass,
	Validate:       validatePriorityClass,
	ValidateUpdate: validatePriorityClassUpdate,
	Columns: kind.Columns([]kind.Column[schedulingv1.PriorityClass]{
		kind.Int("Value", kind.Doc(schedulingv1.PriorityClass{}, "value"), func(p *schedulingv1.PriorityClass) int32 { return p.Value }),
		{Name: "Global-Default", Type: "boolean", Description: kind.Doc(schedulingv1.PriorityClass{}, "globalDefault"),
			Cell: func(p *schedulingv1.PriorityClass, _ time.Time) any { return p.GlobalDefault }},
	},
		kind.Text("PreemptionPolicy", kind.Doc(schedulingv1.PriorityClass{}, "preemptionPolicy"), func(p *schedulingv1.PriorityClass) string {
			if p.PreemptionPolicy == nil {
				return ""
			}
			return string(*p.PreemptionPolicy)
		}),
	),
})

func defaultPriorityClass(p *schedulingv1.PriorityClass) {
	kind.FillPointer(&p.PreemptionPolicy, corev1.PreemptLowerPriority)
}

var preemptionPolicies = []corev1.PreemptionPolicy{corev1.PreemptLowerPriority, corev1.PreemptNever}

func validatePriorityClass(p, _ *schedulingv1.PriorityClass) field.ErrorList {
	var ps kind.Problems
	if strings.HasPrefix(p.Name, SystemPriorityClassPrefix) {
		if !isSystemClass(p) {
			ps.Forbidden(field.NewPath("metadata", "name"), "", "names with the prefix '"+SystemPriorityClassPrefix+"' are reserved for the system")
		}
	} else if p.Value > HighestUserDefinablePriority {
		ps.Forbidden(nil, "value", "the highest value that users may give is 1000000000")
	}
	if p.PreemptionPolicy == nil {
		ps.Required(nil, "preemptionPolicy", "")
		return ps.List
	}
	kind.OneOf(&ps, nil, "preemptionPolicy", *p.PreemptionPolicy, preemptionPolicies...)
	return ps.List
}

func isSystemClass(p *schedulingv1.PriorityClass) bool {
	return slices.ContainsFunc(SystemClasses, func(s *schedulingv1.PriorityClass) bool {
		return s.Name == p.Name && s.Value == p.Value && s.GlobalDefault == p.GlobalDefault
	})
}

func validatePriorityClassUpdate(next, old *schedulingv1.PriorityClass) field.ErrorList {
	var ps kind.Problems
	if next.Value != old.Value {
		ps.Forbidden(nil, "value", "may not be changed in an update")
	}
	ps.Add(apivalidation.ValidateImmutableField(next.PreemptionPolicy, old.PreemptionPolicy, field.NewPath("preemptionPolicy")))
	return ps.List
}
