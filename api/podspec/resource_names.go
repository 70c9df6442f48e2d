package podspec

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// StandardResources are the names without a domain that quotas, limits and containers may speak of.
var StandardResources = sets.New(
	"cpu", "memory", "ephemeral-storage",
	"requests.cpu", "requests.memory", "requests.ephemeral-storage", "limits.cpu", "limits.memory", "limits.ephemeral-storage",
	"pods", "resourcequotas", "services", "replicationcontrollers", "secrets", "configmaps", "persistentvolumeclaims", "storage",
	"requests.storage", "services.nodeports", "services.loadbalancers",
)

// containerResources are those of StandardResources that a container can ask for.
var containerResources = sets.New("cpu", "memory", "ephemeral-storage")

// ValidateLimitedResource judges a resource name in a limit range: a qualified name, and without a domain one of those
// that mean something for what is limited.
func ValidateLimitedResource(of corev1.LimitType, name corev1.ResourceName, path *field.Path) field.ErrorList {
	var ps kind.Problems
	ps.Add(ValidateResourceName(name, path))
	if len(ps.List) > 0 || of != corev1.LimitTypePod && of != corev1.LimitTypeContainer {
		return ps.List
	}
	if !HasDomain(string(name)) {
		if !containerResources.Has(string(name)) && !strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) {
			ps.Invalid(path, "", name, "must be a standard resource for containers")
		}
	} else if !isNative(name) && !isExtended(name) {
		ps.Invalid(path, "", name, "must be named as extended resources are")
	}
	return ps.List
}

// ValidateResourceName judges any resource name.
func ValidateResourceName(name corev1.ResourceName, path *field.Path) field.ErrorList {
	var ps kind.Problems
	ps.Messages(path, "", string(name), kind.QualifiedName(string(name)))
	if len(ps.List) == 0 && !HasDomain(string(name)) && !StandardResources.Has(string(name)) &&
		!strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) {
		ps.Invalid(path, "", name, "must be a standard resource type or fully qualified")
	}
	return ps.List
}

// HasDomain tells whether a name has a domain part ("example.com/x").
func HasDomain(name string) bool { return strings.Contains(name, "/") }

// NoOvercommit tells whether request and limit of the resource must be equal.
func NoOvercommit(name corev1.ResourceName) bool {
	return isExtended(name) || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}
