package core

import (
	"bytes"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// ConfigMap is the kind of config maps.
var ConfigMap = kind.Define(kind.Resource{
	GroupVersion: corev1.SchemeGroupVersion, Plural: "configmaps", ShortNames: []string{"cm"}, Namespaced: true,
	List: kind.ListOf[corev1.ConfigMapList],
}, kind.Rules[corev1.ConfigMap]{
	Validate: validateConfigMap,
	Columns: kind.Columns([]kind.Column[corev1.ConfigMap]{
		{Name: "Data", Type: "string", Description: kind.Doc(corev1.ConfigMap{}, "data"),
			Cell: func(c *corev1.ConfigMap, _ time.Time) any { return int64(len(c.Data) + len(c.BinaryData)) }},
	}),
})

func validateConfigMap(c, old *corev1.ConfigMap) field.ErrorList {
	var ps kind.Problems
	if old != nil && isTrue(old.Immutable) {
		unchanged(&ps, "immutable", isTrue(c.Immutable))
		unchanged(&ps, "data", maps.Equal(c.Data, old.Data))
		unchanged(&ps, "binaryData", maps.EqualFunc(c.BinaryData, old.BinaryData, bytes.Equal))
	}
	size := 0
	for key, value := range c.Data {
		path := field.NewPath("data").Key(key)
		ps.Messages(path, "", key, validation.IsConfigMapKey(key))
		if _, both := c.BinaryData[key]; both {
			ps.Invalid(path, "", key, "the key is also present in binaryData")
		}
		size += len(value)
	}
	for key, value := range c.BinaryData {
		ps.Messages(field.NewPath("binaryData").Key(key), "", key, validation.IsConfigMapKey(key))
		size += len(value)
	}
	if size > corev1.MaxSecretSize {
		// An empty path is what clients of upstream see here.
		ps.TooLong(field.NewPath(""), "", corev1.MaxSecretSize)
	}
	return ps.List
}

// unchanged complains about a field that has changed after all.
func unchanged(ps *kind.Problems, name string, same bool) {
	if !same {
		ps.Forbidden(field.NewPath(name), "", "may not change once `immutable` is set")
	}
}

func isTrue(b *bool) bool { return b != nil && *b }
