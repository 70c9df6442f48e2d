package kind

import (
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"
)

// TestLongQualifiedNames: the short stand-in for a long name gets the complaints that the name itself would.
func TestLongQualifiedNames(t *testing.T) {
	for _, prefix := range []string{"", "example.com/", "/", "-/", "a/b/", strings.Repeat("a", 300) + "/"} {
		for _, first := range []string{"a", "9", "-", ".", "!", "é", "\xff", "\n"} {
			for _, inner := range []string{"", "_", "!", "é", "\xff", "\x00"} {
				for _, last := range []string{"a", "-", "!", "é", "\xff", "\n"} {
					for _, length := range []int{0, 60, 61, 62, 63, 123, 124, 125, 126, 127, 500} {
						name := prefix + first + strings.Repeat("a", length) + inner + last
						if want, got := validation.IsQualifiedName(name), QualifiedName(name); !slices.Equal(want, got) {
							t.Fatalf("%q: %q, want %q", name, got, want)
						}
					}
				}
			}
		}
	}
}
