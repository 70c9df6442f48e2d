package podspec

import (
	"fmt"
	"sort"
	"strings"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func (v *validator) env(vars []corev1.EnvVar, at *field.Path) {
	for i := range vars {
		e := &vars[i]
		if e.Name == "" {
			v.Required(at.Child("env").Index(i), "name", "")
		} else if !plainEnvName(e.Name) {
			v.Messages(at.Child("env").Index(i), "name", e.Name, validation.IsRelaxedEnvVarName(e.Name))
		}
		if e.ValueFrom != nil {
			v.envSource(e, at.Child("env").Index(i).Child("valueFrom"))
		}
	}
}

// plainEnvName accepts names of letters, digits and underscores.
func plainEnvName(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_') {
			return false
		}
	}
	return s != ""
}

// envFieldPaths are the fields of its pod that a container's environment can show.
var envFieldPaths = []string{
	"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
	"status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
}

func (v *validator) envSource(e *corev1.EnvVar, at *field.Path) {
	from, sources := e.ValueFrom, 0
	if from.FieldRef != nil {
		sources++
		v.fieldRef(from.FieldRef, envFieldPaths, at.Child("fieldRef"))
	}
	if from.ResourceFieldRef != nil {
		sources++
		v.resourceFieldRef(from.ResourceFieldRef, at.Child("resourceFieldRef"), false)
	}
	if r := from.ConfigMapKeyRef; r != nil {
		sources++
		v.keyRef(r.Name, r.Key, at.Child("configMapKeyRef"))
	}
	if r := from.SecretKeyRef; r != nil {
		sources++
		v.keyRef(r.Name, r.Key, at.Child("secretKeyRef"))
	}
	if from.FileKeyRef != nil {
		sources++
		v.fileKeyRef(from.FileKeyRef, at.Child("fileKeyRef"))
	}
	switch {
	case sources == 0:
		v.Invalid(at, "", "", "must have one of fieldRef, resourceFieldRef, configMapKeyRef, secretKeyRef or fileKeyRef")
	case e.Value != "":
		v.Invalid(at, "", "", "may not be set together with a value")
	case sources > 1:
		v.Invalid(at, "", "", "may have one source only")
	}
}

func (v *validator) keyRef(name, key string, at *field.Path) {
	v.Subdomain(at, "name", name)
	if key == "" {
		v.Required(at, "key", "")
		return
	}
	v.Messages(at, "key", key, validation.IsConfigMapKey(key))
}

// envFileKeyMax is the longest key in an environment file.
const envFileKeyMax = 128

func (v *validator) fileKeyRef(r *corev1.FileKeySelector, at *field.Path) {
	if r.Key == "" {
		v.Required(at, "key", "")
	} else {
		v.Messages(at, "key", r.Key, validation.IsRelaxedEnvVarName(r.Key))
		if len(r.Key) > envFileKeyMax {
			v.List = append(v.List, field.TooLong(at.Child("key"), r.Key, envFileKeyMax))
		}
	}
	switch volume := v.volume(r.VolumeName); {
	case r.VolumeName == "":
		v.Required(at, "volumeName", "")
	case volume == nil:
		v.NotFound(at, "volumeName", r.VolumeName)
	case volume.EmptyDir == nil:
		v.Invalid(at, "volumeName", r.VolumeName, "must be the name of an emptyDir volume")
	}
	if r.Path == "" {
		v.Required(at, "path", "")
	} else {
		v.pathInVolume(r.Path, at, "path")
	}
}

func (v *validator) envFrom(sources []corev1.EnvFromSource, at *field.Path) {
	for i := range sources {
		s, here := &sources[i], at.Child("envFrom").Index(i)
		if s.Prefix != "" {
			v.Messages(here, "prefix", s.Prefix, validation.IsRelaxedEnvVarName(s.Prefix))
		}
		if s.ConfigMapRef != nil {
			v.sourceName(s.ConfigMapRef.Name, here.Child("configMapRef"))
		}
		if s.SecretRef != nil {
			v.sourceName(s.SecretRef.Name, here.Child("secretRef"))
		}
		switch {
		case s.ConfigMapRef == nil && s.SecretRef == nil:
			v.Invalid(at, "envFrom", "", "must have one of configMapRef or secretRef")
		case s.ConfigMapRef != nil && s.SecretRef != nil:
			v.Invalid(at, "envFrom", "", "may have one source only")
		}
	}
}

