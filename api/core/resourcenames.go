package core

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// nativeResources are the names without a domain that quotas, limits and containers may speak of.
var nativeResources = sets.New(
	"cpu", "memory", "ephemeral-storage",
	"requests.cpu", "requests.memory", "requests.ephemeral-storage", "limits.cpu", "limits.memory", "limits.ephemeral-storage",
	"pods", "resourcequotas", "services", "replicationcontrollers", "secrets", "configmaps", "persistentvolumeclaims", "storage",
	"requests.storage", "services.nodeports", "services.loadbalancers",
)

// countedResources come in whole numbers.
var countedResources = sets.New(
	"pods", "resourcequotas", "services", "replicationcontrollers", "secrets", "configmaps", "persistentvolumeclaims",
	"services.nodeports", "services.loadbalancers",
)

// isCountedResource tells whether only whole numbers make sense: objects, and extended resources.
func isCountedResource(name corev1.ResourceName) bool {
	return countedResources.Has(string(name)) || isExtendedResource(name)
}

func isNativeResource(name corev1.ResourceName) bool {
	return !strings.Contains(string(name), "/") || strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix)
}

func isExtendedResource(name corev1.ResourceName) bool {
	if isNativeResource(name) || strings.HasPrefix(string(name), corev1.DefaultResourceRequestsPrefix) {
		return false
	}
	return len(qualifiedName(corev1.DefaultResourceRequestsPrefix+string(name))) == 0
}

// containerResources are those of nativeResources that a container can ask for.
var containerResources = sets.New("cpu", "memory", "ephemeral-storage")

// validateLimitedResource judges a resource name in a limit range: a qualified name, and without a domain one of those
// that mean something for what is limited.
func validateLimitedResource(of corev1.LimitType, name corev1.ResourceName, path *field.Path) field.ErrorList {
	errs := validateResourceName(name, path)
	if len(errs) > 0 || of != corev1.LimitTypePod && of != corev1.LimitTypeContainer {
		return errs
	}
	if !isQualifiedByDomain(string(name)) {
		if !containerResources.Has(string(name)) && !strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) {
			errs = append(errs, field.Invalid(path, name, "must be a standard resource for containers"))
		}
	} else if !isNativeResource(name) && !isExtendedResource(name) {
		errs = append(errs, field.Invalid(path, name, "must be named as extended resources are"))
	}
	return errs
}

// validateResourceName judges any resource name.
func validateResourceName(name corev1.ResourceName, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range qualifiedName(string(name)) {
		errs = append(errs, field.Invalid(path, name, msg))
	}
	if len(errs) == 0 && !isQualifiedByDomain(string(name)) && !nativeResources.Has(string(name)) &&
		!strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) {
		errs = append(errs, field.Invalid(path, name, "must be a standard resource type or fully qualified"))
	}
	return errs
}

// isQualifiedByDomain tells whether a name has a domain part ("example.com/x").
func isQualifiedByDomain(name string) bool { return strings.Contains(name, "/") }

// noOvercommit tells whether request and limit of the resource must be equal.
func noOvercommit(name corev1.ResourceName) bool {
	return isExtendedResource(name) || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}
