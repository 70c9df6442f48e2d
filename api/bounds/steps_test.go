package bounds

import (
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/wheelhouse-k8s/wheelhouse/api/custom"
)

// Many values may lie deep, and values may lie very deep, but not many very deep.
func TestValuesThatLieDeep(t *testing.T) {
	nested := func(depth, width int) string {
		var wide strings.Builder
		for n := range width {
			fmt.Fprintf(&wide, `"f:k%d":{},`, n)
		}
		return strings.Repeat(`{"f:a":`, depth) + "{" + wide.String() + `"f:k":{}}` + strings.Repeat("}", depth)
	}
	for _, test := range []struct {
		depth, width int
		fits         bool
	}{{900, 1000, true}, {60, 9000, true}, {900, 9000, false}} {
		for name, text := range map[string]string{"a tree": `{"spec":` + nested(test.depth, test.width) + `}`,
			"managed fields": `{"metadata":{"managedFields":[{"fieldsV1":` + nested(test.depth, test.width) + `}]}}`} {
			o := &custom.Object{}
			if err := JSON([]byte(text), o); (err == nil) != test.fits || err != nil && !apierrors.IsRequestEntityTooLargeError(err) {
				t.Errorf("%s of %d values %d deep: %v", name, test.width, test.depth, err)
			}
			if name != "a tree" {
				continue
			}
			if _, err := o.Decode([]byte(text), false); err != nil {
				t.Fatal(err)
			}
			if err := Object(o, nil); (err == nil) != test.fits {
				t.Errorf("%d values %d deep, decoded: %v", test.width, test.depth, err)
			}
			if err := Object(o, o); err != nil {
				t.Errorf("what was so before: %v", err)
			}
		}
	}
}

func TestNested(t *testing.T) {
	for text, want := range map[string]int{"1": 0, "{}": 2, `[1, {"a":[]}]`: 13 + 8 + 2, `{"a":"}"}`: 9} {
		if got := Nested([]byte(text)); got != want {
			t.Errorf("%s: %d instead of %d", text, got, want)
		}
	}
}
