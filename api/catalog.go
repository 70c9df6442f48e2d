// Package api holds the catalog of kinds: the one list of everything that the server serves by itself.
package api

import (
	"reflect"
	"sync"

	"github.com/wheelhouse-k8s/wheelhouse/api/apps"
	"github.com/wheelhouse-k8s/wheelhouse/api/authentication"
	"github.com/wheelhouse-k8s/wheelhouse/api/authorization"
	"github.com/wheelhouse-k8s/wheelhouse/api/certificates"
	"github.com/wheelhouse-k8s/wheelhouse/api/coordination"
	"github.com/wheelhouse-k8s/wheelhouse/api/core"
	"github.com/wheelhouse-k8s/wheelhouse/api/discovery"
	"github.com/wheelhouse-k8s/wheelhouse/api/events"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/api/networking"
	"github.com/wheelhouse-k8s/wheelhouse/api/policy"
	"github.com/wheelhouse-k8s/wheelhouse/api/rbac"
	"github.com/wheelhouse-k8s/wheelhouse/api/resource"
	"github.com/wheelhouse-k8s/wheelhouse/api/scheduling"
	"github.com/wheelhouse-k8s/wheelhouse/api/storage"
)

// list is the catalog, in the order of discovery: groups by their priority, resources by name.
func list() []*kind.Kind {
	return []*kind.Kind{
		core.Binding,
		core.ComponentStatus,
		core.ConfigMap,
		core.Endpoints,
		core.Event,
		core.LimitRange,
		core.Namespace,
		core.Node,
		core.Pod,
		core.PodTemplate,
		core.Secret,
		core.ServiceAccount,
		core.Service,

		apps.ControllerRevision,
		apps.Deployment,
		apps.ReplicaSet,

		events.Event,

		authentication.SelfSubjectReview,
		authentication.TokenReview,

		authorization.LocalSubjectAccessReview,
		authorization.SelfSubjectAccessReview,
		authorization.SelfSubjectRulesReview,
		authorization.SubjectAccessReview,

		certificates.CertificateSigningRequest,
		certificates.ClusterTrustBundle,
		certificates.PodCertificateRequest,

		networking.IngressClass,
		networking.IPAddress,
		networking.NetworkPolicy,
		networking.ServiceCIDR,

		rbac.ClusterRoleBinding,
		rbac.ClusterRole,
		rbac.RoleBinding,
		rbac.Role,

		storage.StorageClass,

		scheduling.PriorityClass,

		coordination.Lease,

		discovery.EndpointSlice,

		resource.DeviceClass,
		resource.DeviceTaintRule,
		resource.ResourceClaim,
		resource.ResourceClaimTemplate,
		resource.ResourceSlice,
	}
}

// Unserved are the kinds that are defined but that no controller carries out yet. They are not served, because an object
// that is accepted and then ignored misleads whoever made it; each moves to the catalog together with its controller.
func Unserved() []*kind.Kind {
	return []*kind.Kind{
		core.ReplicationController,
		core.ResourceQuota,
		apps.DaemonSet,
		apps.StatefulSet,
		policy.PodDisruptionBudget,
	}
}

// builtIn is made at its first use; it never changes afterwards.
var builtIn = sync.OnceValue(func() *kind.Kinds { return kind.NewKinds(list()) })

// Catalog makes a catalog that holds all kinds, for a server to add to.
func Catalog() *kind.Catalog { return kind.NewCatalog(Kinds()) }

// Kinds are all kinds in the order of discovery. The slice and what it holds must not be changed.
func Kinds() []*kind.Kind { return builtIn().All() }

// Of is the kind of a Go type; it panics if there is none, because the program itself names the type.
func Of[T kind.Object]() *kind.Kind {
	i, ok := builtIn().ByType(reflect.TypeFor[T]())
	if !ok {
		panic("no kind has the type " + reflect.TypeFor[T]().String())
	}
	return i
}
