package podspec

import (
	"fmt"
	"strings"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func (v *validator) affinity(a *corev1.Affinity, at *field.Path) {
	const required, preferred = "requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"
	if n := a.NodeAffinity; n != nil {
		here := at.Child("nodeAffinity")
		if s := n.RequiredDuringSchedulingIgnoredDuringExecution; s != nil {
			v.Add(ValidateNodeSelector(s, v.allow.NodeAffinityLabelValues, here.Child(required)))
		}
		for i := range n.PreferredDuringSchedulingIgnoredDuringExecution {
			affinityTerm := &n.PreferredDuringSchedulingIgnoredDuringExecution[i]
			v.weight(affinityTerm.Weight, here.Child(preferred).Index(i))
			// Values that are no label values have always been accepted here: they only match nothing.
			v.nodeSelectorTerm(&affinityTerm.Preference, true, here.Child(preferred).Index(i).Child("preference"))
		}
	}
	if p := a.PodAffinity; p != nil {
		v.podAffinityTerms(p.RequiredDuringSchedulingIgnoredDuringExecution, at.Child("podAffinity", required))
		v.weightedTerms(p.PreferredDuringSchedulingIgnoredDuringExecution, at.Child("podAffinity", preferred))
	}
	if p := a.PodAntiAffinity; p != nil {
		v.podAffinityTerms(p.RequiredDuringSchedulingIgnoredDuringExecution, at.Child("podAntiAffinity", required))
		v.weightedTerms(p.PreferredDuringSchedulingIgnoredDuringExecution, at.Child("podAntiAffinity", preferred))
	}
}

func (ps *problems) weight(w int32, at *field.Path) {
	if w <= 0 || w > 100 {
		ps.Invalid(at, "weight", w, "must be in the range 1-100")
	}
}

// ValidateNodeSelector judges a selector of nodes. anyValues accepts values that cannot be label values.
func ValidateNodeSelector(s *corev1.NodeSelector, anyValues bool, at *field.Path) field.ErrorList {
	var p problems
	if len(s.NodeSelectorTerms) == 0 {
		p.Required(at, "nodeSelectorTerms", "must have at least one term")
	}
	for i := range s.NodeSelectorTerms {
		p.nodeSelectorTerm(&s.NodeSelectorTerms[i], anyValues, at.Child("nodeSelectorTerms").Index(i))
	}
	return p.List
}

func (ps *problems) nodeSelectorTerm(t *corev1.NodeSelectorTerm, anyValues bool, at *field.Path) {
	for i := range t.MatchExpressions {
		ps.nodeExpression(&t.MatchExpressions[i], anyValues, at.Child("matchExpressions").Index(i))
	}
	for i := range t.MatchFields {
		ps.nodeField(&t.MatchFields[i], at.Child("matchFields").Index(i))
	}
}

func (ps *problems) nodeExpression(r *corev1.NodeSelectorRequirement, anyValues bool, at *field.Path) {
	switch r.Operator {
	case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
		if len(r.Values) == 0 {
			ps.Required(at, "values", "must be set when operator is In or NotIn")
		}
	case corev1.NodeSelectorOpExists, corev1.NodeSelectorOpDoesNotExist:
		if len(r.Values) > 0 {
			ps.Forbidden(at, "values", "may not be set when operator is Exists or DoesNotExist")
		}
	case corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt:
		if len(r.Values) != 1 {
			ps.Required(at, "values", "must be one value when operator is Lt or Gt")
		}
	default:
		ps.Invalid(at, "operator", r.Operator, "is not an operator of node selectors")
	}
	ps.Add(metav1validation.ValidateLabelName(r.Key, at.Child("key")))
	if anyValues {
		return
	}
	for i, value := range r.Values {
		ps.Messages(at.Child("values").Index(i), "", value, validation.IsValidLabelValue(value))
	}
}

func (ps *problems) nodeField(r *corev1.NodeSelectorRequirement, at *field.Path) {
	switch r.Operator {
	case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
		if len(r.Values) != 1 {
			ps.Required(at, "values", "must be one value")
		}
	default:
		ps.Invalid(at, "operator", r.Operator, "is not an operator for fields of nodes")
	}
	if r.Key != metav1.ObjectNameField {
		ps.Invalid(at, "key", r.Key, "is not a field of nodes that can be selected by")
		return
	}
	for i, value := range r.Values {
		ps.Subdomain(at.Child("values").Index(i), "", value)
	}
}

func (v *validator) podAffinityTerms(affinityTerms []corev1.PodAffinityTerm, at *field.Path) {
	for i := range affinityTerms {
		v.podAffinityTerm(&affinityTerms[i], at.Index(i))
	}
}

func (v *validator) weightedTerms(affinityTerms []corev1.WeightedPodAffinityTerm, at *field.Path) {
	for i := range affinityTerms {
		v.weight(affinityTerms[i].Weight, at.Index(i))
		v.podAffinityTerm(&affinityTerms[i].PodAffinityTerm, at.Index(i).Child("podAffinityTerm"))
	}
}

func (v *validator) podAffinityTerm(t *corev1.PodAffinityTerm, at *field.Path) {
	options := metav1validation.LabelSelectorValidationOptions{AllowInvalidLabelValueInSelector: v.allow.SelectorLabelValues}
	v.Add(metav1validation.ValidateLabelSelector(t.LabelSelector, options, at.Child("labelSelector")))
	v.Add(metav1validation.ValidateLabelSelector(t.NamespaceSelector, options, at.Child("namespaceSelector")))
	for _, name := range t.Namespaces {
		v.Label(at, "namespace", name)
	}
	v.labelKeys(t.MatchLabelKeys, t.LabelSelector, at.Child("matchLabelKeys"))
	v.labelKeys(t.MismatchLabelKeys, t.LabelSelector, at.Child("mismatchLabelKeys"))
	v.keysOnce(t.MatchLabelKeys, t.MismatchLabelKeys, t.LabelSelector, at)
	if t.TopologyKey == "" {
		v.Required(at, "topologyKey", "must not be empty")
	}
	v.Add(metav1validation.ValidateLabelName(t.TopologyKey, at.Child("topologyKey")))
}

func (v *validator) labelKeys(keys []string, s *metav1.LabelSelector, at *field.Path) {
	if len(keys) > 0 && s == nil {
		v.Forbidden(at, "", "may not be set without labelSelector")
		return
	}
	for i, key := range keys {
		v.Add(metav1validation.ValidateLabelName(key, at.Index(i)))
	}
}

// keysOnce: a key that is matched by the pod's own label may not be selected in another way too. The selector already
// holds an expression for each matched key, made when the pod was prepared, so a second mention is the user's.
func (v *validator) keysOnce(matched, mismatched []string, s *metav1.LabelSelector, at *field.Path) {
	if s != nil && len(matched) > 0 {
		seen := map[string]bool{}
		for key := range s.MatchLabels {
			seen[key] = true
		}
		position := map[string]int{}
		for i, key := range matched {
			position[key] = i
		}
		for _, e := range s.MatchExpressions {
			if i, ok := position[e.Key]; ok && seen[e.Key] {
				v.Invalid(at.Index(i), "", e.Key, "is both in matchLabelKeys and in labelSelector")
			}
			seen[e.Key] = true
		}
	}
	if len(matched) == 0 || len(mismatched) == 0 {
		return
	}
	var other kind.NameSet
	for _, key := range mismatched {
		other.Add(key)
	}
	for i, key := range matched {
		if other.Has(key) {
			v.Invalid(at.Child("matchLabelKeys").Index(i), "", key, "is both in matchLabelKeys and in mismatchLabelKeys")
		}
	}
}

// ValidateTolerations judges tolerations of taints.
func ValidateTolerations(tolerations []corev1.Toleration, at *field.Path) field.ErrorList {
	var p problems
	for i := range tolerations {
		p.toleration(&tolerations[i], at, i)
	}
	return p.List
}

func (ps *problems) toleration(t *corev1.Toleration, at *field.Path, i int) {
	if t.Key != "" && t.Key != corev1.TaintNodeNotReady && t.Key != corev1.TaintNodeUnreachable {
		ps.Add(metav1validation.ValidateLabelName(t.Key, at.Index(i).Child("key")))
	}
	if t.Key == "" && t.Operator != corev1.TolerationOpExists {
		ps.Invalid(at.Index(i), "operator", t.Operator, "must be Exists when key is empty, which means all keys and values")
	}
	if t.TolerationSeconds != nil && t.Effect != corev1.TaintEffectNoExecute {
		ps.Invalid(at.Index(i), "effect", t.Effect, "must be NoExecute when tolerationSeconds is set")
	}
	switch t.Operator {
	case corev1.TolerationOpEqual, "":
		if messages := validation.IsValidLabelValue(t.Value); len(messages) > 0 {
			ps.Invalid(at.Index(i), "operator", t.Value, strings.Join(messages, ";"))
		}
	case corev1.TolerationOpExists:
		if t.Value != "" {
			ps.Invalid(at.Index(i), "operator", t.Value, "value must be empty when operator is Exists")
		}
	default:
		kind.OneOf(&ps.Problems, at.Index(i), "operator", t.Operator, corev1.TolerationOpEqual, corev1.TolerationOpExists)
	}
	switch t.Effect {
	case "", corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute:
	default:
		kind.OneOf(&ps.Problems, at.Index(i), "effect", t.Effect, corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute)
	}
}

// spread tells constraints apart: there may be one of each.
type spread struct {
	key  string
	when corev1.UnsatisfiableConstraintAction
}

func (v *validator) topologySpread(at *field.Path) {
	if len(v.spec.TopologySpreadConstraints) == 0 {
		return
	}
	list := v.spec.TopologySpreadConstraints
	last := map[spread]int{}
	for i := range list {
		last[spread{list[i].TopologyKey, list[i].WhenUnsatisfiable}] = i
	}
	for i := range list {
		c, here := &list[i], at.Child("topologySpreadConstraints").Index(i)
		if c.MaxSkew <= 0 {
			v.Invalid(here, "maxSkew", c.MaxSkew, "must be greater than zero")
		}
		if c.TopologyKey == "" {
			v.Required(here, "topologyKey", "must not be empty")
		}
		kind.OneOf(&v.Problems, here, "whenUnsatisfiable", c.WhenUnsatisfiable, corev1.DoNotSchedule, corev1.ScheduleAnyway)
		if last[spread{c.TopologyKey, c.WhenUnsatisfiable}] > i {
			v.Duplicate(here, "{topologyKey, whenUnsatisfiable}", fmt.Sprintf("{%v, %v}", c.TopologyKey, c.WhenUnsatisfiable))
		}
		if n := c.MinDomains; n != nil {
			if *n <= 0 {
				v.Invalid(here, "minDomains", *n, "must be greater than zero")
			}
			if c.WhenUnsatisfiable != corev1.DoNotSchedule {
				v.Invalid(here, "minDomains", *n, "needs whenUnsatisfiable to be DoNotSchedule")
			}
		}
		if p := c.NodeAffinityPolicy; p != nil {
			kind.OneOf(&v.Problems, here, "nodeAffinityPolicy", *p, corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore)
		}
		if p := c.NodeTaintsPolicy; p != nil {
			kind.OneOf(&v.Problems, here, "nodeTaintsPolicy", *p, corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore)
		}
		v.labelKeys(c.MatchLabelKeys, c.LabelSelector, here.Child("matchLabelKeys"))
		v.keysOnce(c.MatchLabelKeys, nil, c.LabelSelector, here)
		if !v.allow.SpreadSelectors {
			v.Add(metav1validation.ValidateLabelSelector(c.LabelSelector, metav1validation.LabelSelectorValidationOptions{}, here.Child("labelSelector")))
		}
	}
}
