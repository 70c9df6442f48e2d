package core

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// Secret is the kind of secrets. stringData is a way to write data only: it is never stored.
var Secret = kind.Define(kind.Resource{
	GroupVersion: corev1.SchemeGroupVersion, Plural: "secrets", Namespaced: true,
	List: kind.ListOf[corev1.SecretList],
}, kind.Rules[corev1.Secret]{
	Default:  defaultSecret,
	Validate: validateSecret,
	Warnings: warnSecret,
	Fields: []kind.Field[corev1.Secret]{
		{Name: "type", Value: func(s *corev1.Secret) string { return string(s.Type) }},
	},
	Columns: kind.Columns([]kind.Column[corev1.Secret]{
		kind.Text("Type", kind.Doc(corev1.Secret{}, "type"), func(s *corev1.Secret) string { return string(s.Type) }),
		{Name: "Data", Type: "string", Description: kind.Doc(corev1.Secret{}, "data"),
			Cell: func(s *corev1.Secret, _ time.Time) any { return int64(len(s.Data)) }},
	}),
})

func defaultSecret(s *corev1.Secret) {
	kind.Fill(&s.Type, corev1.SecretTypeOpaque)
	if len(s.StringData) > 0 {
		if s.Data == nil {
			s.Data = make(map[string][]byte, len(s.StringData))
		}
		for key, value := range s.StringData {
			s.Data[key] = []byte(value)
		}
	}
	s.StringData = nil
}

// warnSecret tells about a certificate and key that do not fit: a server that loads them would not start.
func warnSecret(s, _ *corev1.Secret) []string {
	if s.Type != corev1.SecretTypeTLS {
		return nil
	}
	if _, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey]); err != nil {
		return []string{err.Error()}
	}
	return nil
}

func validateSecret(s, old *corev1.Secret) field.ErrorList {
	var ps kind.Problems
	if old != nil {
		ps.Add(apivalidation.ValidateImmutableField(s.Type, old.Type, field.NewPath("type")))
		if isTrue(old.Immutable) {
			unchanged(&ps, "immutable", isTrue(s.Immutable))
			unchanged(&ps, "data", maps.EqualFunc(s.Data, old.Data, bytes.Equal))
		}
	}
	path := field.NewPath("data")
	size := 0 // of all values: a store has a limit for the whole object
	for key, value := range s.Data {
		ps.Messages(path.Key(key), "", key, validation.IsConfigMapKey(key))
		size += len(value)
	}
	if size > corev1.MaxSecretSize {
		ps.TooLong(path, "", corev1.MaxSecretSize)
	}
	validateSecretType(&ps, s, path)
	return ps.List
}

// validateSecretType asks for the keys that the known types of secrets promise.
func validateSecretType(ps *kind.Problems, s *corev1.Secret, path *field.Path) {
	has := func(key string) bool { _, ok := s.Data[key]; return ok }
	needs := func(key string, there bool) {
		if !there {
			ps.Required(path.Key(key), "", "")
		}
	}
	switch s.Type {
	case corev1.SecretTypeServiceAccountToken:
		if s.Annotations[corev1.ServiceAccountNameKey] == "" {
			ps.Required(annotationsPath.Key(corev1.ServiceAccountNameKey), "", "")
		}
	case corev1.SecretTypeDockercfg:
		validateJSONKey(ps, s, path, corev1.DockerConfigKey)
	case corev1.SecretTypeDockerConfigJson:
		validateJSONKey(ps, s, path, corev1.DockerConfigJsonKey)
	case corev1.SecretTypeBasicAuth:
		either := has(corev1.BasicAuthUsernameKey) || has(corev1.BasicAuthPasswordKey)
		needs(corev1.BasicAuthUsernameKey, either) // one of them is enough; without any, both are named
		needs(corev1.BasicAuthPasswordKey, either)
	case corev1.SecretTypeSSHAuth:
		needs(corev1.SSHAuthPrivateKey, len(s.Data[corev1.SSHAuthPrivateKey]) > 0)
	case corev1.SecretTypeTLS:
		needs(corev1.TLSCertKey, has(corev1.TLSCertKey))
		needs(corev1.TLSPrivateKeyKey, has(corev1.TLSPrivateKeyKey))
	}
}

// validateJSONKey wants a key that holds a JSON object; the answer never shows the value.
func validateJSONKey(ps *kind.Problems, s *corev1.Secret, path *field.Path, key string) {
	value, ok := s.Data[key]
	if !ok {
		ps.Required(path.Key(key), "", "")
	} else if err := json.Unmarshal(value, &map[string]any{}); err != nil {
		ps.Invalid(path.Key(key), "", "<secret contents redacted>", err.Error())
	}
}
