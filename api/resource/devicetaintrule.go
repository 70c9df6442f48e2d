package resource

import (
	"time"

	resourcev1 "k8s.io/api/resource/v1"
	resourcev1beta2 "k8s.io/api/resource/v1beta2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

type taintRule = resourcev1.DeviceTaintRule

// DeviceTaintRule is the kind of rules that taint devices whose drivers did not.
var DeviceTaintRule = kind.Define(kind.Resource{
	GroupVersion: resourcev1.SchemeGroupVersion, Plural: "devicetaintrules", List: kind.ListOf[resourcev1.DeviceTaintRuleList],
	StorageVersion: resourcev1beta2.SchemeGroupVersion, HasGeneration: true, RequireRevision: true,
}, kind.Rules[taintRule]{
	Default:  func(r *taintRule) { defaultTaint(&r.Spec.Taint) },
	Halves:   kind.SpecAndStatus[taintRule](),
	Prepare:  prepareTaintRule,
	Validate: validateTaintRule,
	Status: &kind.Part[taintRule]{
		Prepare:        func(next, old *taintRule) { metav1.ResetObjectMetaForStatus(next, old) },
		ValidateUpdate: validateTaintRuleStatus,
	},
	Columns: kind.Columns([]kind.Column[taintRule]{
		taintColumn("Key", "key", func(t *resourcev1.DeviceTaint) string { return t.Key }),
		taintColumn("Value", "value", func(t *resourcev1.DeviceTaint) string { return t.Value }),
		taintColumn("Effect", "effect", func(t *resourcev1.DeviceTaint) string { return string(t.Effect) }),
		{Name: "TimeAdded", Type: "string", Description: kind.Doc(resourcev1.DeviceTaint{}, "timeAdded"),
			Cell: func(r *taintRule, now time.Time) any {
				if added := r.Spec.Taint.TimeAdded; added != nil {
					return kind.Age(*added, now)
				}
				return ""
			}},
	}),
})

func taintColumn(name, of string, cell func(*resourcev1.DeviceTaint) string) kind.Column[taintRule] {
	return kind.Text(name, kind.Doc(resourcev1.DeviceTaint{}, of), func(r *taintRule) string { return cell(&r.Spec.Taint) })
}

// now is the time in the resolution in which it is stored.
func now() *metav1.Time { return &metav1.Time{Time: time.Now().Truncate(time.Second)} }

func defaultTaint(t *resourcev1.DeviceTaint) {
	if t.TimeAdded == nil {
		t.TimeAdded = now()
	}
}

// prepareTaintRule begins to count anew when the effect changes, unless the writer says since when it is there.
func prepareTaintRule(next, old *taintRule) {
	if old == nil {
		return
	}
	taint, before := &next.Spec.Taint, &old.Spec.Taint
	if taint.Effect != before.Effect && taint.TimeAdded.Equal(before.TimeAdded) {
		taint.TimeAdded = now()
	}
}

func validateTaintRule(next, old *taintRule) field.ErrorList {
	var ps kind.Problems
	if s := next.Spec.DeviceSelector; s != nil {
		at := specPath.Child("deviceSelector")
		if s.Driver != nil {
			validateDriver(&ps, at, "driver", *s.Driver)
		}
		if s.Pool != nil {
			validatePool(&ps, at, "pool", *s.Pool)
		}
		if s.Device != nil {
			ps.Label(at, "device", *s.Device)
		}
	}
	validateTaint(&ps, &next.Spec.Taint, specPath.Child("taint"))
	var before *resourcev1.DeviceTaintRuleSpec
	if old != nil {
		before = &old.Spec
	}
	declared(&ps, resourcev1.Validate_DeviceTaintRuleSpec, specPath, &next.Spec, before)
	return ps.List
}

// validateTaint judges key and value; the effect is judged by what is declared.
func validateTaint(ps *kind.Problems, t *resourcev1.DeviceTaint, at *field.Path) {
	ps.Add(metav1validation.ValidateLabelName(t.Key, at.Child("key")))
	if t.Value != "" {
		validateLabelValue(ps, at, t.Value)
	}
}

func validateTaintRuleStatus(next, _ *taintRule) field.ErrorList {
	var ps kind.Problems
	at, conditions := statusPath.Child("conditions"), next.Status.Conditions
	ps.Add(metav1validation.ValidateConditions(conditions, at))
	if len(conditions) > resourcev1.DeviceTaintRuleStatusMaxConditions {
		ps.TooMany(at, "", len(conditions), resourcev1.DeviceTaintRuleStatusMaxConditions)
	}
	return ps.List
}
