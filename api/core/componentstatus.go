package core

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// ComponentStatus is the kind of what the server finds when it looks after the other parts of the master. It is long
// deprecated, and still what "kubectl get componentstatuses" shows.
var ComponentStatus = kind.Define(kind.Resource{
	GroupVersion: corev1.SchemeGroupVersion, Plural: "componentstatuses", ShortNames: []string{"cs"}, Verbs: []kind.Verb{kind.Get, kind.List},
	List: kind.ListOf[corev1.ComponentStatusList], Computed: true,
}, kind.Rules[corev1.ComponentStatus]{
	Columns: []kind.Column[corev1.ComponentStatus]{
		kind.NameColumn[corev1.ComponentStatus](),
		kind.Text("Status", "Status of the component conditions", func(c *corev1.ComponentStatus) string { return componentHealth(healthOf(c)) }),
		kind.Text("Message", "Message of the component conditions", func(c *corev1.ComponentStatus) string { return healthOf(c).Message }),
		kind.Text("Error", "Error of the component conditions", func(c *corev1.ComponentStatus) string { return healthOf(c).Error }),
	},
})

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
