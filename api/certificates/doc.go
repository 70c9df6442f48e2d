// Package certificates defines the kinds of certificates.k8s.io: requests for certificates, and bundles of whom to trust.
package certificates

import (
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var (
	specPath   = field.NewPath("spec")
	statusPath = field.NewPath("status")
)

// omitted stands in messages for what is too long or too secret to be shown.
const omitted = "<value omitted>"
