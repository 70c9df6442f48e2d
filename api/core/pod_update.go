package core

import (
	"fmt"
	"math"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
)

const podChangeDetail = "only these may be changed: spec.containers[*].image, spec.initContainers[*].image, spec.activeDeadlineSeconds, " +
	"spec.tolerations (additions), spec.terminationGracePeriodSeconds (to 1 if it was negative)"

// validatePodUpdate judges a change by a user. A running pod cannot become another one: nearly all of its spec is fixed.
func validatePodUpdate(next, old *corev1.Pod) field.ErrorList {
	var ps problems
	ps.Add(podspec.ValidateAnnotationChanges(&next.ObjectMeta, &old.ObjectMeta, annotationsPath))
	if kind.Same(&next.Spec, &old.Spec) {
		ps.Add(podspec.ValidateAnnotations(next.Annotations, &next.Spec, annotationsPath))
		return ps.List
	}
	ps.changedPod(next, old)
	if !ps.sameContainers(next.Spec.Containers, old.Spec.Containers, "containers") || !ps.sameContainers(next.Spec.InitContainers, old.Spec.InitContainers, "initContainers") {
		return ps.List
	}
	if !ps.deadlineChange(next.Spec.ActiveDeadlineSeconds, old.Spec.ActiveDeadlineSeconds) {
		return ps.List
	}
	ps.tolerationsAdded(next.Spec.Tolerations, old.Spec.Tolerations)
	ps.gatesRemoved(next.Spec.SchedulingGates, old.Spec.SchedulingGates)
	ps.onlyMutable(next, old)
	return ps.List
}

// changedPod judges the new pod as a whole, with what was accepted of the old one.
func (ps *problems) changedPod(next, old *corev1.Pod) {
	// The old spec is looked at only if need be: nearly every pod is valid by the rules of today.
	list := podspec.ValidatePod(next, podspec.Allowances{})
	if len(list) > 0 {
		if allow := podspec.AllowancesOf(&old.Spec); allow != (podspec.Allowances{}) {
			list = podspec.ValidatePod(next, allow)
		}
	}
	ps.Add(list)
}

// sameContainers also tells whether to go on: what comes after compares the lists by position.
func (ps *problems) sameContainers(next, old []corev1.Container, list string) bool {
	if len(next) != len(old) {
		ps.Forbidden(specPath, list, "containers may not be added or removed")
		return false
	}
	for i := range next {
		at := specPath.Child(list).Index(i)
		ps.Needs(at, "image", next[i].Image)
		if strings.TrimSpace(next[i].Image) != next[i].Image {
			ps.Invalid(at, "image", next[i].Image, "must not begin or end with white space")
		}
	}
	return true
}

// deadlineChange: a deadline may be set, and then only come nearer.
func (ps *problems) deadlineChange(next, old *int64) bool {
	const name = "activeDeadlineSeconds"
	switch {
	case next == nil && old != nil:
		ps.Invalid(specPath, name, nil, "may not be removed")
	case next == nil:
	case *next < 0 || *next > math.MaxInt32:
		ps.Invalid(specPath, name, *next, "must be between 0 and 2147483647")
		return false
	case old != nil && *old < *next:
		ps.Invalid(specPath, name, *next, "must be less than or equal to the previous value")
		return false
	}
	return true
}

// tolerationsAdded: of present tolerations only the time may change. To take one away could have the pod evicted.
func (ps *problems) tolerationsAdded(next, old []corev1.Toleration) {
	present := make(map[corev1.Toleration]bool, len(next))
	for _, t := range next {
		t.TolerationSeconds = nil
		present[t] = true
	}
	for _, t := range old {
		t.TolerationSeconds = nil
		if !present[t] {
			ps.Forbidden(specPath, "tolerations", "existing tolerations may not be changed except for their tolerationSeconds")
			return
		}
	}
	ps.Add(podspec.ValidateTolerations(next, specPath.Child("tolerations")))
}

