package apps

import (
	"bytes"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// ControllerRevision is a state that a workload once had, kept so that the workload can go back to it.
var ControllerRevision = kind.Kind[*appsv1.ControllerRevision]{
	Group: "apps", Version: "v1", Kind: "ControllerRevision", Plural: "controllerrevisions",
	Namespaced: true,
	New:        func() *appsv1.ControllerRevision { return &appsv1.ControllerRevision{} },
	NewList:    func() runtime.Object { return &appsv1.ControllerRevisionList{} },

	ValidName: apivalidation.NameIsDNSSubdomain,
	Validate:  validateControllerRevision,
	ValidateUpdate: func(new, old *appsv1.ControllerRevision) field.ErrorList {
		errs := validateControllerRevision(new)
		if !bytes.Equal(new.Data.Raw, old.Data.Raw) {
			errs = append(errs, field.Invalid(field.NewPath("data"), "", "field is immutable"))
		}
		return errs
	},

	Columns: []kind.Column[*appsv1.ControllerRevision]{
		kind.NameColumn[*appsv1.ControllerRevision](),
		{Name: "Controller", Type: "string", Description: "Controller of the object",
			Cell: func(r *appsv1.ControllerRevision, _ time.Time) any { return controllerText(r) }},
		{Name: "Revision", Type: "string", Description: kind.Doc(appsv1.ControllerRevision{}, "revision"),
			Cell: func(r *appsv1.ControllerRevision, _ time.Time) any { return r.Revision }},
		kind.AgeColumn[*appsv1.ControllerRevision](),
	},
}

func validateControllerRevision(r *appsv1.ControllerRevision) field.ErrorList {
	errs := notNegative(r.Revision, field.NewPath("revision"))
	if len(r.Data.Raw) == 0 && r.Data.Object == nil {
		errs = append(errs, field.Required(field.NewPath("data"), "must be set"))
	}
	return errs
}

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
