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

	"github.com/wheelhouse-k8s/wheelhouse/api/podspec"
)

func validateNode(n, _ *corev1.Node) field.ErrorList {
	errs := validateNodeAnnotations(n)
	errs = append(errs, validateNodeTaints(n.Spec.Taints, field.NewPath("metadata", "taints"))...)
	errs = append(errs, validateNodeResources(n)...)
	return append(errs, validatePodCIDRs(n.Spec.PodCIDRs)...)
}

// validatePodCIDRs allows one block a family.
func validatePodCIDRs(blocks []string) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("spec", "podCIDRs")
	for n, block := range blocks {
		errs = append(errs, validation.IsValidCIDRForLegacyField(path.Index(n), block, true, nil)...)
		if slices.Contains(blocks[:n], block) {
			errs = append(errs, field.Duplicate(path.Index(n), block))
		}
	}
	if len(blocks) < 2 {
		return errs
	}
	first, err1 := netip.ParsePrefix(blocks[0])
	second, err2 := netip.ParsePrefix(blocks[1])
	if len(blocks) > 2 || err1 == nil && err2 == nil && first.Addr().Is4() == second.Addr().Is4() {
		errs = append(errs, field.Invalid(path, blocks, "may hold no more than one CIDR for each IP family"))
	}
	return errs
}

func validateNodeTaints(taints []corev1.Taint, path *field.Path) field.ErrorList {
	type identity struct {
		key    string
		effect corev1.TaintEffect
	}
	var errs field.ErrorList
	seen := make(map[identity]bool, len(taints))
	for n, t := range taints {
		at := path.Index(n)
		errs = append(errs, metav1validation.ValidateLabelName(t.Key, at.Child("key"))...)
		for _, msg := range validation.IsValidLabelValue(t.Value) {
			errs = append(errs, field.Invalid(at.Child("value"), t.Value, msg))
		}
		errs = append(errs, validateNodeTaintEffect(t.Effect, at.Child("effect"))...)
		id := identity{t.Key, t.Effect}
		if seen[id] {
			errs = append(errs, field.Duplicate(at, fmt.Sprintf("%s:%s", t.Key, t.Effect)))
		}
		seen[id] = true
	}
	return errs
}

var taintEffects = []corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute}

func validateNodeTaintEffect(effect corev1.TaintEffect, path *field.Path) field.ErrorList {
	if effect == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	if !slices.Contains(taintEffects, effect) {
		return field.ErrorList{field.NotSupported(path, effect, taintEffects)}
	}
	return nil
}

// validateNodeResources wants quantities that a node can have: not negative, and whole where the resource is counted.
func validateNodeResources(n *corev1.Node) field.ErrorList {
	var errs field.ErrorList
	for name, q := range n.Status.Capacity {
		errs = append(errs, validateNodeQuantity(name, q, field.NewPath("status", "capacity", string(name)))...)
	}
	for name, q := range n.Status.Allocatable {
		errs = append(errs, validateNodeQuantity(name, q, field.NewPath("status", "allocatable", string(name)))...)
	}
	return errs
}

func validateNodeQuantity(name corev1.ResourceName, q resource.Quantity, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if q.Sign() < 0 {
		errs = append(errs, field.Invalid(path, q.String(), "must be greater than or equal to 0"))
	}
	if podspec.Counted(name) && q.MilliValue()%1000 != 0 {
		errs = append(errs, field.Invalid(path, q.String(), "must be an integer"))
	}
	return errs
}

// taintsAnnotation held the taints before the field did.
const taintsAnnotation = "scheduler.alpha.kubernetes.io/taints"

func validateNodeAnnotations(n *corev1.Node) field.ErrorList {
	errs := validatePreferAvoidPods(n)
	text := n.Annotations[taintsAnnotation]
	if text == "" {
		return errs
	}
	path := field.NewPath("metadata", "annotations")
	var taints []corev1.Taint
	if err := json.Unmarshal([]byte(text), &taints); err != nil {
		return append(errs, field.Invalid(path, taintsAnnotation, err.Error()))
	}
	return append(errs, validateNodeTaints(taints, path.Child(taintsAnnotation))...)
}

// validatePreferAvoidPods judges an annotation that the scheduler once read and that old tools still write.
func validatePreferAvoidPods(n *corev1.Node) field.ErrorList {
	text := n.Annotations[corev1.PreferAvoidPodsAnnotationKey]
	if text == "" {
		return nil
	}
	path := field.NewPath("metadata", "annotations")
	var avoid corev1.AvoidPods
	if err := json.Unmarshal([]byte(text), &avoid); err != nil {
		return field.ErrorList{field.Invalid(path, corev1.PreferAvoidPodsAnnotationKey, err.Error())}
	}
	var errs field.ErrorList
	for n, entry := range avoid.PreferAvoidPods {
		at := path.Key(corev1.PreferAvoidPodsAnnotationKey).Index(n)
		if entry.PodSignature.PodController == nil {
			errs = append(errs, field.Required(at.Child("PodSignature"), ""))
		} else if c := entry.PodSignature.PodController; c.Controller == nil || !*c.Controller {
			errs = append(errs, field.Invalid(at.Child("PodSignature", "PodController", "Controller"), c.Controller, "must point to a controller"))
		}
	}
	return errs
}

func validateNodeUpdate(new, old *corev1.Node) field.ErrorList {
	errs := validateNodeAnnotations(new)
	errs = append(errs, validateNodeTaints(new.Spec.Taints, field.NewPath("metadata", "taints"))...)
	seen := make(map[corev1.NodeAddress]bool, len(new.Status.Addresses))
	for n, a := range new.Status.Addresses {
		if seen[a] {
			errs = append(errs, field.Duplicate(field.NewPath("status", "addresses").Index(n), a))
		}
		seen[a] = true
	}
	errs = append(errs, validateNodeResources(new)...)
	if len(old.Spec.PodCIDRs) > 0 && !slices.Equal(new.Spec.PodCIDRs, old.Spec.PodCIDRs) {
		errs = append(errs, field.Forbidden(field.NewPath("spec", "podCIDRs"), "may not change once they are set"))
	}
	if old.Spec.ProviderID != "" && old.Spec.ProviderID != new.Spec.ProviderID {
		errs = append(errs, field.Forbidden(field.NewPath("spec", "providerID"), "may not change once it is set"))
	}
	if new.Spec.DoNotUseExternalID != old.Spec.DoNotUseExternalID {
		errs = append(errs, field.Forbidden(field.NewPath("spec", "externalID"), "may not be changed"))
	}
	return errs
}
