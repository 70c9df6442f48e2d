package resource

import (
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// DeviceClass is the kind of classes of devices, which claims ask for.
var DeviceClass = kind.Define(kind.Resource{
	GroupVersion: resourcev1.SchemeGroupVersion, Plural: "deviceclasses", List: kind.ListOf[resourcev1.DeviceClassList],
	HasGeneration: true, DeleteReturnsObject: true,
}, kind.Rules[resourcev1.DeviceClass]{
	Validate: validateClass,
	Columns:  kind.Columns[resourcev1.DeviceClass](nil),
})

// validateClass judges a class. Selectors and configuration that stay as they are have been judged when they came.
func validateClass(next, old *resourcev1.DeviceClass) field.ErrorList {
	var ps kind.Problems
	var before *resourcev1.DeviceClassSpec
	x, storedConfig := &expressions{}, false
	if old != nil {
		before = &old.Spec
		x.stored = equality.Semantic.DeepEqual(next.Spec.Selectors, before.Selectors)
		storedConfig = equality.Semantic.DeepEqual(next.Spec.Config, before.Config)
	}
	x.selectors(&ps, next.Spec.Selectors, specPath.Child("selectors"))
	if config := next.Spec.Config; len(config) <= resourcev1.DeviceConfigMaxSize {
		for n := range config {
			validateConfiguration(&ps, &config[n].DeviceConfiguration, specPath.Child("config").Index(n), storedConfig)
		}
	}
	declared(&ps, resourcev1.Validate_DeviceClassSpec, specPath, &next.Spec, before)
	return ps.List
}

// validateConfiguration wants parameters for a driver; its name is judged by what is declared.
func validateConfiguration(ps *kind.Problems, c *resourcev1.DeviceConfiguration, at *field.Path, stored bool) {
	if c.Opaque == nil {
		ps.Required(at, "opaque", "")
		return
	}
	validateObject(ps, at.Child("opaque"), "parameters", c.Opaque.Parameters.Raw, stored, resourcev1.OpaqueParametersMaxLength)
}
