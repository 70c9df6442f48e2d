package core

import (
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

var (
	metadataPath    = field.NewPath("metadata")
	annotationsPath = metadataPath.Child("annotations")
	specPath        = field.NewPath("spec")
	statusPath      = field.NewPath("status")
)

// problems are those of a pod, with the checks that are about pods alone.
type problems struct{ kind.Problems }
