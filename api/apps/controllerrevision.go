package apps

import (
	"bytes"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// ControllerRevision is a state that a workload once had, kept so that the workload can go back to it.
var ControllerRevision = kind.Define(kind.Resource{
	GroupVersion: appsv1.SchemeGroupVersion, Plural: "controllerrevisions", Namespaced: true, List: kind.ListOf[appsv1.ControllerRevisionList],
}, kind.Rules[appsv1.ControllerRevision]{
	Validate: func(r, old *appsv1.ControllerRevision) field.ErrorList {
		var ps kind.Problems
		ps.NotNegative(nil, "revision", r.Revision)
		if len(r.Data.Raw) == 0 && r.Data.Object == nil {
			ps.Required(nil, "data", "must be set")
		}
		if old != nil && !bytes.Equal(r.Data.Raw, old.Data.Raw) {
			ps.Invalid(nil, "data", "", "field is immutable")
		}
		return ps.List
	},
	Columns: kind.Columns([]kind.Column[appsv1.ControllerRevision]{
		kind.Text("Controller", "Controller of the object", func(r *appsv1.ControllerRevision) string { return controllerText(r) }),
		{Name: "Revision", Type: "string", Description: kind.Doc(appsv1.ControllerRevision{}, "revision"),
			Cell: func(r *appsv1.ControllerRevision, _ time.Time) any { return r.Revision }},
	}),
})

// controllerText names the controller as kubectl does: kind.group/name.
func controllerText(o metav1.Object) string {
	ref := metav1.GetControllerOfNoCopy(o)
	if ref == nil {
		return "<none>"
	}
	version, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return "<none>"
	}
	return strings.ToLower(version.WithKind(ref.Kind).GroupKind().String()) + "/" + ref.Name
}
