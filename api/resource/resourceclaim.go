package resource

import (
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// ResourceClaim is the kind of claims for devices. Its spec never changes; what is allocated to it stands in its status.
var ResourceClaim = kind.Define(kind.Resource{
	GroupVersion: resourcev1.SchemeGroupVersion, Plural: "resourceclaims", Namespaced: true, List: kind.ListOf[resourcev1.ResourceClaimList],
	DeleteReturnsObject: true,
}, kind.Rules[resourcev1.ResourceClaim]{
	Default: defaultClaim,
	Halves:  kind.SpecAndStatus[resourcev1.ResourceClaim](),
	Prepare: func(next, old *resourcev1.ResourceClaim) {
		if old == nil {
			dropSpec(&next.Spec, nil)
		} else {
			dropSpec(&next.Spec, &old.Spec)
		}
	},
	Validate: func(next, _ *resourcev1.ResourceClaim) field.ErrorList {
		var ps kind.Problems
		validateClaimSpec(&ps, &next.Spec, specPath)
		declared(&ps, resourcev1.Validate_ResourceClaimSpec, specPath, &next.Spec, nil)
		return ps.List
	},
	ValidateUpdate: func(next, old *resourcev1.ResourceClaim) field.ErrorList {
		return apivalidation.ValidateImmutableField(next.Spec, old.Spec, specPath)
	},
	Status: &kind.Part[resourcev1.ResourceClaim]{Prepare: prepareClaimStatus, ValidateUpdate: validateClaimStatus},
	Columns: kind.Columns([]kind.Column[resourcev1.ResourceClaim]{
		kind.Text("State", "A summary of the current state (allocated, pending, reserved, etc.).", claimState),
	}),
})

// ResourceClaimTemplate is the kind of templates, of which each pod gets a claim of its own.
var ResourceClaimTemplate = kind.Define(kind.Resource{
	GroupVersion: resourcev1.SchemeGroupVersion, Plural: "resourceclaimtemplates", Namespaced: true,
	List: kind.ListOf[resourcev1.ResourceClaimTemplateList], DeleteReturnsObject: true,
}, kind.Rules[resourcev1.ResourceClaimTemplate]{
	Default: func(t *resourcev1.ResourceClaimTemplate) { defaultClaimSpec(&t.Spec.Spec) },
	Prepare: func(next, old *resourcev1.ResourceClaimTemplate) {
		if old == nil {
			dropSpec(&next.Spec.Spec, nil)
		} else {
			dropSpec(&next.Spec.Spec, &old.Spec.Spec)
		}
	},
	Validate: validateTemplate,
	Columns:  kind.Columns[resourcev1.ResourceClaimTemplate](nil),
})

func claimState(c *resourcev1.ResourceClaim) string {
	var states []string
	if c.DeletionTimestamp != nil {
		states = append(states, "deleted")
	}
	switch {
	case c.Status.Allocation == nil:
		if c.DeletionTimestamp == nil {
			states = append(states, "pending")
		}
	case len(c.Status.ReservedFor) > 0:
		states = append(states, "allocated", "reserved")
	default:
		states = append(states, "allocated")
	}
	return strings.Join(states, ",")
}

func defaultClaim(c *resourcev1.ResourceClaim) {
	defaultClaimSpec(&c.Spec)
	if a := c.Status.Allocation; a != nil {
		for n := range a.Devices.Results {
			defaultTolerations(a.Devices.Results[n].Tolerations)
		}
	}
	for n := range c.Status.Devices {
		if data := &c.Status.Devices[n].Data; *data != nil && len((*data).Raw) == 0 { // in JSON both are null
			*data = nil
		}
	}
}

func defaultClaimSpec(s *resourcev1.ResourceClaimSpec) {
	for n := range s.Devices.Requests {
		r := &s.Devices.Requests[n]
		if e := r.Exactly; e != nil {
			defaultCount(&e.AllocationMode, &e.Count)
			defaultTolerations(e.Tolerations)
		}
		for m := range r.FirstAvailable {
			sub := &r.FirstAvailable[m]
			defaultCount(&sub.AllocationMode, &sub.Count)
			defaultTolerations(sub.Tolerations)
		}
	}
}

func defaultCount(mode *resourcev1.DeviceAllocationMode, count *int64) {
	kind.Fill(mode, resourcev1.DeviceAllocationModeExactCount)
	if *mode == resourcev1.DeviceAllocationModeExactCount {
		kind.Fill(count, 1)
	}
}

func defaultTolerations(list []resourcev1.DeviceToleration) {
	for n := range list {
		kind.Fill(&list[n].Operator, resourcev1.DeviceTolerationOpEqual)
	}
}

// dropSpec takes out what upstream has off by default, unless it was there before.
func dropSpec(next, old *resourcev1.ResourceClaimSpec) {
	if old != nil && derives(old) {
		return
	}
	for n := range next.Devices.Requests {
		r := &next.Devices.Requests[n]
		if r.Exactly != nil {
			r.Exactly.DerivedAttributes = nil
		}
		for m := range r.FirstAvailable {
			r.FirstAvailable[m].DerivedAttributes = nil
		}
	}
}

// derives tells whether any request has attributes of its own.
func derives(s *resourcev1.ResourceClaimSpec) bool {
	for _, r := range s.Devices.Requests {
		if r.Exactly != nil && len(r.Exactly.DerivedAttributes) > 0 {
			return true
		}
		for _, sub := range r.FirstAvailable {
			if len(sub.DerivedAttributes) > 0 {
				return true
			}
		}
	}
	return false
}

// validateTemplate judges a template, which never changes. One that stays is judged again all the same, as upstream does.
func validateTemplate(next, old *resourcev1.ResourceClaimTemplate) field.ErrorList {
	var ps kind.Problems
	at := specPath.Child("metadata")
	ps.Add(apivalidation.ValidateAnnotations(next.Spec.Annotations, at.Child("annotations")))
	ps.Add(metav1validation.ValidateLabels(next.Spec.Labels, at.Child("labels")))
	onlyLabels(&ps, &next.Spec.ObjectMeta, at)
	validateClaimSpec(&ps, &next.Spec.Spec, specPath.Child("spec"))
	if old == nil {
		declared(&ps, resourcev1.Validate_ResourceClaimTemplateSpec, specPath, &next.Spec, nil)
	} else if !equality.Semantic.DeepEqual(next.Spec, old.Spec) {
		ps.Invalid(specPath, "", omitted, apivalidation.FieldImmutableErrorMsg)
		declared(&ps, resourcev1.Validate_ResourceClaimTemplateSpec, specPath, &next.Spec, &old.Spec)
	}
	return ps.List
}

// onlyLabels refuses all metadata of a template but labels and annotations: nothing would come of it.
func onlyLabels(ps *kind.Problems, meta *metav1.ObjectMeta, at *field.Path) {
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"name", meta.Name != ""}, {"generateName", meta.GenerateName != ""}, {"namespace", meta.Namespace != ""}, {"selfLink", meta.SelfLink != ""},
		{"uid", meta.UID != ""}, {"resourceVersion", meta.ResourceVersion != ""}, {"generation", meta.Generation != 0},
		{"creationTimestamp", !meta.CreationTimestamp.IsZero()}, {"deletionTimestamp", meta.DeletionTimestamp != nil},
		{"deletionGracePeriodSeconds", meta.DeletionGracePeriodSeconds != nil}, {"ownerReferences", len(meta.OwnerReferences) > 0},
		{"finalizers", len(meta.Finalizers) > 0}, {"managedFields", len(meta.ManagedFields) > 0},
	} {
		if f.set {
			ps.Forbidden(at, f.name, "may not be set in a template")
		}
	}
}