func (ps *problems) gatesRemoved(next, old []corev1.PodSchedulingGate) {
	var known kind.NameSet
	for _, gate := range old {
		known.Add(gate.Name)
	}
	for i, gate := range next {
		if !known.Has(gate.Name) {
			ps.Forbidden(specPath.Child("schedulingGates").Index(i), "name", fmt.Sprintf("gates may only be removed, but %q is new", gate.Name))
		}
	}
}

// onlyMutable sets back in a copy whatever may change; what differs then may not.
func (ps *problems) onlyMutable(next, old *corev1.Pod) {
	rest := kind.Copy(next).Spec
	for i := range rest.Containers {
		rest.Containers[i].Image = old.Spec.Containers[i].Image
	}
	for i := range rest.InitContainers {
		rest.InitContainers[i].Image = old.Spec.InitContainers[i].Image
	}
	rest.ActiveDeadlineSeconds = old.Spec.ActiveDeadlineSeconds
	rest.SchedulingGates = old.Spec.SchedulingGates
	rest.Tolerations = old.Spec.Tolerations
	// Older servers let negative periods in; 1 is what they are taken for.
	if before, after := old.Spec.TerminationGracePeriodSeconds, rest.TerminationGracePeriodSeconds; before != nil && *before < 0 && after != nil && *after == 1 {
		rest.TerminationGracePeriodSeconds = before
	}
	if len(old.Spec.SchedulingGates) > 0 {
		ps.gatedChanges(&rest, &old.Spec)
	}
	if !equality.Semantic.DeepEqual(&rest, &old.Spec) {
		ps.Forbidden(specPath, "", podChangeDetail)
	}
}

// gatedChanges: while a pod waits for its gates, the nodes it may go to may become fewer. rest is set back to old.
func (ps *problems) gatedChanges(rest, old *corev1.PodSpec) {
	for key, value := range old.NodeSelector {
		if after, ok := rest.NodeSelector[key]; !ok || after != value {
			ps.Invalid(specPath, "nodeSelector", rest.NodeSelector, "may only get additional labels")
			break
		}
	}
	rest.NodeSelector = old.NodeSelector

	before, after := podspec.NodeAffinity(old), podspec.NodeAffinity(rest)
	if equality.Semantic.DeepEqual(before, after) {
		return
	}
	ps.nodeAffinityNarrowed(after, before)
	switch {
	case rest.Affinity == nil:
		rest.Affinity = &corev1.Affinity{NodeAffinity: before}
	case old.Affinity == nil && rest.Affinity.PodAffinity == nil && rest.Affinity.PodAntiAffinity == nil:
		rest.Affinity = nil
	default:
		rest.Affinity.NodeAffinity = before
	}
}

func (ps *problems) nodeAffinityNarrowed(next, old *corev1.NodeAffinity) {
	if old == nil || old.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return
	}
	before := old.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	var after []corev1.NodeSelectorTerm
	if next != nil && next.RequiredDuringSchedulingIgnoredDuringExecution != nil {
		after = next.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	}
	at := specPath.Child("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
	// Terms are alternatives: one more lets in other nodes, and one fewer may leave none.
	if len(before) > 0 && len(before) != len(after) {
		ps.Invalid(at, "", len(after), "terms may not be added or removed")
		return
	}
	for i := range before {
		if !termNarrowed(&after[i], &before[i]) {
			ps.Invalid(at.Index(i), "", after[i], "may only get additional requirements")
		}
	}
}

// termNarrowed: requirements of one node selector term must all hold, so more of them select fewer nodes. But one without any
// selects none, so requirements would let it select more.
func termNarrowed(next, old *corev1.NodeSelectorTerm) bool {
	if len(old.MatchExpressions)+len(old.MatchFields) == 0 {
		return len(next.MatchExpressions)+len(next.MatchFields) == 0
	}
	return extended(next.MatchExpressions, old.MatchExpressions) && extended(next.MatchFields, old.MatchFields)
}

// extended: what was there stays, in its order, and new ones come after it.
func extended(next, old []corev1.NodeSelectorRequirement) bool {
	return len(next) >= len(old) && equality.Semantic.DeepEqual(next[:len(old)], old) || len(old) == 0
}
