package kind

import (
	"math"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// IntOrPercent complains about what is neither a count from 0 nor a percentage.
func (p *Problems) IntOrPercent(at *field.Path, child string, v *intstr.IntOrString) {
	switch {
	case v == nil:
	case v.Type == intstr.Int:
		p.NotNegative(at, child, int64(v.IntVal))
	default:
		p.Messages(at, child, v.StrVal, validation.IsValidPercent(v.StrVal))
	}
}

// AtMostAll complains about a percentage over 100.
func (p *Problems) AtMostAll(at *field.Path, child string, v *intstr.IntOrString) {
	if v != nil && v.Type == intstr.String && Amount(v) > 100 {
		p.Invalid(at, child, v.StrVal, "must not be greater than 100%")
	}
}

// Amount is the number in a count or a percentage; 0 if there is none.
func Amount(v *intstr.IntOrString) int {
	switch {
	case v == nil:
		return 0
	case v.Type == intstr.Int:
		return int(v.IntVal)
	case len(validation.IsValidPercent(v.StrVal)) > 0:
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSuffix(v.StrVal, "%"))
	if err != nil {
		return math.MaxInt // digits, and too many
	}
	return n
}
