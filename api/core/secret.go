package core

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// Secret is the kind of secrets. stringData is a way to write data only: it is never stored.
var Secret = kind.Kind[*corev1.Secret]{
	Version: "v1", Kind: "Secret", Plural: "secrets", Namespaced: true,
	New:            func() *corev1.Secret { return &corev1.Secret{} },
	NewList:        func() runtime.Object { return &corev1.SecretList{} },
	Default:        defaultSecret,
	ValidName:      apivalidation.NameIsDNSSubdomain,
	Validate:       validateSecret,
	ValidateUpdate: validateSecretUpdate,
	Warnings:       func(new, _ *corev1.Secret) []string { return warnSecret(new) },
	Fields: []kind.Field[*corev1.Secret]{
		{Name: "type", Value: func(s *corev1.Secret) string { return string(s.Type) }},
	},
	Columns: []kind.Column[*corev1.Secret]{
		kind.NameColumn[*corev1.Secret](),
		{Name: "Type", Type: "string", Description: kind.Doc(corev1.Secret{}, "type"),
			Cell: func(s *corev1.Secret, _ time.Time) any { return string(s.Type) }},
		{Name: "Data", Type: "string", Description: kind.Doc(corev1.Secret{}, "data"),
			Cell: func(s *corev1.Secret, _ time.Time) any { return int64(len(s.Data)) }},
		kind.AgeColumn[*corev1.Secret](),
	},
}

func defaultSecret(s *corev1.Secret) {
	if s.Type == "" {
		s.Type = corev1.SecretTypeOpaque
	}
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
func warnSecret(s *corev1.Secret) []string {
	if s.Type != corev1.SecretTypeTLS {
		return nil
	}
	if _, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey]); err != nil {
		return []string{err.Error()}
	}
	return nil
}

func validateSecret(s *corev1.Secret) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("data")
	size := 0
	for key, value := range s.Data {
		errs = append(errs, validateDataKey(path.Key(key), key)...)
		size += len(value)
	}
	if size > corev1.MaxSecretSize {
		errs = append(errs, field.TooLong(path, "", corev1.MaxSecretSize))
	}
	return append(errs, validateSecretType(s, path)...)
}

// validateSecretType asks for the keys that the known types of secrets promise.
func validateSecretType(s *corev1.Secret, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	has := func(key string) bool { _, ok := s.Data[key]; return ok }
	switch s.Type {
	case corev1.SecretTypeServiceAccountToken:
		if s.Annotations[corev1.ServiceAccountNameKey] == "" {
			errs = append(errs, field.Required(field.NewPath("metadata", "annotations").Key(corev1.ServiceAccountNameKey), ""))
		}
	case corev1.SecretTypeDockercfg:
		errs = append(errs, validateJSONKey(s, path, corev1.DockerConfigKey)...)
	case corev1.SecretTypeDockerConfigJson:
		errs = append(errs, validateJSONKey(s, path, corev1.DockerConfigJsonKey)...)
	case corev1.SecretTypeBasicAuth:
		if !has(corev1.BasicAuthUsernameKey) && !has(corev1.BasicAuthPasswordKey) {
			errs = append(errs, field.Required(path.Key(corev1.BasicAuthUsernameKey), ""),
				field.Required(path.Key(corev1.BasicAuthPasswordKey), ""))
		}
	case corev1.SecretTypeSSHAuth:
		if len(s.Data[corev1.SSHAuthPrivateKey]) == 0 {
			errs = append(errs, field.Required(path.Key(corev1.SSHAuthPrivateKey), ""))
		}
	case corev1.SecretTypeTLS:
		for _, key := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
			if !has(key) {
				errs = append(errs, field.Required(path.Key(key), ""))
			}
		}
	}
	return errs
}

// validateJSONKey wants a key that holds a JSON object; the answer never shows the value.
func validateJSONKey(s *corev1.Secret, path *field.Path, key string) field.ErrorList {
	value, ok := s.Data[key]
	if !ok {
		return field.ErrorList{field.Required(path.Key(key), "")}
	}
	if err := json.Unmarshal(value, &map[string]any{}); err != nil {
		return field.ErrorList{field.Invalid(path.Key(key), "<secret contents redacted>", err.Error())}
	}
	return nil
}

func validateSecretUpdate(new, old *corev1.Secret) field.ErrorList {
	errs := apivalidation.ValidateImmutableField(new.Type, old.Type, field.NewPath("type"))
	if isTrue(old.Immutable) {
		if !isTrue(new.Immutable) {
			errs = append(errs, forbiddenWhenImmutable(field.NewPath("immutable")))
		}
		if !maps.EqualFunc(new.Data, old.Data, bytes.Equal) {
			errs = append(errs, forbiddenWhenImmutable(field.NewPath("data")))
		}
	}
	return append(errs, validateSecret(new)...)
}
