package core

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
)

func validateNode(n, _ *corev1.Node) field.ErrorList {
	var ps kind.Problems
	ps.Add(validateNodeAnnotations(n))
	ps.Add(validateNodeTaints(n.Spec.Taints, field.NewPath("metadata", "taints")))
	ps.Add(validateNodeResources(n))
	ps.Add(validatePodCIDRs(n.Spec.PodCIDRs))
	return ps.List
}

// validatePodCIDRs allows one block a family.
func validatePodCIDRs(blocks []string) field.ErrorList {
	var ps kind.Problems
	path := field.NewPath("spec", "podCIDRs")
	for n, block := range blocks {
		ps.Add(validation.IsValidCIDRForLegacyField(path.Index(n), block, true, nil))
		if slices.Contains(blocks[:n], block) {
			ps.Duplicate(path.Index(n), "", block)
		}
	}
	if len(blocks) < 2 {
		return ps.List
	}
	first, err1 := netip.ParsePrefix(blocks[0])
	second, err2 := netip.ParsePrefix(blocks[1])
	if len(blocks) > 2 || err1 == nil && err2 == nil && first.Addr().Is4() == second.Addr().Is4() {
		ps.Invalid(path, "", blocks, "may hold no more than one CIDR for each IP family")
	}
	return ps.List
}

func validateNodeTaints(taints []corev1.Taint, path *field.Path) field.ErrorList {
	type identity struct {
		key    string
		effect corev1.TaintEffect
	}
	var ps kind.Problems
	seen := make(map[identity]bool, len(taints))
	for n, t := range taints {
		at := path.Index(n)
		ps.Add(metav1validation.ValidateLabelName(t.Key, at.Child("key")))
		ps.Messages(at, "value", t.Value, validation.IsValidLabelValue(t.Value))
		kind.RequiredOneOf(&ps, at, "effect", t.Effect, taintEffects...)
		id := identity{t.Key, t.Effect}
		if seen[id] {
			ps.Duplicate(at, "", fmt.Sprintf("%s:%s", t.Key, t.Effect))
		}
		seen[id] = true
	}
	return ps.List
}

var taintEffects = []corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute}

// validateNodeResources wants quantities that a node can have: not negative, and whole where the resource is counted.
func validateNodeResources(n *corev1.Node) field.ErrorList {
	var ps kind.Problems
	for name, q := range n.Status.Capacity {
		ps.Add(validateNodeQuantity(name, q, field.NewPath("status", "capacity", string(name))))
	}
	for name, q := range n.Status.Allocatable {
		ps.Add(validateNodeQuantity(name, q, field.NewPath("status", "allocatable", string(name))))
	}
	return ps.List
}

func validateNodeQuantity(name corev1.ResourceName, q resource.Quantity, path *field.Path) field.ErrorList {
	var ps kind.Problems
	if q.Sign() < 0 {
		ps.Invalid(path, "", q.String(), "must be greater than or equal to 0")
	}
	if podspec.Counted(name) && q.MilliValue()%1000 != 0 {
		ps.Invalid(path, "", q.String(), "must be an integer")
	}
	return ps.List
}

// taintsAnnotation held the taints before the field did.
const taintsAnnotation = "scheduler.alpha.kubernetes.io/taints"

func validateNodeAnnotations(n *corev1.Node) field.ErrorList {
	var ps kind.Problems
	ps.Add(validatePreferAvoidPods(n))
	text := n.Annotations[taintsAnnotation]
	if text == "" {
		return ps.List
	}
	path := field.NewPath("metadata", "annotations")
	var taints []corev1.Taint
	if err := json.Unmarshal([]byte(text), &taints); err != nil {
		ps.Invalid(path, "", taintsAnnotation, err.Error())
		return ps.List
	}
	ps.Add(validateNodeTaints(taints, path.Child(taintsAnnotation)))
	return ps.List
}

// validatePreferAvoidPods judges an annotation that the scheduler once read and that old tools still write.
func validatePreferAvoidPods(n *corev1.Node) field.ErrorList {
	var ps kind.Problems
	text := n.Annotations[corev1.PreferAvoidPodsAnnotationKey]
	if text == "" {
		return nil
	}
	path := field.NewPath("metadata", "annotations")
	var avoid corev1.AvoidPods
	if err := json.Unmarshal([]byte(text), &avoid); err != nil {
		ps.Invalid(path, "", corev1.PreferAvoidPodsAnnotationKey, err.Error())
		return ps.List
	}
	for n, entry := range avoid.PreferAvoidPods {
		at := path.Key(corev1.PreferAvoidPodsAnnotationKey).Index(n)
		if entry.PodSignature.PodController == nil {
			ps.Required(at, "PodSignature", "")
		} else if c := entry.PodSignature.PodController; c.Controller == nil || !*c.Controller {
			ps.Invalid(at.Child("PodSignature", "PodController", "Controller"), "", c.Controller, "must point to a controller")
		}
	}
	return ps.List
}

func validateNodeUpdate(next, old *corev1.Node) field.ErrorList {
	var ps kind.Problems
	ps.Add(validateNodeAnnotations(next))
	ps.Add(validateNodeTaints(next.Spec.Taints, field.NewPath("metadata", "taints")))
	seen := make(map[corev1.NodeAddress]bool, len(next.Status.Addresses))
	for n, a := range next.Status.Addresses {
		if seen[a] {
			ps.Duplicate(field.NewPath("status", "addresses").Index(n), "", a)
		}
		seen[a] = true
	}
	ps.Add(validateNodeResources(next))
	if len(old.Spec.PodCIDRs) > 0 && !slices.Equal(next.Spec.PodCIDRs, old.Spec.PodCIDRs) {
		ps.Forbidden(field.NewPath("spec", "podCIDRs"), "", "may not change once they are set")
	}
	if old.Spec.ProviderID != "" && old.Spec.ProviderID != next.Spec.ProviderID {
		ps.Forbidden(field.NewPath("spec", "providerID"), "", "may not change once it is set")
	}
	if next.Spec.DoNotUseExternalID != old.Spec.DoNotUseExternalID {
		ps.Forbidden(field.NewPath("spec", "externalID"), "", "may not be changed")
	}
	return ps.List
}
