package kind

import (
	"testing"

	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestAmounts(t *testing.T) {
	for _, test := range []struct {
		value    intstr.IntOrString
		problems int
		none     bool
	}{
		{intstr.FromInt32(0), 0, true},
		{intstr.FromInt32(200), 0, false},
		{intstr.FromInt32(-1), 1, false},
		{intstr.FromString("0%"), 0, true},
		{intstr.FromString("100%"), 0, false},
		{intstr.FromString("101%"), 1, false},
		{intstr.FromString("99999999999999999999%"), 1, false},
		{intstr.FromString("10"), 1, true},
		{intstr.FromString("-1%"), 1, true},
		{intstr.FromString(""), 1, true},
	} {
		var ps Problems
		ps.IntOrPercent(nil, "a", &test.value)
		ps.AtMostAll(nil, "a", &test.value)
		if len(ps.List) != test.problems {
			t.Errorf("%q: %v", test.value.String(), ps.List)
		}
		if (Amount(&test.value) == 0) != test.none {
			t.Errorf("%q is %d", test.value.String(), Amount(&test.value))
		}
	}
	var ps Problems
	ps.IntOrPercent(nil, "a", nil)
	ps.AtMostAll(nil, "a", nil)
	if len(ps.List) > 0 || Amount(nil) != 0 {
		t.Errorf("none at all: %v, %d", ps.List, Amount(nil))
	}
}
