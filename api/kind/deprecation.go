package kind

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The version of Kubernetes whose deprecations are told.
const (
	major = 1
	minor = 37
)

// deprecated, removed and replaced are what generated types say about their end.
type (
	deprecated interface {
		APILifecycleDeprecated() (major, minor int)
	}
	removed interface {
		APILifecycleRemoved() (major, minor int)
	}
	replaced interface {
		APILifecycleReplacement() schema.GroupVersionKind
	}
)

// deprecation is the warning for every use of a type that is deprecated by now; empty if it is not.
func deprecation(o Object, gvk schema.GroupVersionKind) string {
	d, ok := o.(deprecated)
	if !ok {
		return ""
	}
	since, of := d.APILifecycleDeprecated()
	if since == 0 && of == 0 || since > major || since == major && of > minor {
		return ""
	}
	text := fmt.Sprintf("%s %s is deprecated in v%d.%d+", gvk.GroupVersion(), gvk.Kind, since, of)
	if r, ok := o.(removed); ok {
		if a, b := r.APILifecycleRemoved(); a != 0 || b != 0 {
			text += fmt.Sprintf(", unavailable in v%d.%d+", a, b)
		}
	}
	if r, ok := o.(replaced); ok {
		if other := r.APILifecycleReplacement(); !other.Empty() {
			text += fmt.Sprintf("; use %s %s", other.GroupVersion(), other.Kind)
		}
	}
	return text
}
