package core

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
)

// Pod is what runs: containers that share a node, an address and volumes.
var Pod = kind.Define(kind.Resource{
	GroupVersion: corev1.SchemeGroupVersion, Plural: "pods", ShortNames: []string{"po"}, Categories: []string{"all"}, Namespaced: true,
	List: kind.ListOf[corev1.PodList], HasGeneration: true, DeleteReturnsObject: true,
	Actions: []kind.Action{
		{Name: "attach", Kind: coreKind("PodAttachOptions"), Verbs: []kind.Verb{kind.Create, kind.Get}},
		{Name: "binding", Kind: coreKind("Binding"), Verbs: []kind.Verb{kind.Create}},
		{Name: "eviction", Kind: schema.GroupVersionKind{Group: "policy", Version: "v1", Kind: "Eviction"}, Verbs: []kind.Verb{kind.Create}},
		{Name: "exec", Kind: coreKind("PodExecOptions"), Verbs: []kind.Verb{kind.Create, kind.Get}},
		{Name: "log", Kind: coreKind("Pod"), Verbs: []kind.Verb{kind.Get}},
		{Name: "portforward", Kind: coreKind("PodPortForwardOptions"), Verbs: []kind.Verb{kind.Create, kind.Get}},
		{Name: "proxy", Kind: coreKind("PodProxyOptions"), Verbs: []kind.Verb{kind.Create, kind.Delete, kind.Get, kind.Patch, kind.Update}},
	},
}, kind.Rules[corev1.Pod]{
	Default:        podspec.DefaultPod,
	Halves:         kind.SpecAndStatus[corev1.Pod](),
	Prepare:        preparePod,
	Validate:       validatePodCreate,
	ValidateUpdate: validatePodUpdate,
	Warnings:       podWarnings,
	Grace:          podGrace,
	RowConditions:  podRowConditions,
	Fields:         podFields,
	Columns:        podColumns,
	Status: &kind.Part[corev1.Pod]{
		Prepare:        preparePodStatus,
		ValidateUpdate: validatePodStatus,
		Warnings:       podStatusWarnings,
	},
	Parts: []kind.Part[corev1.Pod]{
		{Name: "ephemeralcontainers", Prepare: prepareEphemeralContainers, ValidateUpdate: validateEphemeralContainersUpdate},
		{Name: "resize", Prepare: preparePodResize, ValidateUpdate: validatePodResize},
	},
})

func coreKind(name string) schema.GroupVersionKind {
	return schema.GroupVersionKind{Version: "v1", Kind: name}
}

// podFields are the field selectors of pods. Nodes and schedulers list by spec.nodeName, so it is indexed.
var podFields = []kind.Field[corev1.Pod]{
	{Name: "spec.nodeName", Indexed: true, Value: func(p *corev1.Pod) string { return p.Spec.NodeName }},
	{Name: "spec.restartPolicy", Value: func(p *corev1.Pod) string { return string(p.Spec.RestartPolicy) }},
	{Name: "spec.schedulerName", Value: func(p *corev1.Pod) string { return p.Spec.SchedulerName }},
	{Name: "spec.serviceAccountName", Value: func(p *corev1.Pod) string { return p.Spec.ServiceAccountName }},
	{Name: "spec.hostNetwork", Value: func(p *corev1.Pod) string {
		if p.Spec.HostNetwork {
			return "true"
		}
		return "false"
	}},
	{Name: "status.phase", Value: func(p *corev1.Pod) string { return string(p.Status.Phase) }},
	{Name: "status.podIP", Value: podIP},
	{Name: "status.podIPs", Value: podIP},
	{Name: "status.nominatedNodeName", Value: func(p *corev1.Pod) string { return p.Status.NominatedNodeName }},
}

// podIP is the first address of a pod, empty while it has none.
func podIP(p *corev1.Pod) string {
	if len(p.Status.PodIPs) > 0 {
		return p.Status.PodIPs[0].IP
	}
	return p.Status.PodIP
}

// podGrace decides how long a deleted pod may take to stop. A pod that no node runs, or that has ended, takes no time.
func podGrace(p *corev1.Pod, o *metav1.DeleteOptions) kind.Grace {
	seconds := int64(0)
	switch {
	case p.Spec.NodeName == "", p.Status.Phase == corev1.PodFailed, p.Status.Phase == corev1.PodSucceeded:
	case o != nil && o.GracePeriodSeconds != nil:
		seconds = *o.GracePeriodSeconds
	case p.Spec.TerminationGracePeriodSeconds != nil:
		seconds = *p.Spec.TerminationGracePeriodSeconds
	}
	if seconds < 0 {
		seconds = 1
	}
	return kind.Grace{Graceful: true, Seconds: seconds} // a pod that goes at once is marked all the same
}

// podRowConditions mark a pod that has run to its end, which kubectl get can leave out.
func podRowConditions(p *corev1.Pod) []metav1.TableRowCondition {
	condition := metav1.TableRowCondition{Type: metav1.RowCompleted, Status: metav1.ConditionTrue, Reason: string(p.Status.Phase)}
	switch p.Status.Phase {
	case corev1.PodSucceeded:
		condition.Message = "The pod has completed successfully."
	case corev1.PodFailed:
		condition.Message = "The pod failed."
	default:
		return nil
	}
	return []metav1.TableRowCondition{condition}
}
