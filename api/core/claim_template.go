package core

import (
	"reflect"
	"strings"

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
			ps.forbidden(at, strings.ToLower(name[:1])+name[1:], "may not be set in a template")
		}
	}
}

// ValidatePersistentVolumeClaimSpec judges the spec of a claim, or of a template for claims.
func ValidatePersistentVolumeClaimSpec(s *corev1.PersistentVolumeClaimSpec, at *field.Path) field.ErrorList {
	var p problems
	if len(s.AccessModes) == 0 {
		p.required(at, "accessModes", "must have at least one mode")
	}
	if s.Selector != nil {
		p.add(metav1validation.ValidateLabelSelector(s.Selector, metav1validation.LabelSelectorValidationOptions{}, at.Child("selector")))
	}
	alone := false
	for _, mode := range s.AccessModes {
		oneOf(&p, at, "accessModes", mode, corev1.ReadWriteOnce, corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOncePod)
		alone = alone || mode == corev1.ReadWriteOncePod
	}
	if alone && hasOtherMode(s.AccessModes) {
		p.forbidden(at, "accessModes", "ReadWriteOncePod excludes other modes")
	}
	p.storageRequest(s, at)
	if s.StorageClassName != nil && *s.StorageClassName != "" {
		p.subdomain(at, "storageClassName", *s.StorageClassName)
	}
	if s.VolumeMode != nil {
		oneOf(&p, at, "volumeMode", *s.VolumeMode, corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)
	}
	p.dataSources(s, at)
	if s.VolumeAttributesClassName != nil && *s.VolumeAttributesClassName != "" {
		p.subdomain(at, "volumeAttributesClassName", *s.VolumeAttributesClassName)
	}
	return p.list
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
		ps.required(at, "", "")
		return
	}
	if size.Sign() <= 0 {
		ps.invalid(at, "", size.String(), "must be greater than zero")
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
		ps.messages(at.Child("dataSourceRef"), "namespace", *d.Namespace, dnsLabel(*d.Namespace))
	}
	if s.DataSource == nil {
		return
	}
	if namespaced {
		ps.invalid(at, "", "dataSource", "may not be set when dataSourceRef.namespace is")
		return
	}
	sameGroup := (d.APIGroup == nil) == (s.DataSource.APIGroup == nil) && (d.APIGroup == nil || *d.APIGroup == *s.DataSource.APIGroup)
	if !sameGroup || d.Kind != s.DataSource.Kind || d.Name != s.DataSource.Name {
		ps.invalid(at, "", "dataSource", "must be the same as dataSourceRef")
	}
}

func (ps *problems) dataSource(group *string, kind, name string, at *field.Path) {
	ps.needs(at, "name", name)
	ps.needs(at, "kind", kind)
	apiGroup := ""
	if group != nil {
		apiGroup = *group
	}
	if apiGroup == "" && kind != "PersistentVolumeClaim" {
		ps.invalid(at, "", kind, "must be PersistentVolumeClaim when no apiGroup is given")
	}
	if apiGroup != "" {
		ps.subdomain(at, "apiGroup", apiGroup)
	}
}
