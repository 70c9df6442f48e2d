// Package storage defines the kinds of storage.k8s.io.
package storage

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// isDefaultClass are the annotations that make a class the default one.
var isDefaultClass = []string{"storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"}

// StorageClass is the kind of storage classes.
var StorageClass = kind.Define(kind.Resource{
	GroupVersion: storagev1.SchemeGroupVersion, Plural: "storageclasses", ShortNames: []string{"sc"},
	List: kind.ListOf[storagev1.StorageClassList], DeleteReturnsObject: true,
}, kind.Rules[storagev1.StorageClass]{
	Default:        defaultStorageClass,
	Validate:       validateStorageClass,
	ValidateUpdate: validateStorageClassUpdate,
	Warnings:       warnStorageClass,
	Columns: []kind.Column[storagev1.StorageClass]{
		named(),
		kind.Text("Provisioner", kind.Doc(storagev1.StorageClass{}, "provisioner"), func(c *storagev1.StorageClass) string { return c.Provisioner }),
		kind.Text("ReclaimPolicy", kind.Doc(storagev1.StorageClass{}, "reclaimPolicy"), func(c *storagev1.StorageClass) string {
			return orDefault(c.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete)
		}),
		kind.Text("VolumeBindingMode", kind.Doc(storagev1.StorageClass{}, "volumeBindingMode"), func(c *storagev1.StorageClass) string {
			return orDefault(c.VolumeBindingMode, storagev1.VolumeBindingImmediate)
		}),
		{Name: "AllowVolumeExpansion", Type: "string", Description: kind.Doc(storagev1.StorageClass{}, "allowVolumeExpansion"),
			Cell: func(c *storagev1.StorageClass, _ time.Time) any {
				return c.AllowVolumeExpansion != nil && *c.AllowVolumeExpansion
			}},
		kind.AgeColumn[storagev1.StorageClass](),
	},
})

func named() kind.Column[storagev1.StorageClass] {
	column := kind.NameColumn[storagev1.StorageClass]()
	column.Cell = func(c *storagev1.StorageClass, _ time.Time) any {
		for _, key := range isDefaultClass {
			if c.Annotations[key] == "true" {
				return c.Name + " (default)"
			}
		}
		return c.Name
	}
	return column
}

func orDefault[T ~string](p *T, value T) string {
	if p != nil {
		value = *p
	}
	return string(value)
}

func defaultStorageClass(c *storagev1.StorageClass) {
	kind.FillPointer(&c.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete)
	kind.FillPointer(&c.VolumeBindingMode, storagev1.VolumeBindingImmediate)
}

// Bounds of a provisioner's parameters.
const (
	parametersMax      = 512
	parameterBytesMax  = 256 * 1024
	betaZoneDeprecated = "v1.17"
)

var (
	reclaimPolicies = []corev1.PersistentVolumeReclaimPolicy{corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRetain}
	bindingModes    = []storagev1.VolumeBindingMode{storagev1.VolumeBindingImmediate, storagev1.VolumeBindingWaitForFirstConsumer}
)

func validateStorageClass(c, _ *storagev1.StorageClass) field.ErrorList {
	var ps kind.Problems
	if c.Provisioner == "" {
		ps.Required(nil, "provisioner", "")
	} else {
		ps.Messages(nil, "provisioner", c.Provisioner, validation.IsQualifiedName(strings.ToLower(c.Provisioner)))
	}
	ps.Add(validateProvisionerParameters(c.Parameters, field.NewPath("parameters")))
	if p := c.ReclaimPolicy; p != nil && *p != "" {
		kind.OneOf(&ps, nil, "reclaimPolicy", *p, reclaimPolicies...)
	}
	if m := c.VolumeBindingMode; m == nil {
		ps.Required(nil, "volumeBindingMode", "")
	} else {
		kind.OneOf(&ps, nil, "volumeBindingMode", *m, bindingModes...)
	}
	ps.Add(validateTopologies(c.AllowedTopologies, field.NewPath("allowedTopologies")))
	return ps.List
}

func validateProvisionerParameters(parameters map[string]string, path *field.Path) field.ErrorList {
	var ps kind.Problems
	if len(parameters) > parametersMax {
		ps.TooLong(path, "", parametersMax)
		return ps.List
	}
	size := 0
	for key, value := range parameters {
		if key == "" {
			ps.Invalid(path, "", key, "a key may not be empty")
		}
		size += len(key) + len(value)
	}
	if size > parameterBytesMax {
		ps.TooLong(path, "", parameterBytesMax)
	}
	return ps.List
}

// validateTopologies wants topology terms that differ, of labels with distinct values.
func validateTopologies(topologyTerms []corev1.TopologySelectorTerm, path *field.Path) field.ErrorList {
	var ps kind.Problems
	var before []map[string]sets.Set[string]
	for n, topologyTerm := range topologyTerms {
		at := path.Index(n).Child("matchLabelExpressions")
		labels := map[string]sets.Set[string]{}
		for m, r := range topologyTerm.MatchLabelExpressions {
			values, invalid := validateTopologyRequirement(r, at.Index(m))
			ps.Add(invalid)
			if _, twice := labels[r.Key]; twice {
				ps.Duplicate(at.Index(m), "key", r.Key)
			}
			labels[r.Key] = values
		}
		if slices.ContainsFunc(before, func(b map[string]sets.Set[string]) bool { return reflect.DeepEqual(b, labels) }) {
			ps.Duplicate(at, "", "")
		}
		before = append(before, labels)
	}
	return ps.List
}

func validateTopologyRequirement(r corev1.TopologySelectorLabelRequirement, at *field.Path) (sets.Set[string], field.ErrorList) {
	var ps kind.Problems
	ps.Add(metav1validation.ValidateLabelName(r.Key, at.Child("key")))
	if len(r.Values) == 0 {
		ps.Required(at, "values", "")
	}
	values := sets.New[string]()
	for n, v := range r.Values {
		if values.Has(v) {
			ps.Duplicate(at.Child("values").Index(n), "", v)
		}
		values.Insert(v)
	}
	return values, ps.List
}

func validateStorageClassUpdate(next, old *storagev1.StorageClass) field.ErrorList {
	var ps kind.Problems
	ps.Add(apivalidation.ValidateImmutableField(next.Parameters, old.Parameters, field.NewPath("parameters")))
	ps.Add(apivalidation.ValidateImmutableField(next.Provisioner, old.Provisioner, field.NewPath("provisioner")))
	ps.Add(apivalidation.ValidateImmutableField(next.ReclaimPolicy, old.ReclaimPolicy, field.NewPath("reclaimPolicy")))
	ps.Add(apivalidation.ValidateImmutableField(next.VolumeBindingMode, old.VolumeBindingMode, field.NewPath("volumeBindingMode")))
	return ps.List
}

// renamedLabels are labels of nodes that have newer names.
var renamedLabels = map[string]string{
	corev1.LabelFailureDomainBetaZone: corev1.LabelTopologyZone, corev1.LabelFailureDomainBetaRegion: corev1.LabelTopologyRegion,
}

func warnStorageClass(c, _ *storagev1.StorageClass) []string {
	var out []string
	for n, topologyTerm := range c.AllowedTopologies {
		for m, r := range topologyTerm.MatchLabelExpressions {
			if instead, ok := renamedLabels[r.Key]; ok {
				out = append(out, fmt.Sprintf("allowedTopologies[%d].matchLabelExpressions[%d].key: %s is deprecated since %s; use %s instead",
					n, m, r.Key, betaZoneDeprecated, instead))
			}
		}
	}
	return out
}