// sourceName is looser than a name: it may end in a hyphen, as a prefix of names may.
func (v *validator) sourceName(name string, at *field.Path) {
	if name == "" {
		v.Required(at, "name", "")
		return
	}
	v.Subdomain(at, "name", strings.TrimSuffix(name, "-"))
}

// fieldRef is a reference to a field of the pod, one of paths or a single label or annotation.
func (v *validator) fieldRef(r *corev1.ObjectFieldSelector, paths []string, at *field.Path) {
	if r.APIVersion == "" {
		v.Required(at, "apiVersion", "")
		return
	}
	if r.FieldPath == "" {
		v.Required(at, "fieldPath", "")
		return
	}
	if r.APIVersion != "v1" {
		v.Invalid(at, "fieldPath", r.FieldPath, fmt.Sprintf("apiVersion %q is not known; use v1", r.APIVersion))
		return
	}
	path, key, subscripted := splitSubscript(r.FieldPath)
	if subscripted {
		switch path {
		case "metadata.annotations":
			v.Messages(at, "", key, kind.QualifiedName(strings.ToLower(key)))
		case "metadata.labels":
			v.Messages(at, "", key, kind.QualifiedName(key))
		default:
			v.Invalid(at, "fieldPath", r.FieldPath, "only metadata.labels and metadata.annotations have keys")
		}
		return
	}
	if path == "spec.host" { // the old name of spec.nodeName
		path = "spec.nodeName"
	}
	if !contains(downwardPaths, path) {
		v.Invalid(at, "fieldPath", r.FieldPath, "is not a field that pods can refer to")
		return
	}
	if !contains(paths, path) {
		v.List = append(v.List, field.NotSupported(at.Child("fieldPath"), path, paths))
	}
}

// downwardPaths are all fields that any reference can name; which of them depends on where it stands.
var downwardPaths = append([]string{"metadata.labels", "metadata.annotations", "spec.restartPolicy", "spec.schedulerName", "status.phase"}, envFieldPaths...)

// splitSubscript takes metadata.labels['key'] apart.
func splitSubscript(path string) (base, key string, ok bool) {
	open := strings.Index(path, "['")
	if open < 0 || !strings.HasSuffix(path, "']") || len(path) < open+4 {
		return path, "", false
	}
	return path[:open], path[open+2 : len(path)-2], open > 0
}

// resourceFieldNames are the amounts that can be shown to a container; huge pages are matched by prefix.
var resourceFieldNames = []string{
	"limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory",
}

func (v *validator) resourceFieldRef(r *corev1.ResourceFieldSelector, at *field.Path, volume bool) {
	hugePages := strings.HasPrefix(r.Resource, "limits.hugepages-") || strings.HasPrefix(r.Resource, "requests.hugepages-")
	switch {
	case volume && r.ContainerName == "":
		v.Required(at, "containerName", "")
	case r.Resource == "":
		v.Required(at, "resource", "")
	case !hugePages && !contains(resourceFieldNames, r.Resource):
		v.List = append(v.List, field.NotSupported(at.Child("resource"), r.Resource, resourceFieldNames))
	}
	if r.Divisor.Cmp(resource.Quantity{}) == 0 {
		return
	}
	divisors := byteDivisors
	switch {
	case strings.HasSuffix(r.Resource, ".cpu"):
		divisors = cpuDivisors
	case !hugePages && !contains(resourceFieldNames, r.Resource):
		return
	}
	if !contains(divisors, r.Divisor.String()) {
		v.Invalid(at, "divisor", r.Resource, "must be one of "+strings.Join(divisors, ", "))
	}
}

var (
	cpuDivisors  = []string{"1m", "1"}
	byteDivisors = []string{"1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"}
)

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}

// sortedKeys gives problems with maps an order.
func sortedKeys[K ~string, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(i, j int) bool { return keys[i] < keys[j] })
	return keys
}
