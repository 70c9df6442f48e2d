package resource

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// policyValuesMax bounds the values that a policy lists.
const policyValuesMax = 10

// validateCapacities judges names, and how claims may ask for parts of what can be shared.
func validateCapacities(ps *kind.Problems, d *resourcev1.Device, at *field.Path) {
	shared := d.AllowMultipleAllocations != nil && *d.AllowMultipleAllocations
	for _, name := range slices.Sorted(maps.Keys(d.Capacity)) {
		c := d.Capacity[name]
		validateQualified(ps, at, string(name))
		here := at.Key(truncate(string(name))).Child("requestPolicy")
		switch {
		case c.RequestPolicy == nil:
		case !shared:
			ps.Forbidden(here, "", "only a device with allowMultipleAllocations has a policy")
		default:
			validatePolicy(ps, c.RequestPolicy, c.Value, here)
		}
	}
}

// validatePolicy judges which parts of a capacity may be asked for, and how much is if nobody says.
func validatePolicy(ps *kind.Problems, p *resourcev1.CapacityRequestPolicy, capacity resource.Quantity, at *field.Path) {
	values, ranged := len(p.ValidValues) > 0, p.ValidRange != nil
	switch {
	case values && ranged:
		ps.Forbidden(at, "", "only one of `validValues` and `validRange` may be set")
	case (values || ranged) && p.Default == nil:
		ps.Required(at, "default", "is required with `validValues` and with `validRange`")
	case values:
		validateValues(ps, p.ValidValues, *p.Default, capacity, at.Child("validValues"))
	case ranged:
		validateRange(ps, p.ValidRange, *p.Default, capacity, at.Child("validRange"))
	}
}

// validateValues wants ascending values, none twice, none above the capacity, and the default among them.
func validateValues(ps *kind.Problems, values []resource.Quantity, byDefault, capacity resource.Quantity, at *field.Path) {
	for n := 1; n < len(values); n++ {
		if values[n-1].Cmp(values[n]) > 0 {
			ps.Invalid(at.Index(n), "", values[n].String(), "values must ascend")
		}
	}
	found := false
	if len(values) > policyValuesMax {
		ps.TooMany(at, "", len(values), policyValuesMax)
	} else {
		for n := range values {
			if values[n].Cmp(capacity) > 0 {
				ps.Invalid(at.Index(n), "", values[n].String(), "is more than the capacity: "+capacity.String())
			}
			found = found || values[n].Cmp(byDefault) == 0
		}
		duplicates(ps, at, len(values), func(n int) string { return strconv.FormatInt(values[n].Value(), 10) })
	}
	if !found {
		ps.Invalid(at, "", byDefault.String(), "the default must be one of the values")
	}
}

// validateRange wants a range within the capacity, the default within it, and steps that lead from its begin to default and end.
func validateRange(ps *kind.Problems, r *resourcev1.CapacityRequestPolicyRange, byDefault, capacity resource.Quantity, at *field.Path) {
	if r.Min == nil {
		ps.Required(at, "min", "")
		return
	}
	wrong := func(child string, value *resource.Quantity, than string, limit *resource.Quantity) {
		ps.Invalid(at, child, value.String(), fmt.Sprintf("is %s: %s", than, limit.String()))
	}
	if r.Min.Cmp(capacity) > 0 {
		wrong("min", r.Min, "more than the capacity", &capacity)
	}
	if byDefault.Cmp(*r.Min) < 0 {
		wrong("default", &byDefault, "less than min", r.Min)
	}
	if r.Max != nil {
		if r.Min.Cmp(*r.Max) > 0 {
			wrong("max", r.Max, "less than min", r.Min)
		}
		if r.Max.Cmp(capacity) > 0 {
			wrong("max", r.Max, "more than the capacity", &capacity)
		}
		if byDefault.Cmp(*r.Max) > 0 {
			wrong("default", &byDefault, "more than max", r.Max)
		}
	}
	if r.Step != nil {
		validateStep(ps, r, &byDefault, capacity, at)
	}
}

func validateStep(ps *kind.Problems, r *resourcev1.CapacityRequestPolicyRange, byDefault *resource.Quantity, capacity resource.Quantity, at *field.Path) {
	if r.Step.Sign() <= 0 {
		ps.Invalid(at, "step", r.Step.String(), "must be greater than zero")
		return
	}
	first := r.Min.DeepCopy()
	first.Add(*r.Step)
	if first.Cmp(capacity) > 0 {
		ps.Invalid(at, "step", r.Step.String(), "the first step is more than the capacity: "+capacity.String())
	}
	exact := true
	for _, q := range []struct {
		name  string
		value *resource.Quantity
	}{{"default", byDefault}, {"min", r.Min}, {"max", r.Max}, {"step", r.Step}} {
		switch { // beyond that a Quantity does not tell its value as a number
		case q.value == nil:
		case q.value.Sign() < 0:
			ps.Invalid(at, q.name, q.value.String(), "must be greater than or equal to 0")
			exact = false
		case q.value.CmpInt64(math.MaxInt64) > 0:
			ps.Invalid(at, q.name, q.value.String(), "must not be larger than 9223372036854775807")
			exact = false
		}
	}
	if !exact {
		return
	}
	for _, value := range []*resource.Quantity{byDefault, r.Max} {
		if value != nil && (value.Value()-r.Min.Value())%r.Step.Value() != 0 {
			ps.Invalid(at, "step", value.String(), fmt.Sprintf("is no multiple of steps of %s from %s", r.Step, r.Min))
		}
	}
}
