// Package auth knows who asks and what they may do: it authenticates requests by certificates, service account and
// bootstrap tokens and trusted proxies, authorizes them by RBAC and by what a node needs, issues service account
// tokens, answers the review kinds, and keeps users from granting more than they have.
package auth

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/registry"
)

const (
	nodeUserPrefix = "system:node:"
	nodesGroup     = "system:nodes"
)

// ServiceAccount is the identity of a service account as seen by the API server, for callers within the process.
func ServiceAccount(namespace, name string) user.Info {
	return &user.DefaultInfo{
		Name:   serviceaccount.MakeUsername(namespace, name),
		Groups: append(serviceaccount.MakeGroupNames(namespace), user.AllAuthenticated),
	}
}

// NodeOf gives the node that a user is: isNode tells that it belongs to the nodes' group, and name is empty if
// the user's name does not say which node it is.
func NodeOf(u user.Info) (name string, isNode bool) {
	if u == nil || !strings.HasPrefix(u.GetName(), nodeUserPrefix) || !slices.Contains(u.GetGroups(), nodesGroup) {
		return "", false
	}
	return strings.TrimPrefix(u.GetName(), nodeUserPrefix), true
}

// objects reads the registry's mirror by resource, for kinds that a server may not have.
type objects struct{ registry *registry.Registry }

// peek is the object that the mirror holds now, nil if there is none.
func (o objects) peek(gr schema.GroupResource, namespace, name string) kind.Object {
	r, ok := o.registry.Resource(gr)
	if !ok {
		return nil
	}
	item := r.Peek(namespace, name)
	if item == nil {
		return nil
	}
	return item.Object()
}

// get is peek with the type of the object.
func get[T kind.Object](o objects, gr schema.GroupResource, namespace, name string) (T, bool) {
	found, ok := o.peek(gr, namespace, name).(T)
	return found, ok
}

// The resources that are read here.
var (
	podsResource                  = schema.GroupResource{Resource: "pods"}
	nodesResource                 = schema.GroupResource{Resource: "nodes"}
	secretsResource               = schema.GroupResource{Resource: "secrets"}
	configMapsResource            = schema.GroupResource{Resource: "configmaps"}
	serviceAccountsResource       = schema.GroupResource{Resource: "serviceaccounts"}
	claimsResource                = schema.GroupResource{Resource: "persistentvolumeclaims"}
	volumesResource               = schema.GroupResource{Resource: "persistentvolumes"}
	attachmentsResource           = schema.GroupResource{Group: "storage.k8s.io", Resource: "volumeattachments"}
	csiNodesResource              = schema.GroupResource{Group: "storage.k8s.io", Resource: "csinodes"}
	leasesResource                = schema.GroupResource{Group: "coordination.k8s.io", Resource: "leases"}
	resourceClaimsResource        = schema.GroupResource{Group: "resource.k8s.io", Resource: "resourceclaims"}
	resourceSlicesResource        = schema.GroupResource{Group: "resource.k8s.io", Resource: "resourceslices"}
	podCertificateRequestResource = schema.GroupResource{Group: "certificates.k8s.io", Resource: "podcertificaterequests"}
	rolesResource                 = schema.GroupResource{Group: "rbac.authorization.k8s.io", Resource: "roles"}
	clusterRolesResource          = schema.GroupResource{Group: "rbac.authorization.k8s.io", Resource: "clusterroles"}
	roleBindingsResource          = schema.GroupResource{Group: "rbac.authorization.k8s.io", Resource: "rolebindings"}
	clusterRoleBindingsResource   = schema.GroupResource{Group: "rbac.authorization.k8s.io", Resource: "clusterrolebindings"}
)
