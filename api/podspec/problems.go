package podspec

import (
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

var (
	specPath        = field.NewPath("spec")
	annotationsPath = field.NewPath("metadata", "annotations")
)

// problems are those of a pod spec, with the checks that are about pod specs alone.
type problems struct{ kind.Problems }
