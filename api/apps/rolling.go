package apps

import (
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/workload"
)

var specPath = field.NewPath("spec")

// rolls judges the type of a strategy, which is to replace pods step by step or in another way, and tells whether it is the former and
// says how.
func rolls[T ~string](ps *workload.Problems, at *field.Path, is, other, rolling T, given bool) bool {
	if is != rolling {
		kind.OneOf(&ps.Problems, at, "", is, other, rolling)
		return false
	}
	if !given {
		ps.Required(at, "rollingUpdate", "must be set when type is RollingUpdate")
	}
	return given
}

// steps judges how many pods may be missing, and how many too many, while they are replaced.
func steps(ps *workload.Problems, at *field.Path, unavailable, surge *intstr.IntOrString) {
	ps.IntOrPercent(at, "maxUnavailable", unavailable)
	ps.IntOrPercent(at, "maxSurge", surge)
}

const noStep = "may not be 0 when maxSurge is 0, since then no pod could be replaced"
