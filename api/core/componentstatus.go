package core

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// ComponentStatus is the kind of what the server finds when it looks after the other parts of the master. It is long
// deprecated, and still what "kubectl get componentstatuses" shows.
var ComponentStatus = kind.Kind[*corev1.ComponentStatus]{
	Version: "v1", Kind: "ComponentStatus", Plural: "componentstatuses", ShortNames: []string{"cs"},
	Verbs:     []kind.Verb{kind.Get, kind.List},
	Computed:  true,
	New:       func() *corev1.ComponentStatus { return &corev1.ComponentStatus{} },
	NewList:   func() runtime.Object { return &corev1.ComponentStatusList{} },
	ValidName: apivalidation.NameIsDNSSubdomain,
	Columns: []kind.Column[*corev1.ComponentStatus]{
		kind.NameColumn[*corev1.ComponentStatus](),
		{Name: "Status", Type: "string", Description: "Status of the component conditions",
			Cell: func(c *corev1.ComponentStatus, _ time.Time) any { return componentHealth(healthOf(c)) }},
		{Name: "Message", Type: "string", Description: "Message of the component conditions",
			Cell: func(c *corev1.ComponentStatus, _ time.Time) any { return healthOf(c).Message }},
		{Name: "Error", Type: "string", Description: "Error of the component conditions",
			Cell: func(c *corev1.ComponentStatus, _ time.Time) any { return healthOf(c).Error }},
	},
}

// healthOf is the condition that is shown; empty if there is none.
func healthOf(c *corev1.ComponentStatus) corev1.ComponentCondition {
	for _, condition := range c.Conditions {
		if condition.Type == corev1.ComponentHealthy {
			return condition
		}
	}
	return corev1.ComponentCondition{}
}

func componentHealth(c corev1.ComponentCondition) string {
	switch c.Status {
	case "":
		return "Unknown"
	case corev1.ConditionTrue:
		return "Healthy"
	}
	return "Unhealthy"
}
