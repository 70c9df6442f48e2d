package core

import (
	"bytes"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// ConfigMap is the kind of config maps.
var ConfigMap = kind.Kind[*corev1.ConfigMap]{
	Version: "v1", Kind: "ConfigMap", Plural: "configmaps", ShortNames: []string{"cm"}, Namespaced: true,
	New:            func() *corev1.ConfigMap { return &corev1.ConfigMap{} },
	NewList:        func() runtime.Object { return &corev1.ConfigMapList{} },
	ValidName:      apivalidation.NameIsDNSSubdomain,
	Validate:       validateConfigMap,
	ValidateUpdate: validateConfigMapUpdate,
	Columns: []kind.Column[*corev1.ConfigMap]{
		kind.NameColumn[*corev1.ConfigMap](),
		{Name: "Data", Type: "string", Description: kind.Doc(corev1.ConfigMap{}, "data"),
			Cell: func(c *corev1.ConfigMap, _ time.Time) any { return int64(len(c.Data) + len(c.BinaryData)) }},
		kind.AgeColumn[*corev1.ConfigMap](),
	},
}

func validateConfigMap(c *corev1.ConfigMap) field.ErrorList {
	var errs field.ErrorList
	size := 0
	for key, value := range c.Data {
		path := field.NewPath("data").Key(key)
		errs = append(errs, validateDataKey(path, key)...)
		if _, both := c.BinaryData[key]; both {
			errs = append(errs, field.Invalid(path, key, "the key is also present in binaryData"))
		}
		size += len(value)
	}
	for key, value := range c.BinaryData {
		errs = append(errs, validateDataKey(field.NewPath("binaryData").Key(key), key)...)
		size += len(value)
	}
	if size > corev1.MaxSecretSize {
		// An empty path is what clients of upstream see here.
		errs = append(errs, field.TooLong(field.NewPath(""), "", corev1.MaxSecretSize))
	}
	return errs
}

func validateDataKey(path *field.Path, key string) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range validation.IsConfigMapKey(key) {
		errs = append(errs, field.Invalid(path, key, msg))
	}
	return errs
}

func validateConfigMapUpdate(new, old *corev1.ConfigMap) field.ErrorList {
	var errs field.ErrorList
	if isTrue(old.Immutable) {
		if !isTrue(new.Immutable) {
			errs = append(errs, forbiddenWhenImmutable(field.NewPath("immutable")))
		}
		if !maps.Equal(new.Data, old.Data) {
			errs = append(errs, forbiddenWhenImmutable(field.NewPath("data")))
		}
		if !maps.EqualFunc(new.BinaryData, old.BinaryData, bytes.Equal) {
			errs = append(errs, forbiddenWhenImmutable(field.NewPath("binaryData")))
		}
	}
	return append(errs, validateConfigMap(new)...)
}

func forbiddenWhenImmutable(path *field.Path) *field.Error {
	return field.Forbidden(path, "may not change once `immutable` is set")
}

func isTrue(b *bool) bool { return b != nil && *b }
