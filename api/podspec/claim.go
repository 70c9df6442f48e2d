package podspec

import (
	"reflect"
	"strings"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateLabelMap(labels map[string]string, at *field.Path) field.ErrorList {
	if len(labels) == 0 {
		return nil
	}
	return metav1validation.ValidateLabels(labels, at)
}

// onlyLabelsAndAnnotations is for the metadata of templates, whose other fields would have no effect.
func (ps *problems) onlyLabelsAndAnnotations(meta *metav1.ObjectMeta, at *field.Path) {
	value := reflect.ValueOf(*meta)
	for i := 0; i < value.NumField(); i++ {
		name := value.Type().Field(i).Name
		if name != "Labels" && name != "Annotations" && !value.Field(i).IsZero() {
			ps.Forbidden(at, strings.ToLower(name[:1])+name[1:], "may not be set in a template")
		}
	}
}

// ValidateClaim judges the spec of a claim, or of a template for claims.
func ValidateClaim(s *corev1.PersistentVolumeClaimSpec, at *field.Path) field.ErrorList {
	var p problems
	if len(s.AccessModes) == 0 {
		p.Required(at, "accessModes", "must have at least one mode")
	}
	if s.Selector != nil {
		p.Add(metav1validation.ValidateLabelSelector(s.Selector, metav1validation.LabelSelectorValidationOptions{}, at.Child("selector")))
	}
	alone := false
	for _, mode := range s.AccessModes {
		kind.OneOf(&p.Problems, at, "accessModes", mode, corev1.ReadWriteOnce, corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOncePod)
		alone = alone || mode == corev1.ReadWriteOncePod
	}
	if alone && hasOtherMode(s.AccessModes) {
		p.Forbidden(at, "accessModes", "ReadWriteOncePod excludes other modes")
	}
	p.storageRequest(s, at)
	if s.StorageClassName != nil && *s.StorageClassName != "" {
		p.Subdomain(at, "storageClassName", *s.StorageClassName)
	}
	if s.VolumeMode != nil {
		kind.OneOf(&p.Problems, at, "volumeMode", *s.VolumeMode, corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)
	}
	p.dataSources(s, at)
	if s.VolumeAttributesClassName != nil && *s.VolumeAttributesClassName != "" {
		p.Subdomain(at, "volumeAttributesClassName", *s.VolumeAttributesClassName)
	}
	return p.List
}

func hasOtherMode(modes []corev1.PersistentVolumeAccessMode) bool {
	for _, mode := range modes {
		switch mode {
		case corev1.ReadWriteOnce, corev1.ReadOnlyMany, corev1.ReadWriteMany:
			return true
		}
	}
	return false
}

func (ps *problems) storageRequest(s *corev1.PersistentVolumeClaimSpec, at *field.Path) {
	size, ok := s.Resources.Requests[corev1.ResourceStorage]
	at = at.Child("resources").Key(string(corev1.ResourceStorage))
	if !ok {
		ps.Required(at, "", "")
		return
	}
	if size.Sign() <= 0 {
		ps.Invalid(at, "", size.String(), "must be greater than zero")
	}
}

func (ps *problems) dataSources(s *corev1.PersistentVolumeClaimSpec, at *field.Path) {
	if d := s.DataSource; d != nil {
		ps.dataSource(d.APIGroup, d.Kind, d.Name, at.Child("dataSource"))
	}
	d := s.DataSourceRef
	if d == nil {
		return
	}
	ps.dataSource(d.APIGroup, d.Kind, d.Name, at.Child("dataSourceRef"))
	namespaced := d.Namespace != nil && *d.Namespace != ""
	if namespaced {
		ps.Messages(at.Child("dataSourceRef"), "namespace", *d.Namespace, kind.DNSLabel(*d.Namespace))
	}
	if s.DataSource == nil {
		return
	}
	if namespaced {
		ps.Invalid(at, "", "dataSource", "may not be set when dataSourceRef.namespace is")
		return
	}
	sameGroup := (d.APIGroup == nil) == (s.DataSource.APIGroup == nil) && (d.APIGroup == nil || *d.APIGroup == *s.DataSource.APIGroup)
	if !sameGroup || d.Kind != s.DataSource.Kind || d.Name != s.DataSource.Name {
		ps.Invalid(at, "", "dataSource", "must be the same as dataSourceRef")
	}
}

func (ps *problems) dataSource(group *string, kind, name string, at *field.Path) {
	ps.Needs(at, "name", name)
	ps.Needs(at, "kind", kind)
	apiGroup := ""
	if group != nil {
		apiGroup = *group
	}
	if apiGroup == "" && kind != "PersistentVolumeClaim" {
		ps.Invalid(at, "", kind, "must be PersistentVolumeClaim when no apiGroup is given")
	}
	if apiGroup != "" {
		ps.Subdomain(at, "apiGroup", apiGroup)
	}
}
